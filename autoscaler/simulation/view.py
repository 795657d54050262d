"""What a policy sees: the last scrape of the pages of replicas that serve, and what cluster and gateway say.

Law: nothing here is the simulation's truth; only counters, gauges and buckets that a real server, the Kubernetes API
or a gateway would tell.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from autoscaler.simulation.engines import (
    CACHED_DONE,
    FINISHED,
    FLOAT_COLUMNS,
    GENERATED,
    INT_COLUMNS,
    ITL_COUNT,
    ITL_S,
    KV,
    PREEMPTIONS,
    PROMPT_DONE,
    SIZE_BOUNDS,
    STEP_TOKENS_BOUNDS,
    STEPS,
    TPOT_BOUNDS,
    TPOT_S,
    TTFT_BOUNDS,
    TTFT_S,
    WAITING,
    Engines,
    Floats,
    Ints,
)
from autoscaler.simulation.fleet import HELD, LOADING, NEXT, SERVE_COUNT, SERVING, Fleet
from autoscaler.simulation.kernel import bound, kernel

# Columns of what a look copies: the engines' own first, then what is known beside them; buckets side by side.
CREATED, SCHEDULED, READY, KV_USAGE, FLOATS = range(FLOAT_COLUMNS, FLOAT_COLUMNS + 5)
SERIAL, RUNNING, TTFT = range(INT_COLUMNS, INT_COLUMNS + 3)
TPOT = TTFT + len(TTFT_BOUNDS) + 1
STEP_TOKENS = TPOT + len(TPOT_BOUNDS) + 1
PROMPT_SIZES = STEP_TOKENS + len(STEP_TOKENS_BOUNDS) + 1
OUTPUT_SIZES = PROMPT_SIZES + len(SIZE_BOUNDS) + 1
COUNTS = OUTPUT_SIZES + len(SIZE_BOUNDS) + 1


class Coming(NamedTuple):
    """A replica that does not serve yet."""

    serial: int
    created_s: float
    scheduled_s: float | None  # None: no node yet


class Totals(NamedTuple):
    """Counters summed over all replicas that ever served, as a metrics store's `sum(increase(...))` gives them."""

    prompt_tokens: float
    cached_tokens: float
    generated_tokens: float
    finished: float
    preemptions: float
    first_tokens: float  # requests whose first token was told
    ttft_s: float  # sums of what was observed
    tpot_s: float
    itl_s: float
    itl_count: float
    ttft: Ints  # observations per bucket of TTFT_BOUNDS, the last +Inf
    tpot: Ints


class View(NamedTuple):
    """One look at the fleet."""

    at_s: float  # of the scrape
    spec: int
    serial: Ints  # n replicas that serve: each life has its own number
    created_s: Floats  # n
    scheduled_s: Floats  # n
    ready_s: Floats  # n
    floats: Floats  # n x columns of engines
    ints: Ints
    ttft: Ints
    tpot: Ints
    step_tokens: Ints
    prompt_sizes: Ints
    output_sizes: Ints
    waiting: Ints  # n
    running: Ints  # n
    kv_usage: Floats  # n, 0..1
    kv_tokens: float  # capacity of one replica
    coming: tuple[Coming, ...]
    held: int  # requests waiting at the gateway
    arrivals: int  # counter of requests that came to the gateway
    totals: Totals

    @property
    def ready(self) -> int:
        """Replicas that serve."""
        return len(self.serial)


class PageReader:
    """Reads one fleet: what a scrape of all its pages tells, and the cluster and the gateway beside them."""

    def __init__(self, fleet: Fleet, serials: Ints, kv_tokens: float) -> None:
        self._fleet, self._serials, self._kv_tokens = fleet, serials, kv_tokens
        self._copy = bound(_copy, fleet, serials, kv_tokens, *_pages(0))

    def look(self, spec: int, now_s: float) -> View:
        """The view at `now_s`; the fleet must have been run up to there."""
        line = self._fleet.line
        ready = int(line[SERVE_COUNT])
        floats, counts = _pages(ready)
        loading = self._copy(self._fleet, self._serials, self._kv_tokens, floats, counts)
        ours, theirs = floats[:ready], counts[:ready]
        return View(
            now_s,
            spec,
            theirs[:, SERIAL],
            ours[:, CREATED],
            ours[:, SCHEDULED],
            ours[:, READY],
            ours[:, :FLOAT_COLUMNS],
            theirs[:, :INT_COLUMNS],
            theirs[:, TTFT:TPOT],
            theirs[:, TPOT:STEP_TOKENS],
            theirs[:, STEP_TOKENS:PROMPT_SIZES],
            theirs[:, PROMPT_SIZES:OUTPUT_SIZES],
            theirs[:, OUTPUT_SIZES:],
            theirs[:, WAITING],
            theirs[:, RUNNING],
            ours[:, KV_USAGE],
            self._kv_tokens,
            self._coming(now_s) if loading else (),
            int(line[HELD]),
            int(line[NEXT]),
            _totals(floats[ready], counts[ready]),
        )

    def _coming(self, now_s: float) -> tuple[Coming, ...]:
        fleet = self._fleet
        return tuple(
            Coming(
                int(self._serials[r]),
                float(fleet.created_s[r]),
                float(fleet.scheduled_s[r]) if fleet.scheduled_s[r] <= now_s else None,
            )
            for r in (fleet.phase == LOADING).nonzero()[0]
        )


def _pages(ready: int) -> tuple[Floats, Ints]:
    """A row for each replica that serves, and one for the sums."""
    return np.empty((ready + 1, FLOATS)), np.empty((ready + 1, COUNTS), dtype=np.int64)


def _totals(floats: Floats, counts: Ints) -> Totals:
    sums, numbers = floats.tolist(), counts.tolist()
    return Totals(
        sums[PROMPT_DONE],
        sums[CACHED_DONE],
        sums[GENERATED],
        float(numbers[FINISHED]),
        float(numbers[PREEMPTIONS]),
        float(sum(numbers[TTFT:TPOT])),
        sums[TTFT_S],
        sums[TPOT_S],
        sums[ITL_S],
        sums[ITL_COUNT],
        counts[TTFT:TPOT],
        counts[TPOT:STEP_TOKENS],
    )


@kernel
def _copy(fleet: Fleet, serials: Ints, kv_tokens: float, floats: Floats, counts: Ints) -> int:
    """Copy a row of every replica that serves, by place, then the sum of all that ever did; gives how many load.

    All in one call: it is made at every scrape of every policy.
    """
    engines = fleet.engines
    row, loading = 0, 0
    for r in range(fleet.phase.shape[0]):
        if fleet.phase[r] == LOADING:
            loading += 1
        if fleet.phase[r] != SERVING:
            continue
        for k in range(FLOAT_COLUMNS):
            floats[row, k] = engines.floats[r, k]
        floats[row, CREATED] = fleet.created_s[r]
        floats[row, SCHEDULED] = fleet.scheduled_s[r]
        floats[row, READY] = fleet.ready_s[r]
        floats[row, KV_USAGE] = min(1.0, engines.floats[r, KV] / kv_tokens)
        for k in range(INT_COLUMNS):
            counts[row, k] = engines.ints[r, k]
        counts[row, SERIAL] = serials[r]
        counts[row, RUNNING] = engines.load[r] - engines.ints[r, WAITING]
        _copy_buckets(engines.ttft, r, counts, row, TTFT)
        _copy_buckets(engines.tpot, r, counts, row, TPOT)
        _copy_buckets(engines.step_tokens, r, counts, row, STEP_TOKENS)
        _copy_buckets(engines.prompt_sizes, r, counts, row, PROMPT_SIZES)
        _copy_buckets(engines.output_sizes, r, counts, row, OUTPUT_SIZES)
        row += 1
    floats[row, :] = 0.0
    counts[row, :] = 0
    _add(fleet.past, floats, counts, row)
    _add(fleet.engines, floats, counts, row)
    return loading


@kernel
def _copy_buckets(buckets: Ints, r: int, counts: Ints, row: int, first: int) -> None:
    for k in range(buckets.shape[1]):
        counts[row, first + k] = buckets[r, k]


@kernel
def _add(engines: Engines, floats: Floats, counts: Ints, row: int) -> None:
    """Add every place's counters to one row; a place without an engine step has none."""
    for r in range(engines.floats.shape[0]):
        if engines.ints[r, STEPS] == 0:
            continue
        for k in range(PROMPT_DONE, FLOAT_COLUMNS):
            floats[row, k] += engines.floats[r, k]
        for k in range(PREEMPTIONS, INT_COLUMNS):
            counts[row, k] += engines.ints[r, k]
        for k in range(engines.ttft.shape[1]):
            counts[row, TTFT + k] += engines.ttft[r, k]
        for k in range(engines.tpot.shape[1]):
            counts[row, TPOT + k] += engines.tpot[r, k]
