"""Simulates the runs of one cell: what a worker process does; deterministic by seed."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoscaler.core.records import Objective
from autoscaler.simulation.clairvoyant import BLOCK_S, Bound, better, bound, fluid_bound_gpu_hours, hindsight
from autoscaler.simulation.ours import Ours, spec_of
from autoscaler.simulation.policies.peer import Deployment
from autoscaler.simulation.policies.registry import peers
from autoscaler.simulation.scenario import Fault, FaultKind, Scenario
from autoscaler.simulation.score import Score, score
from autoscaler.simulation.trace import read_trace
from autoscaler.simulation.world import Policy, Run, World
from loadtests.benchmark import bootstrap, faults
from loadtests.benchmark.grid import (
    MAIN_LEAD_S,
    Cell,
    Extent,
    Workload,
    family_of,
    first_replicas,
    scenario_of,
    short_name,
)
from loadtests.benchmark.hopeless import Bar, Hopeless, Watch, bars
from loadtests.benchmark.rows import CEILING, FLUID, HINDSIGHT, OURS, Row

SHORT_WINDOW_S = 3 * 3600.0
SHORT_PARTS = 8  # of a short window, in place of hours
SHORT_BLOCK_S = 300.0  # of the hindsight schedule, where the window is short
DRAWN_S = 360.0
GOODPUT_RIVAL = "mpc-v3"  # ours is compared with every setting of it, whatever it attains


@dataclass(frozen=True, slots=True)
class Planned:
    """One run to be made, or all runs of a kind that belong together (references, faults, cold start)."""

    policy: str
    knobs: str | None = None
    default: bool = False
    seed: int = 0
    kind: str = "run"  # run | references | faults | cold | better

    @property
    def is_search(self) -> bool:
        """A peer's setting that is run for the search of the best; not the rule that is judged by goodput."""
        return self.kind == "run" and self.seed == 0 and self.policy not in {OURS, GOODPUT_RIVAL}


@dataclass(frozen=True, slots=True)
class Job:
    """Runs of one cell, for one worker."""

    folder: str
    extent: Extent
    cell: Cell
    asked: tuple[float, ...]
    planned: tuple[Planned, ...]
    former: tuple[Row, ...] = ()  # what the cell's other jobs gave so far
    whole: bool = False  # no run is left before its end

    def may_leave(self, one: Planned) -> bool:
        """Whether a run may be left; in the middle of the grid every default runs to its end."""
        return one.is_search and not self.whole and not (one.default and self.cell.lead_time_s == MAIN_LEAD_S)


class _Watched(Objective):
    """An objective that knows whether a policy ever read the attainment: if not, one run serves all of them."""

    was_read = False

    def __getattribute__(self, name: str) -> Any:
        if name == "attainment":
            _Watched.was_read = True
        return super().__getattribute__(name)


_loaded: dict[str, Workload] = {}


def _workload(folder: str, name: str) -> Workload:
    """One trace, kept while the same process works on its cells."""
    if name not in _loaded:
        path = next(p for p in sorted(Path(folder).iterdir()) if p.is_file() and short_name(p) == name)
        trace = read_trace(path)
        _loaded.clear()
        _loaded[name] = Workload(name, family_of(trace), trace)
    return _loaded[name]


@dataclass(frozen=True, slots=True)
class Made:
    """What a job gave: rows, what went wrong in runs that gave none, and the keys of those that were left."""

    rows: list[Row]
    failures: list[str]
    left: list[str]


def run_job(job: Job) -> Made:
    """Rows of every run of a job; a run that fails is told and does not stop the others."""
    workload = _workload(job.folder, job.cell.trace)
    scenario = scenario_of(job.cell, workload, Objective(attainment=job.asked[0]), job.extent.warm_up_s)
    made = Made([], [], [])
    for one in job.planned:
        try:
            if job.may_leave(one):
                _leavable(job, one, scenario, made)
            else:
                made.rows.extend(_KINDS[one.kind](job, one, scenario))
        except Exception:  # noqa: BLE001 -- one of thousands; it is made again when the benchmark goes on
            name = f"{job.cell.key} {one.kind} {one.policy} {one.knobs or ''} seed {one.seed}"
            made.failures.append(f"{name}: {traceback.format_exc(limit=-3)}")
    return made


def build(one: Planned, scenario: Scenario, objective: Objective | None = None) -> Policy:
    """A new policy of a run."""
    if one.policy == OURS:
        return Ours(spec_of(scenario))
    setting = next(s for s in peers()[one.policy].settings if s.knobs == one.knobs)
    deployment = Deployment.of(scenario)
    return setting.build(deployment if objective is None else replace(deployment, objective=objective))


def _at(scenario: Scenario, asked: float) -> Scenario:
    return replace(scenario, objective=replace(scenario.objective, attainment=asked))


def _swept(job: Job, one: Planned, scenario: Scenario, some: tuple[Bar, ...] = ()) -> list[Row]:
    """One run; a policy that never reads the attainment is run once for all of those asked. Raises Hopeless."""
    rows: list[Row] = []
    for asked in job.asked:
        mine = _at(scenario, asked)
        watch = Watch(mine, some) if some else None
        if one.policy == OURS:
            run, depends = World(mine, one.seed).run(build(one, mine)), True
        else:
            _Watched.was_read = False
            objective = _Watched(mine.objective.ttft_s, mine.objective.tpot_s, asked)
            run = World(mine, one.seed, watch).run(build(one, mine, objective))
            depends = _Watched.was_read
        rows.append(row_of(job, one, run, asked))
        if not depends:
            return rows + [replace(rows[0], attainment_asked=other) for other in job.asked[1:]]
    return rows


def _leavable(job: Job, one: Planned, scenario: Scenario, made: Made) -> None:
    """A run that is left, for every attainment asked, when it is certain that nobody will look at it."""
    some = bars((*job.former, *made.rows), job.asked, defaults=one.default)
    alone = len(job.asked) == 1
    try:
        made.rows.extend(_swept(job, one, scenario, some))
    except Hopeless:
        if alone or not _Watched.was_read:
            made.left.extend(key_of(job.cell, one, asked) for asked in job.asked)
            return
        for asked in job.asked:
            _leavable(replace(job, asked=(asked,)), one, _at(scenario, asked), made)


def key_of(cell: Cell, one: Planned, asked: float) -> str:
    """The key of the row that a run gives."""
    parts = (cell.trace, cell.fleet, cell.lead_time_s, cell.step_tokens, None, one.policy, one.knobs, one.seed, asked)
    return "|".join(map(str, parts))


def _references(job: Job, _: Planned, scenario: Scenario) -> list[Row]:
    """Hindsight at every asked attainment, the fluid bound, and what a static fleet of the most replicas attains."""
    rows: list[Row] = []
    most = World(replace(scenario, initial_replicas=scenario.max_replicas), 0).replay(())
    table = None
    for asked in job.asked:
        table = hindsight(scenario, asked, _block_s(scenario), table)
        found = bound(scenario, asked, table=table)
        if table.block_s < BLOCK_S:  # short windows are cheap, and five minutes coarse in them
            found = better(scenario, found, table, ())
        rows += [
            _hindsight_row(job, found, asked),
            replace(
                row_of(job, Planned(FLUID), most, asked),
                gpu_hours=fluid_bound_gpu_hours(scenario),
                attainment=1.0,
                worst_hour_attainment=1.0,
                goodput_per_gpu_s=0.0,
                interval=(fluid_bound_gpu_hours(scenario),) * 2,
                hours_gpu=(),
                replicas=(),
            ),
            row_of(job, Planned(CEILING), most, asked),
        ]
    return rows


def _hindsight_row(job: Job, found: Bound, asked: float) -> Row:
    row = row_of(job, Planned(HINDSIGHT), found.schedule.replay(), asked)
    return replace(row, clairvoyant_gpu_hours=found.gpu_hours if found.hit else None)


def _better(job: Job, one: Planned, scenario: Scenario) -> list[Row]:
    """The bound anew, from what the policies did that came near it: `knobs` lists them."""
    assert one.knobs is not None
    rows: list[Row] = []
    for entry in one.knobs.split("\n"):
        share, look, name, knobs, seed = entry.split("\t")
        asked = float(share)
        mine = _at(scenario, asked)
        run = World(mine, int(seed)).run(build(Planned(name, knobs or None), mine))
        table = hindsight(mine, asked, _block_s(scenario))
        found = better(mine, bound(mine, asked, table=table), table, (run,))
        rows.append(replace(_hindsight_row(job, found, asked), knobs=look))
    return rows


def _faults(job: Job, one: Planned, scenario: Scenario) -> list[Row]:
    """Every fault at the peak, in worlds cut around it, at the first attainment asked."""
    at_s = faults.peak_s(scenario)
    until_s = min(scenario.end_s, at_s + faults.SHIFT_S + faults.AFTER_S)
    around = faults.cut(scenario, at_s, until_s, first_replicas)
    rows: list[Row] = []
    calm: Run | None = None
    for fault in faults.disturbances(around, at_s, one.seed):
        run = _restarted(one, fault.scenario)
        calm = calm or run
        other = score(calm, fault.from_s, fault.until_s)
        row = row_of(job, one, run, job.asked[0], score(run, fault.from_s, fault.until_s))
        lost = faults.replicas_lost(run.steps, calm.steps, fault.from_s, fault.until_s)
        rows.append(
            replace(
                row,
                fault=fault.name,
                undisturbed_attainment=other.attainment,
                undisturbed_gpu_hours=other.gpu_hours,
                replicas_lost=lost,
            )
        )
    return rows


def _restarted(one: Planned, scenario: Scenario) -> Run:
    """A run in which a restarted planner takes up what it had saved, and a peer begins anew."""
    if one.policy != OURS:
        return World(scenario, one.seed).run(build(one, scenario), lambda: build(one, scenario))
    first = faults.Saving(spec_of(scenario))
    return World(scenario, one.seed).run(first, first.reborn)


def _cold(job: Job, one: Planned, scenario: Scenario) -> list[Row]:
    """The first hour of a planner that knows nothing, in a fleet that ran before, and of one that learned before."""
    past_s = min(faults.PAST_S, (scenario.end_s - scenario.from_s) / 2.0)
    at_s = max(scenario.start_s, scenario.from_s + past_s)
    around = faults.cut(scenario, at_s, min(scenario.end_s, at_s + faults.COLD_S), first_replicas)
    around = replace(around, fault=Fault(FaultKind.RESTART, at_s))
    first = faults.Saving(spec_of(around))
    warm = World(around, one.seed).run(first, first.reborn)
    cold = World(around, one.seed).run(build(one, around), lambda: build(one, around))
    calm = score(warm)
    rows = []
    for name, run in ((faults.WARM, warm), (faults.COLD, cold)):
        rows.append(
            replace(
                row_of(job, one, run, job.asked[0]),
                fault=name,
                undisturbed_attainment=calm.attainment,
                undisturbed_gpu_hours=calm.gpu_hours,
            )
        )
    return rows


_KINDS: dict[str, Callable[[Job, Planned, Scenario], list[Row]]] = {
    "run": _swept,
    "references": _references,
    "better": _better,
    "faults": _faults,
    "cold": _cold,
}


def _block_s(scenario: Scenario) -> float:
    return SHORT_BLOCK_S if scenario.end_s - scenario.start_s < SHORT_WINDOW_S else BLOCK_S


def row_of(job: Job, planned: Planned, run: Run, asked: float, one: Score | None = None) -> Row:
    """A run as a row; `one` is its score where that is of another span than the scenario's."""
    cell, scenario = job.cell, run.scenario
    one = one or score(run)
    span_s = scenario.end_s - scenario.start_s
    # A window of one or two hours has too few of them to draw from.
    parts = score(run, hour_s=span_s / SHORT_PARTS) if span_s < SHORT_WINDOW_S else one
    is_drawn = planned.kind in {"run", "references"} and (planned.policy == OURS or planned.seed > 0)
    row = Row(
        trace=cell.trace,
        family=cell.family,
        fleet=cell.fleet,
        fleet_multiplier=cell.fleet_multiplier,
        lead_time_s=cell.lead_time_s,
        step_tokens=cell.step_tokens,
        fault=None,
        policy=planned.policy,
        knobs=planned.knobs,
        policy_default=planned.default,
        seed=planned.seed,
        attainment_asked=asked,
        attainment=one.attainment,
        worst_hour_attainment=one.worst_hour,
        gpu_hours=one.gpu_hours,
        interval=(one.gpu_hours, one.gpu_hours),
        clairvoyant_gpu_hours=None,
        goodput_per_gpu_s=one.goodput_per_gpu_s,
        scale_events_per_hour=one.scale_events_per_hour,
        requests=one.requests,
        hours_gpu=parts.hour_gpu_hours,
        hours_good=parts.hour_good,
        hours_requests=parts.hour_requests,
        replicas=_replicas(run) if is_drawn or planned.policy == HINDSIGHT else (),
    )
    return replace(row, interval=bootstrap.interval(bootstrap.sums(str(row.cell), row.hours_gpu)))


def _replicas(run: Run) -> tuple[float, ...]:
    """spec.replicas in the middle of every DRAWN_S of the scored part."""
    scenario, at_s, place = run.scenario, run.scenario.start_s + DRAWN_S / 2.0, 0
    seen: list[float] = []
    while at_s < scenario.end_s:
        while place + 1 < len(run.steps) and run.steps[place + 1][0] <= at_s:
            place += 1
        seen.append(float(run.steps[place][1]))
        at_s += DRAWN_S
    return tuple(seen)
