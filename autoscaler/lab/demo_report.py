"""The demo's last word: the summary, as JSON and as text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from autoscaler.lab.demo_record import Run
from autoscaler.lab.demo_view import clock_text


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one run; the JSON of `--summary` has exactly these fields."""

    attainment: float  # share of the finished requests inside the objective, held ones included
    attainment_asked: float
    requests: int  # submitted
    lost: int
    gpu_hours: float  # over the trace, from a replica's creation, loading and draining included
    gpu_hours_static_peak: float | None  # the fewest constant replicas with at least this attainment
    static_replicas: int | None
    static_attainment: float | None
    reached_zero: bool
    woke_by_push: bool
    max_replicas: int
    scale_events: int
    acceleration: float
    loop_lag_p99_s: float  # wall seconds
    lag_share_of_ttft: float  # loop_lag_p99_s * acceleration / TTFT limit
    wall_s: float
    seed: int
    complete: bool  # False: ended early, figures so far


def write_summary(path: Path, summary: Summary) -> None:
    """Write the summary as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(summary), indent=2) + "\n")


def print_summary(console: Console, run: Run, summary: Summary, chart: Path) -> None:
    """The figures, every scaling step with its reason, and where the chart lies."""
    steps = Table(title="Every scaling step", title_justify="left", box=None, pad_edge=False, header_style="dim")
    for column in ("trace", "replicas", "by", "reason"):
        steps.add_column(column, overflow="fold")
    for step in run.steps:
        steps.add_row(clock_text(step.at_s), f"{step.before} → {step.after}", step.by, step.reason)
    console.print(steps)
    figures = Table(
        title="Summary" if summary.complete else "Summary so far (ended early)",
        title_justify="left",
        box=None,
        pad_edge=False,
        show_header=False,
    )
    figures.add_column(style="dim")
    figures.add_column(overflow="fold")
    for name, value in _lines(run, summary):
        figures.add_row(name, value)
    console.print()
    console.print(figures)
    console.print(f"\nReplicas over time: {chart}", soft_wrap=True)


def _lines(run: Run, summary: Summary) -> list[tuple[str, str]]:
    objective = run.objective
    held = sum(one.held for one in run.served)
    reached = f"{summary.attainment:.2%} of {len(run.served)} requests" if run.served else "no request finished yet"
    played_s = run.trace_s if summary.complete else min(run.trace_s, run.moments[-1].at_s if run.moments else 0.0)
    lines = [
        (
            "inside the objective",
            f"{reached} (asked {summary.attainment_asked:.0%}: TTFT {objective.ttft_s:g} s from arrival, "
            f"TPOT {1000 * objective.tpot_s:g} ms); {held} were held at zero",
        ),
        ("lost", str(summary.lost)),
        ("GPU-hours", f"{summary.gpu_hours:.2f} over {played_s:,.0f} s of trace"),
    ]
    if summary.gpu_hours_static_peak is not None and summary.static_attainment is not None:
        saved = 1 - summary.gpu_hours / summary.gpu_hours_static_peak
        lines.append(
            (
                "constant fleet",
                f"{summary.gpu_hours_static_peak:.2f} GPU-hours: {summary.static_replicas} replicas, the fewest that "
                f"reach it ({summary.static_attainment:.2%}); ours is {abs(saved):.0%} "
                f"{'less' if saved >= 0 else 'MORE'}",
            )
        )
    lines += [
        ("woke by push", "yes" if summary.woke_by_push else "no"),
        ("back to zero", "yes" if summary.reached_zero else "no"),
        ("most replicas", f"{summary.max_replicas}, {summary.scale_events} scaling steps"),
        (
            "clock",
            f"{summary.acceleration:.1f}x for {summary.wall_s:.0f} s; event-loop lag p99 "
            f"{1000 * summary.loop_lag_p99_s:.1f} ms x {summary.acceleration:.1f} = "
            f"{summary.lag_share_of_ttft:.1%} of the TTFT limit",
        ),
    ]
    return lines
