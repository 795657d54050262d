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
        from autoscaler.simulation.trace import read_trace  # noqa: PLC0415 -- only workers read

        path = next(p for p in sorted(Path(folder).iterdir()) if short_name(p) == name)
        trace = read_trace(path)
        _loaded.clear()
        _loaded[name] = Workload(name, family_of(trace), trace)
    return _loaded[name]


def run_job(job: Job) -> list[Row]:
    """Every run of one cell that was not done before."""
    scenario = scenario_of(job.cell, _workload(job.folder, job.cell.trace), Objective(attainment=job.asked))
    made: list[Row] = []
    reference = _reference(job, scenario, made)
    for name, knobs, default, seed, run in _runs(job, scenario):
        row = _row(job, name, knobs, default, seed, None, reference)
        if row.key not in job.done:
            made.append(_row(job, name, knobs, default, seed, run(), reference))
    return made


def _reference(job: Job, scenario: Scenario, made: list[Row]) -> float | None:
    """GPU-hours of the hindsight bound, None where it does not hit; its rows are added where they are new."""
    block_s = SHORT_BLOCK_S if scenario.end_s - scenario.start_s < SHORT_WINDOW_S else BLOCK_S
    found: Bound = bound(scenario, job.asked, table=hindsight(scenario, job.asked, block_s))
    reference = found.gpu_hours if found.hit else None
    fluid = replace(found.score, gpu_hours=fluid_bound_gpu_hours(scenario), attainment=1.0, worst_hour=1.0)
    for name, one in (("clairvoyant-hindsight", found.score), ("clairvoyant-fluid", fluid)):
        row = _row(job, name, None, False, 0, one, reference)
        if row.key not in job.done:
            made.append(row)
    return reference


def _runs(job: Job, scenario: Scenario):  # type: ignore[no-untyped-def]
    """Name, knobs, whether default, seed, and how to run it."""

    def ours(seed: int) -> Score:
        return score(World(scenario, seed).run(Ours(spec_of(scenario))))

    if OURS in job.policies:
        for seed in range(job.seeds):
            yield OURS, None, True, seed, lambda seed=seed: ours(seed)
    for name, peer in peers().items():
        if name not in job.policies:
            continue
        for setting in peer.settings:
            if job.defaults_only and not setting.default:
                continue

            def run(setting=setting) -> Score:  # type: ignore[no-untyped-def]
                return score(World(scenario, 0).run(setting.build(Deployment.of(scenario))))

            yield name, setting.knobs, setting.default, 0, run


def _row(
    job: Job, name: str, knobs: str | None, default: bool, seed: int, one: Score | None, reference: float | None
) -> Row:
    cell = job.cell
    return Row(
        trace=cell.trace,
        family=cell.family,
        fleet=cell.fleet,
        fleet_multiplier=cell.fleet_multiplier,
        lead_time_s=cell.lead_time_s,
        step_tokens=cell.step_tokens,
        fault=None,
        policy=name,
        knobs=knobs,
        policy_default=default,
        seed=seed,
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
