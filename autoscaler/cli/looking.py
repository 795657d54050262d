"""Commands that look and tell: explain, demo, replay, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from autoscaler.cli.ending import fail
from autoscaler.core.errors import AutoscalerError


def explain(
    service: Annotated[str | None, typer.Argument(help="As namespace/name; default: every service.")] = None,
    http: Annotated[str, typer.Option(help="The HTTP face of any replica.")] = "http://127.0.0.1:8080",
) -> None:
    """Say what a running service decided last, and why; shadow decisions too."""
    from autoscaler.web.explain import explain as tell

    try:
        tell(http, service, Console())
    except AutoscalerError as error:
        fail(error)


def demo(
    plain: Annotated[bool, typer.Option("--plain", help="Progress lines instead of the live view.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of start-up times.")] = 1,
    summary: Annotated[Path | None, typer.Option(help="Write the figures there as JSON.")] = None,
    chart: Annotated[Path, typer.Option(help="Where the chart goes (one HTML file).")] = Path("autoscaler-demo.html"),
    acceleration: Annotated[
        float | None, typer.Option(min=1, max=60, help="Times faster than life; default: as fast as this machine can.")
    ] = None,
) -> None:
    """Run the whole loop on a real trace, without a cluster: from zero, through the peak, back to zero."""
    from autoscaler.lab.demo import run_demo

    try:
        run_demo(plain=plain, seed=seed, summary_file=summary, chart_file=chart, acceleration=acceleration)
    except AutoscalerError as error:
        fail(error)


def replay(
    file: Annotated[Path, typer.Argument(help="A flight record, or a folder of its rotated files.")],
    every: Annotated[bool, typer.Option("--all", help="Print unchanged decisions too.")] = False,
) -> None:
    """Feed a flight record to today's planner and print every decision that changed."""
    from autoscaler.telemetry.replay import print_replay

    try:
        print_replay(file, Console(), every=every)
    except AutoscalerError as error:
        fail(error)


def doctor(
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--files", metavar="PATH", help="Manifests instead of a cluster: file, folder, or - ; repeatable."
        ),
    ] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Only this one; default: all.")] = None,
    scaler: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="Only triggers with this scalerAddress are ours; repeatable."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    list_checks: Annotated[bool, typer.Option("--list", help="Print what is checked, and look at nothing.")] = False,
) -> None:
    """Find what is wrong with scaling: second scalers, KServe classes that fight, tolerances, quotas, probes.

    Ends with 0 if no error was found, 1 with errors, 2 if it could not look.
    """
    from autoscaler.doctor.command import run_doctor
    from autoscaler.doctor.report import print_checks

    if list_checks:
        print_checks(Console())
        return
    try:
        code = run_doctor(files or (), namespace, scaler or (), Console(), json=json)
    except AutoscalerError as error:
        fail(error)
    raise typer.Exit(code)
