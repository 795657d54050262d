"""The back-test from end to end: read, check, simulate, report."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from autoscaler.backtest.advice_checked import SPAN_S, advice_of, tasks_of
from autoscaler.backtest.columns import time_of
from autoscaler.backtest.history import History, Told, history
from autoscaler.backtest.report_html import write_html
from autoscaler.backtest.report_json import write_json
from autoscaler.backtest.report_table import print_findings
from autoscaler.backtest.results import Findings, load_of
from autoscaler.backtest.running import Field, Task, run_all, run_task
from autoscaler.backtest.settings import Settings, checked
from autoscaler.backtest.sources_flight import is_record, read_flight
from autoscaler.backtest.sources_prometheus import Asked, read_prometheus
from autoscaler.backtest.sources_requests import read_replicas_ran, read_requests
from autoscaler.backtest.worlds import busiest, setup
from autoscaler.core.errors import ConfigError, Problem
from autoscaler.core.priors import GENERIC
from autoscaler.simulation.comparison import Kind, Outcome, Player
from autoscaler.simulation.kernel import HAS_COMPILER

DAY_S = 86_400.0
WEEK_S = 7 * 86_400.0
BOUND_SHARE = 0.02  # of the time at the most replicas, from which on it is said
NO_COMPILER = (
    "numba is missing (pip install 'llm-autoscaler[lab]'): the simulation runs uncompiled, a hundred times slower."
)


def run_backtest(settings: Settings, console: Console, progress: Console) -> Findings:
    """Run it all and write what was asked for. Raises AutoscalerError."""
    settings = checked(settings)
    told, kind = read(settings, progress)
    findings = findings_of(history(settings.source, kind, told, settings.most_gap_share), settings, progress)
    print_findings(console, findings)
    try:
        if settings.json is not None:
            write_json(settings.json, findings)
        if settings.html is not None:
            write_html(settings.html, findings)
    except OSError as error:
        problem = Problem(str(error.filename), str(error.strerror), "a file that can be written")
        raise ConfigError("reports of the back-test", (problem,)) from None
    if settings.html is not None:
        console.print(f"\nReport: {settings.html}", highlight=False, markup=False, soft_wrap=True)
    return findings


def read(settings: Settings, progress: Console) -> tuple[Told, str]:
    """Read the source, and what ran beside it."""
    idle = settings.gaps == "idle"
    if settings.is_url:
        told, kind = _prometheus(settings, progress), "prometheus"
    elif is_record(path := Path(settings.source)):
        told, kind = read_flight(path, settings.seed, settings.service, idle_gaps=idle), "flight record"
    else:
        told, kind = read_requests(path, unit=settings.time_unit, idle_gaps=idle), "requests"
    if settings.replicas_ran is not None:
        ran = read_replicas_ran(settings.replicas_ran, settings.time_unit)
        if ran[-1][0] < told.begin_s - DAY_S or ran[0][0] > told.end_s:
            found = f"times from {ran[0][0]:,.0f} to {ran[-1][0]:,.0f} s"
            expected = f"times of the history, {told.begin_s:,.0f} to {told.end_s:,.0f} s, on the same clock"
            raise ConfigError(str(settings.replicas_ran), (Problem("the file", found, expected),))
        told = replace(told, ran=ran, ran_are_ready=settings.replicas_ran_are == "ready")
    return told, kind


def _prometheus(settings: Settings, progress: Console) -> Told:
    asked = asked_of(settings, time.time())
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=progress, transient=True) as shown:
        bar = shown.add_task(f"reading {settings.source}", total=1.0)

        def watch(share: float) -> None:
            shown.update(bar, completed=share)

        return asyncio.run(read_prometheus(asked, settings.seed, watch, idle_gaps=settings.gaps == "idle"))


def asked_of(settings: Settings, now_s: float) -> Asked:
    """The query of the settings: the last week unless times are given. Raises ConfigError."""
    found: list[Problem] = []
    times = {"--start": now_s - WEEK_S, "--end": now_s}
    for option, text in (("--start", settings.start), ("--end", settings.end)):
        if text is None:
            continue
        try:
            times[option] = time_of(text, now_s)
        except ValueError:
            found.append(Problem(option, repr(text), "Unix seconds, an ISO 8601 time, or a time ago such as 7d or 36h"))
    if not found and times["--end"] - times["--start"] < 2.0 * settings.step_s:
        found.append(Problem("--start", f"{settings.start}, with --end {settings.end}", "at least two steps before it"))
    if found:
        raise ConfigError("settings of the back-test", tuple(found))
    return Asked(
        settings.source,
        math.floor(times["--start"]),
        math.floor(times["--end"]),
        settings.step_s,
        settings.query_labels,
        settings.server,
        settings.replicas_query,
        settings.token_file,
    )


def findings_of(told: History, settings: Settings, progress: Console) -> Findings:
    """Simulate a history and find what there is to say."""
    warnings = list(told.warnings)
    if settings.replica == GENERIC.key:
        warnings.append("No replica is named (--replica): a generic one is played, and figures are rough.")
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
    span_s = busiest(told, SPAN_S)
    tried = tasks_of(built, span_s) if settings.advice else []
    tasks += [task for task, _ in tried]
    found = run_all(field, tasks, settings.jobs, progress)
    ours = found["ours"]
    assert ours is not None  # noqa: S101 -- only the search for constant fleets may find none
    if ours.score.attainment < asked:  # ours is held against a fleet that does as well, not better
        found["constant"] = run_task(field, Task("constant", constant.player, share=ours.score.attainment))
    if (bounded := _bound_share(ours, built.scenario.max_replicas)) >= BOUND_SHARE:
        warnings.append(
            f"llm-autoscaler stood at the most replicas allowed ({built.scenario.max_replicas}) for {bounded:.0%} of "
            "the time: --max-replicas may be too low for the objective."
        )
    order = ("ours", "ran", "constant", *(one.name for one in built.peers), "bound")
    outcomes: tuple[Outcome, ...] = tuple(one for key in order if (one := found.get(key)) is not None)
    checks = [(candidate, one) for task, candidate in tried if (one := found[task.key]) is not None]
    return Findings(
        settings,
        told,
        built,
        outcomes,
        advice_of(built, checks),
        span_s if checks else None,
        load_of(built.scenario, built.bins),
        tuple(warnings),
    )  # fmt: skip


def _bound_share(ours: Outcome, most: int) -> float:
    return sum(count >= most - 1e-6 for count in ours.paid) / max(1, len(ours.paid))
