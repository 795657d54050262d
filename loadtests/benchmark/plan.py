"""What is run and in which order: first every setting once, then more seeds, faults and a second look at the bound.

The later runs of a cell are chosen by the rows of its first ones. Starts of 120 s come first in every trace, so that a
benchmark that is stopped early has the middle of the grid; more seeds at 99 % come when all else is there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from autoscaler.simulation.policies.registry import peers
from loadtests.benchmark import faults
from loadtests.benchmark.grid import MAIN_LEAD_S, Cell, Extent, Workload, cells
from loadtests.benchmark.hopeless import BEST
from loadtests.benchmark.rows import CEILING, FLUID, HINDSIGHT, OURS, Row
from loadtests.benchmark.runner import Job, Planned
from loadtests.benchmark.verdict import CLOSE, below_bound

# Seconds of processor time: per request of the engine and the score, per simulated hour of the policy's own Python; for
# the estimate and for jobs of even length, nothing else. Measured on 13 hours of azure2024-conv and servegen-mlarge,
# times 0.7: by those half of a run of eight traces was told to take 55 minutes on two cores, and took 38.
REQUEST_S, HOUR_S = 0.45e-6, 0.013
DEAR = {
    OURS: 0.38,
    "mpc-v3": 0.24,
    "wva-model": 0.14,
    "self-tuned-rate": 0.07,
    "knative": 0.06,
    "wva-model-profiled": 0.06,
    "ray-serve": 0.04,
}
REFERENCE_RUNS = 18  # replays for each attainment
JOB_S = 60.0
CUT = 0.5  # of the cost of the runs that may be left is spent; for the estimate only
# Over the cheapest peer, in the order of trying: a setting that missed what was asked, one that was left.
MISSED, LEFT = 1.5, 2.0
LOOKS: Mapping[str | None, str] = MappingProxyType({None: "second look", "second look": "third look"})  # at the bound

Place = tuple[str, str, float, int]
Setting = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Scope:
    """What the caller asked for."""

    folder: Path
    extent: Extent
    asked: tuple[float, ...]
    policies: tuple[str, ...]
    seeds: int
    whole: bool = False  # no run is left before its end, and every attainment is asked at every start

    def shares(self, cell: Cell) -> tuple[float, ...]:
        """The attainments asked in a cell: all of them in the middle of the grid, else the first."""
        return self.asked if self.whole or cell.lead_time_s == MAIN_LEAD_S else self.asked[:1]


@dataclass(frozen=True, slots=True)
class Sized:
    """A cell with what one run of it costs."""

    cell: Cell
    requests: float
    hours: float

    @property
    def is_main(self) -> bool:
        """Whether it is in the middle of the grid."""
        return self.cell.lead_time_s == MAIN_LEAD_S

    def cost_s(self, job: Job) -> float:
        """About how long a job takes on one core."""
        return sum(self._one_s(one, job) for one in job.planned)

    def _one_s(self, one: Planned, job: Job) -> float:
        if one.kind == "references":
            return len(job.asked) * REFERENCE_RUNS * self.requests * REQUEST_S
        if one.kind == "better":
            return 2 * len(job.asked) * REFERENCE_RUNS * self.requests * REQUEST_S
        short = min(1.0, 3.0 / self.hours)
        runs = {"faults": (len(faults.FAULTS) + 1) * short, "cold": 2 * short}.get(one.kind, 1.0)
        if one.policy == OURS and one.kind == "run":
            runs *= len(job.asked)
        if job.may_leave(one):
            runs *= CUT
        return runs * (self.requests * REQUEST_S + self.hours * DEAR.get(one.policy, HOUR_S))


def sized_cells(found: list[Workload], extent: Extent) -> list[Sized]:
    """Every cell, the middle of the grid first, the dearest traces before the others."""
    listed = []
    for workload in found:
        arrival_s = workload.trace.arrival_s
        for cell in cells(workload, extent):
            from_s, until_s = cell.window_s
            begin_s = max(0.0, from_s - extent.warm_up_s)
            inside = float(((arrival_s >= begin_s) & (arrival_s < until_s)).sum())
            listed.append(Sized(cell, inside * cell.fleet_multiplier, (until_s - begin_s) / 3600.0))
    weight: dict[str, float] = defaultdict(float)
    for one in listed:
        weight[one.cell.trace] += one.requests
    # The dear traces last: what is learned of the settings on the others is what lets most of their runs be left.
    return sorted(listed, key=lambda one: (one.cell.lead_time_s != MAIN_LEAD_S, weight[one.cell.trace], one.cell.key))


def promise(rows: Iterable[Row], asked: float) -> dict[Setting, float]:
    """What every setting of a peer needed over the cheapest that attained, mean over cells; those that did not last."""
    cells: dict[Place, list[Row]] = defaultdict(list)
    for row in rows:
        if row.is_peer and row.fault is None and row.seed == 0 and row.attainment_asked == asked:
            cells[row.cell].append(row)
    over: dict[Setting, list[float]] = defaultdict(list)
    for some in cells.values():
        least = min((row.gpu_hours for row in some if row.attainment >= asked - CLOSE), default=0.0)
        for row in some:
            attains = row.attainment >= asked - CLOSE
            missed = MISSED + asked - row.attainment
            over[row.policy, row.knobs].append(row.gpu_hours / least if attains and least else missed)
    most = max(map(len, over.values()), default=0)
    return {one: (sum(some) + LEFT * (most - len(some))) / most for one, some in over.items()}


def head_jobs(one: Sized, scope: Scope, done: frozenset[str]) -> Iterator[Job]:
    """The references and ours: what tells of a peer's run whether it is of interest."""
    planned = [Planned(HINDSIGHT, kind="references")]
    if OURS in scope.policies:
        planned.append(Planned(OURS, default=True))
    asked = scope.shares(one.cell)
    yield from _packed(one, scope, asked, [p for p in planned if not _is_done(one.cell, p, asked, done)])


def peer_jobs(
    one: Sized,
    scope: Scope,
    done: frozenset[str],
    promised: Mapping[Setting, float] = MappingProxyType({}),
) -> Iterator[Job]:
    """Every setting of every peer once, the promising first; in jobs of about JOB_S."""
    planned: list[Planned] = []
    for name, peer in peers().items():
        if name in scope.policies:
            settings = [setting for setting in peer.settings if setting.default or not scope.extent.is_quick]
            planned += [Planned(name, setting.knobs, setting.default) for setting in settings]
    planned.sort(key=lambda p: promised.get((p.policy, p.knobs), LEFT))
    asked = scope.shares(one.cell)
    yield from _packed(one, scope, asked, [p for p in planned if not _is_done(one.cell, p, asked, done)])


def later_jobs(one: Sized, scope: Scope, rows: list[Row], done: frozenset[str]) -> Iterator[Job]:
    """More seeds, faults and a cold start for ours and the three best peers; the bound anew where it was beaten.

    At the first attainment asked.
    """
    if scope.extent.is_quick:
        return
    if one.is_main or scope.whole:
        asked = scope.asked[:1]
        ours, best = _ours(scope), _best(rows, asked[0])
        planned = [replace(p, kind="faults") for p in (*ours, *best)]
        planned += [replace(p, kind="cold") for p in ours]
        planned += _seeds((*ours, *best), scope)
        yield from _packed(one, scope, asked, [p for p in planned if not _is_done(one.cell, p, asked, done)])
    yield from closer_looks(one, scope, rows)


def closer_looks(one: Sized, scope: Scope, rows: list[Row]) -> Iterator[Job]:
    """The bound anew where some row lies below it: once by the first rows, once by those of more seeds."""
    lowest = {row.attainment_asked: row for row in sorted(below_bound(rows), key=lambda row: -row.gpu_hours)}
    looks = {row.attainment_asked: row.knobs for row in rows if row.policy == HINDSIGHT}
    told = "\n".join(
        "\t".join((str(share), LOOKS[looks.get(share)], row.policy, row.knobs or "", str(row.seed)))
        for share, row in lowest.items()
        if looks.get(share) in LOOKS
    )
    if told:
        better = Planned(HINDSIGHT, told, kind="better")
        yield Job(str(scope.folder), scope.extent, one.cell, scope.shares(one.cell), (better,))


def last_jobs(one: Sized, scope: Scope, rows: list[Row], done: frozenset[str]) -> Iterator[Job]:
    """More seeds at the other attainments asked in the cell: the last of all, for they only sharpen what is known."""
    if scope.extent.is_quick or not (one.is_main or scope.whole):
        return
    for share in scope.shares(one.cell)[1:]:
        planned = _seeds((*_ours(scope), *_best(rows, share)), scope)
        yield from _packed(one, scope, (share,), [p for p in planned if not _is_done(one.cell, p, (share,), done)])


def _ours(scope: Scope) -> list[Planned]:
    return [Planned(OURS, default=True)] if OURS in scope.policies else []


def _best(rows: list[Row], share: float) -> list[Planned]:
    return [Planned(row.policy, row.knobs, row.policy_default) for row in best_peers(rows, share)]


def _seeds(some: Iterable[Planned], scope: Scope) -> list[Planned]:
    return [replace(p, seed=seed) for p in some for seed in range(1, scope.seeds)]


def best_peers(rows: list[Row], asked: float) -> list[Row]:
    """The cheapest setting of each of the three cheapest peers that attain what ours does, or what is asked.

    Equals by name: which row came first depends on the processes.
    """
    swept = [row for row in rows if row.fault is None and row.seed == 0 and row.attainment_asked == asked]
    ours = min((row.attainment for row in swept if row.policy == OURS), default=asked)
    least = min(ours, asked) - CLOSE
    ranked = sorted(
        (row for row in swept if row.is_peer),
        key=lambda row: (
            row.attainment < least,
            row.gpu_hours if row.attainment >= least else -row.attainment,
            row.policy,
            row.knobs or "",
        ),
    )
    chosen: dict[str, Row] = {}
    for row in ranked:
        if len(chosen) < BEST:
            chosen.setdefault(row.policy, row)
    return list(chosen.values())


def _packed(one: Sized, scope: Scope, asked: tuple[float, ...], planned: list[Planned]) -> Iterator[Job]:
    job = Job(str(scope.folder), scope.extent, one.cell, asked, (), whole=scope.whole)
    for run in planned:
        grown = replace(job, planned=(*job.planned, run))
        if job.planned and one.cost_s(grown) > JOB_S:
            yield job
            grown = replace(job, planned=(run,))
        job = grown
    if job.planned:
        yield job


def _is_done(cell: Cell, one: Planned, asked: tuple[float, ...], done: frozenset[str]) -> bool:
    """Whether every row that a run gives is there."""
    place = (cell.trace, cell.fleet, cell.lead_time_s, cell.step_tokens)

    def has(fault: str | None, policy: str, share: float) -> bool:
        parts = (*place, fault, policy, one.knobs, one.seed, share)
        return "|".join(map(str, parts)) in done

    if one.kind == "faults":
        return all(has(fault, one.policy, asked[0]) for fault in faults.FAULTS)
    if one.kind == "cold":
        return has(faults.COLD, one.policy, asked[0])
    names = (HINDSIGHT, FLUID, CEILING) if one.kind == "references" else (one.policy,)
    return all(has(None, name, share) for name in names for share in asked)
