"""Plots, where matplotlib is installed: cost against attainment, GPU-hours over the bound, replicas over time."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.benchmark.rows import Row
from loadtests.benchmark.runner import DRAWN_S
from loadtests.benchmark.verdict import Comparison, Runs, compare

# Okabe and Ito's colours: told apart by everybody.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#9A9A9A"
LEAST_SHARE = 0.75  # of the frontier's axis: settings that attain less are not drawn
MOST_RATIO = 4.0


def draw(rows: list[Row], folder: Path) -> list[Path]:
    """Every plot as a PNG; nothing without matplotlib or without a run of ours."""
    found = compare(rows)
    if importlib.util.find_spec("matplotlib") is None or not found:
        return []
    import matplotlib as mpl  # noqa: PLC0415 -- an extra

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 110})
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []

    def keep(figure: Any, name: str) -> None:
        figure.savefig(folder / name, bbox_inches="tight")
        plt.close(figure)
        drawn.append(folder / name)

    for asked in sorted({one.asked for one in found}):
        some = [one for one in found if one.asked == asked]
        keep(_over_bound(plt, some), f"gpu_hours_{asked * 100:.0f}.png")
    first = min(one.asked for one in found)
    by_trace: dict[str, list[Comparison]] = defaultdict(list)
    for one in found:
        if one.asked == first:
            by_trace[one.ours.first.trace].append(one)
    for trace, some in by_trace.items():
        keep(_frontiers(plt, trace, some), f"frontier_{trace}.png")
        keep(_replicas(plt, trace, some), f"replicas_{trace}.png")
    return drawn


def _title(one: Comparison) -> str:
    row = one.ours.first
    return f"{row.fleet}, {row.lead_time_s:.0f} s, {row.step_tokens} tokens"


def _grid(plt: Any, title: str, panels: int, width: int, height: float, **options: Any) -> tuple[Any, list[Any]]:
    """Panels in rows of `width`; those left over are hidden."""
    down = -(-panels // width)
    figure, axes = plt.subplots(
        down, width, figsize=(3.1 * width, height * down + 0.6), squeeze=False, layout="constrained", **options
    )
    figure.suptitle(title, fontsize=10)
    flat = list(axes.flat)
    for axis in flat[panels:]:
        axis.set_visible(False)
    return figure, flat


def _over_bound(plt: Any, some: list[Comparison]) -> Any:
    """One line a cell: GPU-hours over the hindsight bound of ours, the best peer tuned in hindsight, and at default."""
    kept = [one for one in some if one.bound]
    figure, axis = plt.subplots(figsize=(8.2, 0.17 * max(4, len(kept)) + 1.3), layout="constrained")
    kinds: tuple[tuple[str, str, str, Callable[[Comparison], Runs | None]], ...] = (
        ("best peer at its published default", GREY, "s", lambda one: one.best_default),
        ("best peer tuned in hindsight", ORANGE, "D", lambda one: one.best),
        ("ours (hollow: attains less than asked)", BLUE, "o", lambda one: one.ours),
    )
    for name, colour, marker, of in kinds:
        points = [(runs.gpu_hours / one.bound, y, one) for y, one in enumerate(kept) if (runs := of(one)) and one.bound]
        x, y = [min(MOST_RATIO, p[0]) for p in points], [p[1] for p in points]
        is_ours = colour == BLUE
        faces = [colour if not is_ours or p[2].attains else "white" for p in points]
        axis.scatter(x, y, 26 if is_ours else 20, c=faces, edgecolors=colour, marker=marker, label=name, zorder=3)
    axis.axvline(1.0, color="black", lw=0.8)
    axis.set_yticks(range(len(kept)), [f"{one.ours.first.family}: {one.name}" for one in kept], fontsize=6.5)
    axis.set_ylim(len(kept) - 0.4, -0.6)
    axis.grid(axis="x", color="#E0E0E0", lw=0.6)
    axis.set_xlabel(
        f"GPU-hours over the hindsight bound ({MOST_RATIO:g}: that or more); both peers attain as much as ours"
    )
    asked = some[0].asked if some else 0.0
    axis.set_title(f"GPU-hours over hindsight, asked {asked:.0%}, {len(kept)} of {len(some)} cells that have a bound")
    axis.legend(
        loc="lower center", bbox_to_anchor=(0.4, 1.0 + 0.28 / (0.17 * max(4, len(kept)) + 0.4)), ncols=3, frameon=False
    )
    return figure


def _frontier(peers: list[Runs]) -> list[Runs]:
    """The peers that none beats in both cost and attainment, the cheapest first."""
    kept: list[Runs] = []
    for one in sorted(peers, key=lambda peer: (peer.gpu_hours, -peer.attainment)):
        if not kept or one.attainment > kept[-1].attainment:
            kept.append(one)
    return kept


def _frontiers(plt: Any, trace: str, some: list[Comparison]) -> Any:
    """Cost against attainment in every cell of one trace."""
    title = f"{trace} ({some[0].ours.first.family}), asked {some[0].asked:.0%}: GPU-hours against attainment"
    figure, axes = _grid(plt, title, len(some), min(5, len(some)), 2.3)
    for axis, one in zip(axes, some, strict=False):
        shown = [peer for peer in one.peers if peer.attainment >= LEAST_SHARE]
        axis.scatter(
            [p.gpu_hours for p in shown], [p.attainment for p in shown], 7, c=GREY, label="peers, every setting"
        )
        edge = [peer for peer in _frontier(list(one.peers)) if peer.attainment >= LEAST_SHARE]
        axis.step(
            [p.gpu_hours for p in edge],
            [p.attainment for p in edge],
            where="post",
            c=ORANGE,
            lw=1,
            label="their frontier",
        )
        if one.hindsight is not None:
            at = one.hindsight.gpu_hours, one.hindsight.attainment
            axis.scatter(*at, 45, c=GREEN, marker="*", label="hindsight bound", zorder=4)
        rows = one.ours.rows
        axis.scatter(
            [r.gpu_hours for r in rows], [r.attainment for r in rows], 16, c=BLUE, label="ours, every seed", zorder=5
        )
        axis.axhline(one.asked, color="black", lw=0.6, ls=":")
        axis.set_xscale("log")
        axis.set_ylim(LEAST_SHARE, 1.005)
        axis.set_title(_title(one), fontsize=8)
        _plain_ticks(axis, [p.gpu_hours for p in shown] + [r.gpu_hours for r in rows])
    for axis in axes[:: min(5, len(some))]:
        axis.set_ylabel("attainment")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    _label_lowest(axes[: len(some)], min(5, len(some)), "GPU-hours (logarithmic)")
    return figure


def _plain_ticks(axis: Any, values: list[float]) -> None:
    """A few round numbers in place of powers of ten."""
    low, high = min(values), max(values)
    steps = np.unique([float(f"{value:.2g}") for value in np.geomspace(low, max(high, 1.05 * low), 4)])
    axis.set_xticks(steps, [f"{value:g}" for value in steps])
    axis.minorticks_off()


def _replicas(plt: Any, trace: str, some: list[Comparison]) -> Any:
    """spec.replicas over the window: ours, the bound, and the best peer that was run with more seeds."""
    title = f"{trace}, asked {some[0].asked:.0%}: replicas asked for"
    figure, axes = _grid(plt, title, len(some), min(3, len(some)), 1.7)
    for axis, one in zip(axes, some, strict=False):
        best = _drawn(one.best)
        lines: list[tuple[Row | None, str, str, float]] = [
            (one.hindsight, GREEN, "hindsight bound", 2.6),
            (best, ORANGE, "best peer tuned in hindsight (named above)", 1.6),
            (_drawn(one.ours), BLUE, "ours", 0.9),
        ]
        for row, colour, label, width in lines:  # the widest lies below: where all agree all are seen
            if row is not None and row.replicas:
                hours = DRAWN_S / 3600.0 * (np.arange(len(row.replicas)) + 0.5)
                axis.step(hours, row.replicas, where="mid", c=colour, lw=width, label=label)
        axis.set_title(_title(one) + (f"; {best.policy}" if best is not None else ""), fontsize=8)
        axis.set_ylim(bottom=0)
    labelled = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=3, frameon=False)
    _label_lowest(axes[: len(some)], min(3, len(some)), "hours of the scored part")
    return figure


def _label_lowest(axes: list[Any], width: int, label: str) -> None:
    """A label below the lowest panel of every column."""
    for axis in axes[-width:]:
        axis.set_xlabel(label)


def _drawn(runs: Runs | None) -> Row | None:
    return next((row for row in runs.rows if row.replicas), None) if runs is not None else None
