"""Views for policy tests: as many replicas as there are values, the rest idle defaults."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoscaler.core.records import Objective
from autoscaler.simulation.engines import (
    FLOAT_COLUMNS,
    INT_COLUMNS,
    KV,
    LLAMA_70B_H100X4,
    SIZE_BOUNDS,
    STEP_TOKENS_BOUNDS,
    TPOT_BOUNDS,
    TTFT_BOUNDS,
    Params,
)
from autoscaler.simulation.policies.peer import Deployment
from autoscaler.simulation.scenario import Starts
from autoscaler.simulation.view import Coming, Totals, View


def deployment(
    *,
    objective: Objective | None = None,
    profile: Params = LLAMA_70B_H100X4,
    start_s: float = 120.0,
    min_replicas: int = 1,
    max_replicas: int = 100,
) -> Deployment:
    return Deployment(objective or Objective(), profile, Starts(start_s), min_replicas, max_replicas)


def totals(
    *,
    prompt_tokens: float = 0.0,
    cached_tokens: float = 0.0,
    generated_tokens: float = 0.0,
    finished: float = 0.0,
    first_tokens: float = 0.0,
    ttft_s: float = 0.0,
    tpot_s: float = 0.0,
    itl_s: float = 0.0,
    itl_count: float = 0.0,
    ttft: Sequence[int] | None = None,
    tpot: Sequence[int] | None = None,
) -> Totals:
    return Totals(
        prompt_tokens,
        cached_tokens,
        generated_tokens,
        finished,
        0.0,
        first_tokens,
        ttft_s,
        tpot_s,
        itl_s,
        itl_count,
        np.array(ttft if ttft is not None else [0] * (len(TTFT_BOUNDS) + 1)),
        np.array(tpot if tpot is not None else [0] * (len(TPOT_BOUNDS) + 1)),
    )


def view(
    *,
    at_s: float = 0.0,
    spec: int | None = None,
    waiting: Sequence[int] = (0,),
    running: Sequence[int] | None = None,
    kv_usage: Sequence[float] | None = None,
    kv_tokens: float = 476_864.0,
    coming: int = 0,
    held: int = 0,
    arrivals: int = 0,
    totals_: Totals | None = None,
) -> View:
    """A view of `len(waiting)` replicas that serve and `coming` that load."""
    count = len(waiting)
    floats = np.zeros((count, FLOAT_COLUMNS))
    usage = np.array(kv_usage if kv_usage is not None else [0.0] * count, dtype=float)
    floats[:, KV] = usage * kv_tokens
    return View(
        at_s=at_s,
        spec=count + coming if spec is None else spec,
        serial=np.arange(1, count + 1),
        created_s=np.zeros(count),
        scheduled_s=np.zeros(count),
        ready_s=np.zeros(count),
        floats=floats,
        ints=np.zeros((count, INT_COLUMNS), dtype=np.int64),
        ttft=np.zeros((count, len(TTFT_BOUNDS) + 1), dtype=np.int64),
        tpot=np.zeros((count, len(TPOT_BOUNDS) + 1), dtype=np.int64),
        step_tokens=np.zeros((count, len(STEP_TOKENS_BOUNDS) + 1), dtype=np.int64),
        prompt_sizes=np.zeros((count, len(SIZE_BOUNDS) + 1), dtype=np.int64),
        output_sizes=np.zeros((count, len(SIZE_BOUNDS) + 1), dtype=np.int64),
        waiting=np.array(waiting, dtype=np.int64),
        running=np.array(running if running is not None else [0] * count, dtype=np.int64),
        kv_usage=usage,
        kv_tokens=kv_tokens,
        coming=tuple(Coming(1000 + k, at_s, at_s) for k in range(coming)),
        held=held,
        arrivals=arrivals,
        totals=totals_ or totals(),
    )
