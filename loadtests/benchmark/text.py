"""Figures and tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import mean


def table(heads: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)


def ratio(value: float | None) -> str:
    """Three digits, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def mean_of(values: Sequence[float]) -> str:
    """The mean, or a dash."""
    return ratio(mean(values) if values else None)


def interval(value: tuple[float, float, float] | None) -> str:
    """A figure with its interval."""
    return "-" if value is None else f"{value[0]:.3f} ({value[1]:.3f}-{value[2]:.3f})"


def cell(place: tuple[str, str, float, int]) -> str:
    """Trace, fleet, start, tokens per step."""
    trace, fleet, lead_s, tokens = place
    return f"{trace} {fleet} {lead_s:.0f} s {tokens}"
