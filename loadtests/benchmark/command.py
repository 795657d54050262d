"""The command line of the benchmark."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from autoscaler.core.errors import AutoscalerError
from autoscaler.simulation.kernel import HAS_COMPILER
from autoscaler.simulation.policies.registry import peers
from loadtests.benchmark import report, rows
from loadtests.benchmark.grid import workloads
from loadtests.benchmark.runner import OURS, jobs, run_all

app = typer.Typer(add_completion=False, no_args_is_help=True)
LINES = "rows.jsonl"


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


@app.command()
def benchmark(
    traces: Annotated[Path, typer.Option(help="Folder of trace files (arrival_s,prompt_tokens,output_tokens).")],
    out: Annotated[Path, typer.Option(help="Folder for results.json, tables and plots; a stopped run goes on here.")],
    quick: Annotated[bool, typer.Option("--quick", help="120 s starts and published defaults only.")] = False,
    policies: Annotated[str | None, typer.Option(help="Names, comma-separated; all by default.")] = None,
    asked: Annotated[str, typer.Option(help="Attainments asked, comma-separated.")] = "0.95",
    seeds: Annotated[int, typer.Option(help="Seeds for ours; peers are swept with one.")] = 1,
    processes: Annotated[int, typer.Option("--jobs", help="Worlds simulated at a time.")] = 2,
) -> None:
    """Run every policy over the core grid of a folder of traces, and say who needs how many GPU-hours."""
    console = Console()
    chosen = _chosen(policies)
    shares = tuple(float(part) for part in asked.split(","))
    if not HAS_COMPILER:
        console.print("numba is missing (pip install 'llm-autoscaler[lab]'): this will take a hundred times longer")
    out.mkdir(parents=True, exist_ok=True)
    try:
        found = list(workloads(traces))
    except AutoscalerError as error:
        raise typer.BadParameter(str(error)) from None
    if not found:
        raise typer.BadParameter(f"{traces} has no *.csv.gz or *.csv file", param_hint="--traces")
    done = frozenset(row.key for row in rows.read(out / LINES))
    todo = jobs(found, traces, shares, chosen, seeds, done, quick=quick)
    started = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("cells", total=len(todo))
        for job, made in run_all(todo, processes):
            rows.append(out / LINES, made)
            progress.update(task, advance=1, description=job.cell.key[:48])
    every = rows.read(out / LINES)
    (out / "results.json").write_text(json.dumps([asdict(row) for row in every], indent=1))
    text = report.summary(every, quick=quick)
    (out / "report.md").write_text(text)
    console.print(text, markup=False)
    console.print(f"{len(every)} rows in {out / 'results.json'}; {time.monotonic() - started:.0f} s")
