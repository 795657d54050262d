"""Scores of a run: over all offered requests, with every replica-second that was paid for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscaler.simulation.engines import Floats
from autoscaler.simulation.scenario import billed_s
from autoscaler.simulation.world import Run

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Score:
    """One run's figures over its scored part."""

    requests: int
    attainment: float  # share of offered requests that met both limits
    ttft_share: float
    tpot_share: float
    worst_hour: float  # the lowest attainment of an hour with at least 100 requests
    replica_hours: float
    gpu_hours: float
    goodput_per_gpu_s: float  # good requests per GPU-second
    scale_events_per_hour: float
    hour_good: tuple[int, ...]
    hour_requests: tuple[int, ...]
    hour_gpu_hours: tuple[float, ...]


def good(run: Run) -> NDArray[np.bool_]:
    """Which requests met both limits; one that never finished did not."""
    return np.asarray(_met(run, slice(None)).all(axis=0))


def _met(run: Run, part: slice) -> NDArray[np.bool_]:
    """Rows: TTFT, TPOT; columns: the requests of a part."""
    objective, output = run.scenario.objective, run.scenario.trace.output_tokens[part]
    first_s, finish_s = run.first_s[part], run.finish_s[part]
    ttft_s, life_s = first_s - run.arrival_s[part], finish_s - first_s
    finished = finish_s >= 0.0
    each_s: Floats = life_s / np.maximum(1.0, output - 1.0)
    in_time = (each_s <= objective.tpot_s * (1.0 + 1e-9)) | (output <= 1.0)
    return np.stack([(first_s >= 0.0) & (ttft_s <= objective.ttft_s), finished & in_time])


def score(run: Run, from_s: float | None = None, until_s: float | None = None, hour_s: float = HOUR_S) -> Score:
    """Score a run over its scored part, or over a span of it; `hour_s` is the length of its hours, for short spans."""
    scenario = run.scenario
    start_s = scenario.start_s if from_s is None else from_s
    end_s = scenario.end_s if until_s is None else until_s
    part = slice(*np.searchsorted(run.arrival_s, [start_s, end_s]))
    met = _met(run, part)
    both: NDArray[np.bool_] = np.asarray(met.all(axis=0))
    count = len(both)
    hour = ((run.arrival_s[part] - start_s) // hour_s).astype(int)
    hours = max(1, int(np.ceil((end_s - start_s) / hour_s - 1e-9)))
    hour_good = np.bincount(hour, weights=both, minlength=hours)
    hour_count = np.bincount(hour, minlength=hours)
    busy = hour_count >= 100
    billed = [
        billed_s(run.lives, start_s + k * hour_s, min(end_s, start_s + (k + 1) * hour_s)) / HOUR_S for k in range(hours)
    ]
    replica_hours = sum(billed)
    gpus = scenario.gpus_per_replica
    events = sum(start_s <= at_s < end_s for at_s, _ in run.steps[1:])
    return Score(
        requests=count,
        attainment=float(both.mean()) if count else 1.0,
        ttft_share=float(met[0].mean()) if count else 1.0,
        tpot_share=float(met[1].mean()) if count else 1.0,
        worst_hour=float((hour_good[busy] / hour_count[busy]).min()) if busy.any() else 1.0,
        replica_hours=replica_hours,
        gpu_hours=gpus * replica_hours,
        goodput_per_gpu_s=float(both.sum()) / max(1e-9, gpus * replica_hours * HOUR_S),
        scale_events_per_hour=events / ((end_s - start_s) / HOUR_S),
        hour_good=tuple(int(value) for value in hour_good),
        hour_requests=tuple(int(value) for value in hour_count),
        hour_gpu_hours=tuple(gpus * value for value in billed),
    )
