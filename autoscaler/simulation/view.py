"""What a policy sees: the last scrape of the pages of replicas that serve, and what cluster and gateway say.

Law: nothing here is the simulation's truth; only counters, gauges and buckets that a real server, the Kubernetes API
or a gateway would tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoscaler.simulation.engines import (
    CACHED_DONE,
    FINISHED,
    GENERATED,
    ITL_COUNT,
    ITL_S,
    KV,
    PREEMPTIONS,
    PROMPT_DONE,
    TPOT_S,
    TTFT_S,
    WAITING,
    Engines,
    Floats,
    Ints,
)
from autoscaler.simulation.fleet import HELD, LOADING, NEXT, SERVE_COUNT, Fleet
from autoscaler.simulation.kernel import compiled, kernel


@dataclass(frozen=True, slots=True)
class Coming:
    """A replica that does not serve yet."""

    serial: int
    created_s: float
    scheduled_s: float | None  # None: no node yet


@dataclass(frozen=True, slots=True)
class Totals:
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


@dataclass(frozen=True, slots=True)
class View:
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


def look(fleet: Fleet, serials: Ints, kv_tokens: float, spec: int, now_s: float) -> View:
    """The view at `now_s`; the fleet must have been run up to there."""
    engines, line = fleet.engines, fleet.line
    rows = fleet.serving[: line[SERVE_COUNT]].copy()
    rows.sort()
    # `take` costs a third of an index by an array: this runs at every scrape of every policy.
    floats, ints = engines.floats.take(rows, 0), engines.ints.take(rows, 0)
    waiting = ints[:, WAITING]
    loading = (fleet.phase == LOADING).nonzero()[0]
    coming = (
        ()
        if not len(loading)
        else tuple(
            Coming(
                int(serials[r]),
                float(fleet.created_s[r]),
                float(fleet.scheduled_s[r]) if fleet.scheduled_s[r] <= now_s else None,
            )
            for r in loading
        )
    )
    return View(
        now_s,
        spec,
        serials.take(rows),
        fleet.created_s.take(rows),
        fleet.scheduled_s.take(rows),
        fleet.ready_s.take(rows),
        floats,
        ints,
        engines.ttft.take(rows, 0),
        engines.tpot.take(rows, 0),
        engines.step_tokens.take(rows, 0),
        engines.prompt_sizes.take(rows, 0),
        engines.output_sizes.take(rows, 0),
        waiting,
        engines.load.take(rows) - waiting,
        np.minimum(1.0, floats[:, KV] / kv_tokens),
        kv_tokens,
        coming,
        int(line[HELD]),
        int(line[NEXT]),
        _totals(fleet),
    )


def _totals(fleet: Fleet) -> Totals:
    past = fleet.past
    floats, ints, ttft, tpot = past.floats[0].copy(), past.ints[0].copy(), past.ttft[0].copy(), past.tpot[0].copy()
    _add(fleet.engines, floats, ints, ttft, tpot)
    return Totals(
        float(floats[PROMPT_DONE]),
        float(floats[CACHED_DONE]),
        float(floats[GENERATED]),
        float(ints[FINISHED]),
        float(ints[PREEMPTIONS]),
        float(ttft.sum()),
        float(floats[TTFT_S]),
        float(floats[TPOT_S]),
        float(floats[ITL_S]),
        float(floats[ITL_COUNT]),
        ttft,
        tpot,
    )


@kernel
def _add_all(engines: Engines, floats: Floats, ints: Ints, ttft: Ints, tpot: Ints) -> None:
    """Add every replica's counters, a row each, to one row."""
    for r in range(engines.floats.shape[0]):
        for k in range(floats.shape[0]):
            floats[k] += engines.floats[r, k]
        for k in range(ints.shape[0]):
            ints[k] += engines.ints[r, k]
        for k in range(ttft.shape[0]):
            ttft[k] += engines.ttft[r, k]
        for k in range(tpot.shape[0]):
            tpot[k] += engines.tpot[r, k]


_add = compiled(_add_all)


def alive(fleet: Fleet) -> int:
    """Replicas that load or serve; what drains or is gone is not counted."""
    return int((fleet.phase == LOADING).sum() + fleet.line[SERVE_COUNT])
