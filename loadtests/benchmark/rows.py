"""Rows of results: one run each, as plain values, kept line by line so that a stopped benchmark goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from autoscaler.simulation.score import Score

RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class Row:
    """One run of one policy in one cell; the names are those of results.json."""

    trace: str
    family: str
    fleet: str
    fleet_multiplier: float
    lead_time_s: float
    step_tokens: int
    fault: str | None
    policy: str  # `ours`, a peer's name, or a reference that starts with `clairvoyant`
    knobs: str | None
    policy_default: bool
    seed: int
    attainment_asked: float
    attainment: float
    worst_hour_attainment: float
    gpu_hours: float
    interval: tuple[float, float]  # of gpu_hours
    clairvoyant_gpu_hours: float | None  # the hindsight bound; None where the asked attainment cannot be hit
    goodput_per_gpu_s: float
    scale_events_per_hour: float
    requests: int

    @property
    def key(self) -> str:
        """What identifies a run."""
        parts = (self.trace, self.fleet, self.lead_time_s, self.step_tokens, self.fault, self.policy, self.knobs)
        return "|".join(map(str, (*parts, self.seed, self.attainment_asked)))


def interval_of(score: Score, seed: int) -> tuple[float, float]:
    """90 % interval of the GPU-hours: hours drawn with replacement, the same draw for every policy of a cell."""
    hours = np.array(score.hour_gpu_hours)
    rng = np.random.default_rng(seed)
    sums = hours[rng.integers(0, len(hours), (RESAMPLES, len(hours)))].sum(axis=1)
    low, high = np.quantile(sums, (0.05, 0.95))
    return float(low), float(high)


def append(path: Path, rows: list[Row]) -> None:
    """Add rows to a file of lines."""
    with path.open("a") as file:
        file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


def read(path: Path) -> list[Row]:
    """Rows of a file of lines; a last line cut by a crash is left out."""
    rows: list[Row] = []
    if not path.exists():
        return rows
    for line in path.read_text().splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        rows.append(Row(**{**values, "interval": tuple(values["interval"])}))
    return rows
