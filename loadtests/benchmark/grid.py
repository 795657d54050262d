"""The core grid: which worlds every policy is judged in.

A cell is one trace's steepest window, one fleet size, one start-up time, one number of tokens per step. All of it is
computed from the traces; nothing is named by hand.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from autoscaler.core.records import Objective
from autoscaler.simulation.clairvoyant import work_s
from autoscaler.simulation.engines import LLAMA_70B_H100X4
from autoscaler.simulation.scenario import Scenario, Starts
from autoscaler.simulation.trace import Trace, read_trace
from autoscaler.simulation.traffic import multiply, steepest_window, window

WINDOW_S = 12 * 3600.0
WARM_UP_S = 3600.0  # before the window, where the trace has it: simulated for every policy alike, not scored
SHORTEST_SCORED_S = 600.0
# Replicas at the busiest ten minutes; the grid asks for 1-4 and 8-40, and every replica more costs time.
PEAK_NEED = {"small": 2.5, "large": 8.0}
LEAST_NEED = {"small": 1.0, "large": 8.0}
MOST_REQUESTS = 5e6  # in a window
USABLE = 0.45  # of a replica's step time is filled by requests at the objective, about: for choosing multipliers only
CEILING = 4.0  # max_replicas over the peak need
MAIN_LEAD_S = 120.0  # the start at which both step sizes, faults and the quick run are
LEADS_S = (MAIN_LEAD_S, 30.0, 300.0)
LONG_LEAD_S = 600.0
STEP_TOKENS = (2048, 512)
QUICK_WINDOW_S = 2 * 3600.0
QUICK_WARM_UP_S = 1200.0
QUICK_REQUESTS = 8e6  # over all cells of a quick run; windows are shortened until it is kept, down to an hour
FAMILIES = ("idle", "bursty", "daily", "smooth")


@dataclass(frozen=True, slots=True)
class Workload:
    """One trace of the folder, whole."""

    name: str
    family: str
    trace: Trace


@dataclass(frozen=True, slots=True)
class Cell:
    """One world, apart from policy, seed and fault."""

    trace: str
    family: str
    fleet: str
    lead_time_s: float
    step_tokens: int
    fleet_multiplier: float
    window_s: tuple[float, float]
    peak_need: float

    @property
    def key(self) -> str:
        """A name that is the same in every run."""
        return f"{self.trace}/{self.fleet}/{self.lead_time_s:.0f}s/{self.step_tokens}"


def family_of(trace: Trace) -> str:
    """idle (a tenth of the minutes empty), bursty (1 % above twice the trailing 10-minute mean), daily, or smooth."""
    minutes = np.bincount((trace.arrival_s // 60.0).astype(int)).astype(float)
    if (minutes == 0).mean() >= 0.10:
        return "idle"
    sums = np.concatenate([[0.0], np.cumsum(minutes)])
    at = np.arange(10, len(minutes))
    trailing = (sums[at] - sums[at - 10]) / 10.0
    if len(at) and (minutes[at] > 2.0 * trailing).mean() > 0.01:
        return "bursty"
    return "daily" if trace.arrival_s[-1] >= 23.9 * 3600.0 else "smooth"


def short_name(path: Path) -> str:
    """The file's name without its endings."""
    return path.name.removesuffix(".gz").removesuffix(".csv")


def workloads(folder: Path) -> Iterator[Workload]:
    """Every trace of a folder that has a request, by name. Raises ConfigError for a file that is no trace."""
    for path in sorted((*folder.glob("*.csv.gz"), *folder.glob("*.csv"))):
        trace = read_trace(path)
        if len(trace.arrival_s):
            yield Workload(short_name(path), family_of(trace), trace)


class Extent(NamedTuple):
    """How much of each trace is simulated, and which starts."""

    window_s: float = WINDOW_S
    warm_up_s: float = WARM_UP_S
    is_quick: bool = False


def quick_extent(found: list[Workload]) -> Extent:
    """The longest window, of an hour at least, at which a quick run stays within its requests."""
    full = Extent(QUICK_WINDOW_S, QUICK_WARM_UP_S, is_quick=True)
    requests = 0.0
    for workload in found:
        listed = list(cells(workload, full))
        share = (full.window_s + full.warm_up_s) / max(full.window_s + full.warm_up_s, workload.trace.arrival_s[-1])
        requests += sum(cell.fleet_multiplier * len(workload.trace.arrival_s) * share for cell in listed)
    return full._replace(window_s=min(full.window_s, max(3600.0, full.window_s * QUICK_REQUESTS / requests)))


def _peak_need(trace: Trace, from_s: float, until_s: float) -> float:
    """Replicas that the busiest ten minutes of a window need at multiplier 1, about."""
    part = window(trace, from_s, until_s)
    scenario = Scenario(part, from_s, until_s, LLAMA_70B_H100X4)
    bins = ((part.arrival_s - from_s) // 600.0).astype(int)
    busiest = float(np.bincount(bins, weights=work_s(scenario), minlength=1).max())
    return max(1e-6, busiest / min(600.0, until_s - from_s) / USABLE)


def _multiplier(unit_need: float, fleet: str, requests: int) -> float:
    """Whole copies, the last one thinned where that would be too few; of a trace with next to nothing what fits."""
    factor = min(PEAK_NEED[fleet] / unit_need, 1000.0, MOST_REQUESTS / max(1, requests))
    whole = float(round(factor))
    if factor >= 1.0 and (whole * unit_need >= LEAST_NEED[fleet] or whole >= factor):
        return whole
    return math.ceil(1000.0 * factor) / 1000.0


def cells(workload: Workload, extent: Extent) -> Iterator[Cell]:
    """The cells of one trace."""
    from_s, until_s = steepest_window(workload.trace, extent.window_s)
    until_s = max(until_s, from_s + SHORTEST_SCORED_S)
    unit_need = _peak_need(workload.trace, from_s, until_s)
    leads = LEADS_S if workload.family != "daily" else (*LEADS_S, LONG_LEAD_S)
    for fleet in PEAK_NEED:
        factor = _multiplier(unit_need, fleet, len(window(workload.trace, from_s, until_s).arrival_s))
        for lead_s in (MAIN_LEAD_S,) if extent.is_quick else leads:
            for tokens in STEP_TOKENS if lead_s == MAIN_LEAD_S else STEP_TOKENS[:1]:
                yield Cell(
                    workload.name,
                    workload.family,
                    fleet,
                    lead_s,
                    tokens,
                    factor,
                    (from_s, until_s),
                    unit_need * factor,
                )


def first_replicas(part: Trace, from_s: float) -> int:
    """What the first ten minutes need, about: everybody begins with these."""
    first = window(part, from_s, from_s + 600.0)
    return max(1, math.ceil(float(work_s(Scenario(first, 0.0, 1.0, LLAMA_70B_H100X4)).sum()) / 600.0 / USABLE))


def scenario_of(cell: Cell, workload: Workload, objective: Objective, warm_up_s: float = WARM_UP_S) -> Scenario:
    """The world of a cell; the same requests for every policy and seed."""
    from_s, until_s = cell.window_s
    rng = np.random.default_rng(zlib.crc32(f"{cell.trace}/{cell.fleet}".encode()))
    before_s = min(warm_up_s, from_s)
    part = multiply(window(workload.trace, from_s - before_s, until_s), cell.fleet_multiplier, rng)
    most = max(4, math.ceil(CEILING * cell.peak_need))
    # Without a past to warm up in, the first minutes are not scored: everybody begins with the same replicas.
    start_s = from_s if before_s >= SHORTEST_SCORED_S else from_s + min(300.0, 0.1 * (until_s - from_s))
    return Scenario(
        part,
        start_s,
        until_s,
        LLAMA_70B_H100X4._replace(batched_tokens=float(cell.step_tokens)),
        Starts(cell.lead_time_s),
        objective,
        initial_replicas=min(most, first_replicas(part, from_s - before_s)),
        max_replicas=most,
    )
