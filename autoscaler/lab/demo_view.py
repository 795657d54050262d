"""What the demo shows while it runs: a live terminal view, or plain progress lines where there is no terminal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autoscaler.lab.demo_record import Moment, Run

SPARK = " ▁▂▃▄▅▆▇█"
PLAIN_EVERY_S = 60.0  # trace seconds between two plain lines


class View(Protocol):
    """Shows a run while it goes."""

    def __enter__(self) -> View: ...

    def __exit__(self, *exc: object) -> None: ...

    def show(self, run: Run, moment: Moment) -> None:
        """Show the newest moment."""
        ...

    def note(self, text: str) -> None:
        """Say one line that stays."""
        ...


def clock_text(at_s: float) -> str:
    """Trace time as m:ss."""
    sign = "-" if at_s < 0 else ""
    minutes, seconds = divmod(int(abs(at_s)), 60)
    return f"{sign}{minutes}:{seconds:02d}"


def sparkline(values: Sequence[float], width: int) -> str:
    """The values as one line of blocks, the mean of each of `width` columns, scaled to their maximum."""
    if not values:
        return ""
    columns = min(width, len(values))
    edges = [round(i * len(values) / columns) for i in range(columns + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    top = max(means)
    if top <= 0:
        return SPARK[0] * columns
    return "".join(SPARK[max(1, round(mean / top * 8)) if mean > 0 else 0] for mean in means)


class PlainView:
    """One line a trace minute, and one for each scaling step."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = 0.0
        self._steps = 0

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def note(self, text: str) -> None:
        """Print the line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, run: Run, moment: Moment) -> None:
        """Print new scaling steps, and the state once a trace minute."""
        for step in run.steps[self._steps :]:
            self.note(
                f"[{clock_text(step.at_s):>5}] replicas {step.before} -> {step.after} by {step.by}: {step.reason}"
            )
        self._steps = len(run.steps)
        if moment.at_s < self._next_s:
            return
        self._next_s = (moment.at_s // PLAIN_EVERY_S + 1) * PLAIN_EVERY_S
        self.note(
            f"[{clock_text(moment.at_s):>5}] {moment.arrivals_rps:5.1f} req/s  asked {moment.asked}  "
            f"ready {moment.ready}/{moment.spec}  running {moment.running:3d}  held {moment.held:3d}  "
            f"inside the objective {run.attainment:6.2%}  of {len(run.served)}"
        )


class LiveView:
    """A panel that is redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True, auto_refresh=False)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        """Print the line above the panel."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, run: Run, moment: Moment) -> None:
        """Redraw the panel."""
        self._live.update(draw(run, moment, self._console.width), refresh=True)


def draw(run: Run, moment: Moment, width: int) -> RenderableType:
    """The panel of one moment."""
    inner = max(20, min(width, 120) - 24)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right", width=16)
    grid.add_column(ratio=1)
    done = min(1.0, max(0.0, moment.at_s / run.trace_s))
    grid.add_row("trace time", f"{clock_text(moment.at_s)} of {clock_text(run.trace_s)}")
    grid.add_row("", ProgressBar(total=1.0, completed=done, width=inner))
    blocks = Text("■ " * moment.ready, style="green")
    blocks.append("□ " * max(0, moment.spec - moment.ready), style="yellow")
    blocks.append(f" {moment.ready} ready of {moment.spec}, {moment.asked} asked")
    grid.add_row("replicas", blocks)
    grid.add_row("", Text(sparkline([float(m.spec) for m in run.moments], inner), style="green"))
    grid.add_row("requests/s", f"{moment.arrivals_rps:.1f}")
    grid.add_row("", Text(sparkline([m.arrivals_rps for m in run.moments], inner), style="cyan"))
    grid.add_row("running, held", f"{moment.running}, {moment.held}")
    asked = run.objective.attainment
    colour = "green" if run.attainment >= asked else "red"
    grid.add_row(
        "in the objective",
        Text.assemble((f"{run.attainment:.2%}", colour), f" of {len(run.served)} finished (asked {asked:.0%})"),
    )
    grid.add_row("why", Text(moment.reason, overflow="fold"))
    steps = Table.grid(padding=(0, 1))
    for step in run.steps[-6:]:
        steps.add_row(
            Text(clock_text(step.at_s), style="dim"),
            f"{step.before} → {step.after}",
            Text(f"by {step.by}", style="dim"),
            Text(step.reason, overflow="ellipsis", no_wrap=True),
        )
    body = Group(grid, Text(), Text("scaling steps", style="dim"), steps)
    return Panel(body, title="llm-autoscaler demo", subtitle="Ctrl-C ends it with the summary so far")


def view(console: Console, plain: bool) -> View:
    """The live view on a terminal, else plain lines."""
    return PlainView(console) if plain or not console.is_terminal else LiveView(console)
