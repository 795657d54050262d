"""Runs every policy in every cell: in parallel, resumable, deterministic by seed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from autoscaler.core.records import Objective
from autoscaler.simulation.clairvoyant import BLOCK_S, Bound, bound, fluid_bound_gpu_hours, hindsight
from autoscaler.simulation.ours import Ours, spec_of
from autoscaler.simulation.policies.peer import Deployment
from autoscaler.simulation.policies.registry import peers
from autoscaler.simulation.scenario import Scenario
from autoscaler.simulation.score import Score, score
from autoscaler.simulation.trace import read_trace
from autoscaler.simulation.world import World
from loadtests.benchmark import rows
from loadtests.benchmark.grid import Cell, Workload, cells, family_of, scenario_of, short_name
from loadtests.benchmark.rows import Row

SHORT_WINDOW_S = 2 * 3600.0
SHORT_BLOCK_S = 300.0  # of the hindsight schedule, where the window is short
OURS = "ours"


@dataclass(frozen=True, slots=True)
class Job:
    """All policies of one cell at one asked attainment."""

    folder: str
    cell: Cell
    asked: float
    policies: tuple[str, ...]
    seeds: int  # for ours; peers are swept with one
    defaults_only: bool
    done: frozenset[str]


def jobs(
    found: list[Workload],
    folder: Path,
    asked: tuple[float, ...],
    policies: tuple[str, ...],
    seeds: int,
    done: frozenset[str],
    *,
    quick: bool,
) -> list[Job]:
    """Every cell of every trace, the longest first so that no core ends up idle."""
    listed = [
        (len(workload.trace.arrival_s) * cell.fleet_multiplier, cell)
        for workload in found
        for cell in cells(workload, quick=quick)
    ]
    listed.sort(key=lambda entry: -entry[0])
    return [Job(str(folder), cell, share, policies, seeds, quick, done) for _, cell in listed for share in asked]


def run_all(todo: list[Job], processes: int) -> Iterator[tuple[Job, list[Row]]]:
    """Rows of each job as it ends."""
    with ProcessPoolExecutor(processes) as pool:
        started = {pool.submit(run_job, job): job for job in todo}
        for future in as_completed(started):
            yield started[future], future.result()


_loaded: dict[str, Workload] = {}


def _workload(folder: str, name: str) -> Workload:
    """One trace, kept while the same process works on its cells."""
    if name not in _loaded:
        path = next(p for p in sorted(Path(folder).iterdir()) if short_name(p) == name)
        trace = read_trace(path)
        _loaded.clear()
        _loaded[name] = Workload(name, family_of(trace), trace)
    return _loaded[name]


def run_job(job: Job) -> list[Row]:
    """Every run of one cell that was not done before."""
    todo = [one for one in _planned(job) if _row(job, one, None, None).key not in job.done]
    if not todo:
        return []
    scenario = scenario_of(job.cell, _workload(job.folder, job.cell.trace), Objective(attainment=job.asked))
    references, reference = _references(job, scenario)
    made = [row for row in references if row.key not in job.done]
    return made + [_row(job, one, _play(one, scenario), reference) for one in todo]


@dataclass(frozen=True, slots=True)
class Planned:
    """One run to be made."""

    policy: str
    knobs: str | None = None
    default: bool = False
    seed: int = 0


def _planned(job: Job) -> list[Planned]:
    planned = [Planned(OURS, None, True, seed) for seed in range(job.seeds) if OURS in job.policies]
    for name, peer in peers().items():
        if name in job.policies:
            settings = [one for one in peer.settings if one.default or not job.defaults_only]
            planned += [Planned(name, one.knobs, one.default) for one in settings]
    return planned


def _play(one: Planned, scenario: Scenario) -> Score:
    if one.policy == OURS:
        return score(World(scenario, one.seed).run(Ours(spec_of(scenario))))
    setting = next(s for s in peers()[one.policy].settings if s.knobs == one.knobs)
    return score(World(scenario, one.seed).run(setting.build(Deployment.of(scenario))))


def _references(job: Job, scenario: Scenario) -> tuple[list[Row], float | None]:
    """Rows of the clairvoyant references, and the bound's GPU-hours where it hits the asked attainment."""
    block_s = SHORT_BLOCK_S if scenario.end_s - scenario.start_s < SHORT_WINDOW_S else BLOCK_S
    found: Bound = bound(scenario, job.asked, table=hindsight(scenario, job.asked, block_s))
    reference = found.gpu_hours if found.hit else None
    fluid = replace(found.score, gpu_hours=fluid_bound_gpu_hours(scenario), attainment=1.0, worst_hour=1.0)
    return [
        _row(job, Planned("clairvoyant-hindsight"), found.score, reference),
        _row(job, Planned("clairvoyant-fluid"), fluid, reference),
    ], reference


def _row(job: Job, planned: Planned, one: Score | None, reference: float | None) -> Row:
    cell = job.cell
    return Row(
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
        attainment_asked=job.asked,
        attainment=one.attainment if one else 0.0,
        worst_hour_attainment=one.worst_hour if one else 0.0,
        gpu_hours=one.gpu_hours if one else 0.0,
        interval=rows.interval_of(one, 0) if one else (0.0, 0.0),
        clairvoyant_gpu_hours=reference,
        goodput_per_gpu_s=one.goodput_per_gpu_s if one else 0.0,
        scale_events_per_hour=one.scale_events_per_hour if one else 0.0,
        requests=one.requests if one else 0,
    )
