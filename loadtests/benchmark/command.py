"""The command line of the benchmark."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from autoscaler.core.errors import AutoscalerError
from autoscaler.simulation.kernel import HAS_COMPILER
from autoscaler.simulation.policies.registry import peers
from loadtests.benchmark import plots, report, rows
from loadtests.benchmark.grid import Extent, quick_extent, workloads
from loadtests.benchmark.plan import Scope, sized_cells
from loadtests.benchmark.pool import Queue, run_all
from loadtests.benchmark.rows import OURS
from loadtests.benchmark.runner import Job

app = typer.Typer(add_completion=False, no_args_is_help=True)
QUICK_MINUTES = 9.0
LINES, LEFT, KIND, RESULTS = "rows.jsonl", "left.jsonl", "kind.json", "results.json"
WRITE_S = 300.0  # between results of a run that goes on: one that is killed leaves what it had


@app.callback()
def main() -> None:
    """Load tests."""


def _chosen(policies: str | None) -> tuple[str, ...]:
    known = (OURS, *peers())
    if policies is None:
        return known
    chosen = tuple(name.strip() for name in policies.split(",") if name.strip())
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise typer.BadParameter(f"found {', '.join(unknown)}, expected any of {', '.join(known)}")
    return chosen


def _shares(asked: str | None, *, quick: bool) -> tuple[float, ...]:
    if asked is None:
        return (0.95,) if quick else (0.95, 0.99)
    try:
        shares = tuple(float(part) for part in asked.split(","))
    except ValueError:
        shares = ()
    if not shares or not all(0.0 < share < 1.0 for share in shares):
        raise typer.BadParameter(f"found {asked!r}, expected shares between 0 and 1, as 0.95,0.99")
    return shares


@app.command()
def benchmark(
    traces: Annotated[Path, typer.Option(help="Folder of trace files (arrival_s,prompt_tokens,output_tokens).")],
    out: Annotated[Path, typer.Option(help="Folder for results.json, tables and plots; a stopped run goes on here.")],
    quick: Annotated[bool, typer.Option("--quick", help="120 s starts, short windows, published defaults.")] = False,
    policies: Annotated[str | None, typer.Option(help="Names, comma-separated; all by default.")] = None,
    asked: Annotated[
        str | None, typer.Option(help="Attainments asked, comma-separated; 0.95,0.99, quick 0.95.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds for ours and the three best peers of a cell; others have one.")] = 5,
    minutes: Annotated[float | None, typer.Option(help="Begin nothing after so long; 9 with --quick.")] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Run settings to the end that cannot be among the best any more.")
    ] = False,
    processes: Annotated[int | None, typer.Option("--jobs", help="Worlds simulated at a time; all cores.")] = None,
) -> None:
    """Run every policy over the core grid of a folder of traces, and say who needs how many GPU-hours."""
    console, began = Console(), time.monotonic()
    chosen, shares = _chosen(policies), _shares(asked, quick=quick)
    cores = processes or os.cpu_count() or 1
    if not HAS_COMPILER:
        console.print(
            "numba is missing (pip install 'llm-autoscaler[lab]'): this will take a hundred times longer", markup=False
        )
    out.mkdir(parents=True, exist_ok=True)
    try:
        found = list(workloads(traces))
    except AutoscalerError as error:
        raise typer.BadParameter(str(error)) from None
    if not found:
        raise typer.BadParameter(f"{traces} has no *.csv.gz or *.csv file with requests", param_hint="--traces")
    extent = quick_extent(found) if quick else Extent()
    _same_kind(out / KIND, extent)
    scope = Scope(traces, extent, shares, chosen, seeds, whole)
    former_left = frozenset() if whole else rows.read_left(out / LEFT)
    queue = Queue(sized_cells(found, extent), scope, rows.read(out / LINES), former_left)
    del found
    limit_s = 60.0 * (minutes if minutes is not None else QUICK_MINUTES if quick else math.inf)
    failures = _run(queue, cores, began + limit_s, out, console)
    missing = queue.missing()
    every = _results(out)
    drawn = plots.draw(every, out / "plots")
    text = report.report(every, extent, shares, drawn, missing)
    (out / "report.md").write_text(text)
    console.print(report.summary(every), markup=False, soft_wrap=True)
    if not drawn:
        console.print("matplotlib is missing (pip install 'llm-autoscaler[lab]'): tables only, no plots", markup=False)
    console.print(f"{len(every)} rows in {out / RESULTS}; {time.monotonic() - began:.0f} s", soft_wrap=True)
    if missing:
        console.print(f"not whole: {len(missing)} cells, the first {missing[0]}; run it again to go on", soft_wrap=True)
    if failures:
        console.print(
            f"{len(failures)} runs failed and are made again next time; the first:\n{failures[0]}", markup=False
        )
        raise typer.Exit(1)


def _results(out: Path) -> list[rows.Row]:
    """The rows so far, which are written as results too."""
    every = rows.with_bounds(rows.read(out / LINES))
    rows.write_results(out / RESULTS, every)
    return every


def _same_kind(path: Path, extent: Extent) -> None:
    """Rows of a quick run and of a whole one must not meet in one folder. Raises BadParameter."""
    told = json.dumps(extent._asdict())
    if path.exists() and path.read_text() != told:
        raise typer.BadParameter(
            f"{path.parent} holds a run of other windows ({path.read_text()}), expected {told}; use another folder",
            param_hint="--out",
        )
    path.write_text(told)


def _run(queue: Queue, cores: int, until_s: float, out: Path, console: Console) -> list[str]:
    """Every job, with its rows kept as it ends; gives what failed."""
    failures: list[str] = []
    left_s = queue.left_s()
    console.print(f"about {left_s / cores / 60.0:.0f} minutes on {cores} processes; a stopped run goes on where it was")
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    done_s, write_s = 0.0, time.monotonic() + WRITE_S
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("runs", total=left_s)

        def started(job: Job) -> None:
            progress.update(task, description=job.cell.key[:48])

        for job, made in run_all(queue, cores, until_s, started):
            rows.append(out / LINES, made.rows)
            rows.append_left(out / LEFT, made.left)
            failures += made.failures
            done_s += queue.cost_s(job)
            if time.monotonic() >= write_s:
                _results(out)
                write_s = time.monotonic() + WRITE_S
            progress.update(task, completed=done_s, total=done_s + queue.left_s())
    return failures
