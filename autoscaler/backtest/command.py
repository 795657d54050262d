"""The back-test from end to end: read, check, simulate, report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from autoscaler.backtest.history import History, Told, history
from autoscaler.backtest.report_json import write_json
from autoscaler.backtest.report_table import print_findings
from autoscaler.backtest.results import Findings, load_of
from autoscaler.backtest.running import Field, Task, run_all, run_task
from autoscaler.backtest.settings import Settings, checked
from autoscaler.backtest.sources_requests import read_replicas_ran, read_requests
from autoscaler.backtest.worlds import setup
from autoscaler.simulation.comparison import Kind, Outcome, Player
from autoscaler.simulation.kernel import HAS_COMPILER

NO_COMPILER = (
    "numba is missing (pip install 'llm-autoscaler[lab]'): the simulation runs uncompiled, a hundred times slower."
)


def run_backtest(settings: Settings, console: Console, progress: Console) -> Findings:
    """Run it all and write what was asked for. Raises AutoscalerError."""
    settings = checked(settings)
    told, kind = read(settings)
    findings = findings_of(history(settings.source, kind, told, settings.most_gap_share), settings, progress)
    print_findings(console, findings)
    if settings.json is not None:
        write_json(settings.json, findings)
    return findings


def read(settings: Settings) -> tuple[Told, str]:
    """Read the source, and what ran beside it."""
    path = Path(settings.source)
    told = read_requests(path, unit=settings.time_unit, idle_gaps=settings.gaps == "idle")
    if settings.replicas_ran is not None:
        ran = read_replicas_ran(settings.replicas_ran, settings.time_unit)
        told = replace(told, ran=ran, ran_are_ready=settings.replicas_ran_are == "ready")
    return told, "requests"


def findings_of(told: History, settings: Settings, progress: Console) -> Findings:
    """Simulate a history and find what there is to say."""
    warnings = list(told.warnings)
    if not HAS_COMPILER:
        warnings.append(NO_COMPILER)
        progress.print(f"warning: {NO_COMPILER}", highlight=False, markup=False, soft_wrap=True, style="yellow")
    built = setup(told, settings)
    field = Field(built.scenario, settings.seed, built.bins)
    asked = settings.objective.attainment
    constant = Task("constant", Player(Kind.CONSTANT, "constant replicas"), share=asked)
    tasks = [Task("ours", built.ours), constant, *(Task(one.name, one) for one in built.peers)]
    if built.ran is not None:
        tasks.append(Task("ran", built.ran))
    if settings.bound:
        tasks.append(Task("bound", Player(Kind.BOUND, "hindsight bound")))
    found = run_all(field, tasks, settings.jobs, progress)
    ours = found["ours"]
    assert ours is not None  # noqa: S101 -- only the search for constant fleets may find none
    if ours.score.attainment < asked:  # ours is held against a fleet that does as well, not better
        found["constant"] = run_task(field, Task("constant", constant.player, share=ours.score.attainment))
    order = ("ours", "ran", "constant", *(one.name for one in built.peers), "bound")
    outcomes: tuple[Outcome, ...] = tuple(one for key in order if (one := found.get(key)) is not None)
    return Findings(
        settings, told, built, outcomes, (), None, load_of(built.scenario, built.bins), tuple(warnings)
    )  # fmt: skip
