"""Rows of results: one run each, as plain values, kept line by line so that a stopped benchmark goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

OURS = "ours"
REFERENCE = "clairvoyant"  # the beginning of every reference's name
HINDSIGHT, FLUID, CEILING = "clairvoyant-hindsight", "clairvoyant-fluid", "clairvoyant-ceiling"
ONLY_HERE = ("hours_gpu", "hours_good", "hours_requests", "replicas")  # in the lines, not in results.json


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
    interval: tuple[float, float]  # of gpu_hours, 90 %
    clairvoyant_gpu_hours: float | None  # the hindsight bound; None where the asked attainment cannot be hit
    goodput_per_gpu_s: float
    scale_events_per_hour: float
    requests: int
    undisturbed_attainment: float | None = None  # with a fault: of the same span without it
    undisturbed_gpu_hours: float | None = None
    replicas_lost: int | None = None  # with a fault: the most replicas it took away for a minute or longer
    hours_gpu: tuple[float, ...] = ()  # per hour (shorter parts in a short window), for the bootstrap
    hours_good: tuple[int, ...] = ()
    hours_requests: tuple[int, ...] = ()
    replicas: tuple[float, ...] = ()  # means over tenths of an hour, of the runs that are drawn

    @property
    def cell(self) -> tuple[str, str, float, int]:
        """The world it ran in."""
        return self.trace, self.fleet, self.lead_time_s, self.step_tokens

    @property
    def key(self) -> str:
        """What identifies a run."""
        knobs = None if self.policy == HINDSIGHT else self.knobs  # a second look takes the place of the first
        parts = (*self.cell, self.fault, self.policy, knobs, self.seed, self.attainment_asked)
        return "|".join(map(str, parts))

    @property
    def is_peer(self) -> bool:
        """Neither ours nor a reference."""
        return self.policy != OURS and not self.policy.startswith(REFERENCE)


def without_series(row: Row) -> Row:
    """A row without what only the report needs; the hindsight bound's hours stay."""
    hours_gpu = row.hours_gpu if row.policy == HINDSIGHT else ()
    return replace(row, hours_gpu=hours_gpu, hours_good=(), hours_requests=(), replicas=())


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a file of lines."""
    with path.open("a") as file:
        file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


def read(path: Path) -> list[Row]:
    """Rows of a file of lines, the last of each key; a line cut by a crash is left out."""
    rows: dict[str, Row] = {}
    if not path.exists():
        return []
    with path.open() as file:
        for line in file:
            try:
                values = json.loads(line)
            except ValueError:
                continue
            for name in ("interval", *ONLY_HERE):
                values[name] = tuple(values[name])
            row = Row(**values)
            rows[row.key] = row
    return list(rows.values())


def append_left(path: Path, keys: Iterable[str]) -> None:
    """Add keys of runs that were left before their end to a file of lines."""
    with path.open("a") as file:
        file.writelines(json.dumps(key) + "\n" for key in keys)


def read_left(path: Path) -> frozenset[str]:
    """Keys of runs that were left; a line cut by a crash is none."""
    found = set()
    for line in path.read_text().splitlines() if path.exists() else ():
        with suppress(ValueError):
            found.add(json.loads(line))
    return frozenset(found)


def with_bounds(rows: list[Row]) -> list[Row]:
    """Every row with the newest bound of its cell at its asked attainment; rows of faults have none."""
    bounds = {
        (row.cell, row.attainment_asked): row.clairvoyant_gpu_hours
        for row in rows
        if row.policy == HINDSIGHT and row.fault is None
    }
    return [
        replace(row, clairvoyant_gpu_hours=bounds.get((row.cell, row.attainment_asked)) if row.fault is None else None)
        for row in rows
    ]


def write_results(path: Path, rows: list[Row]) -> None:
    """`results.json`: a list of objects, without what only the report needs; one row a line, whole at any moment."""
    lines = (json.dumps({k: v for k, v in asdict(row).items() if k not in ONLY_HERE}) for row in rows)
    new = path.with_suffix(".new")
    new.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    new.replace(path)
