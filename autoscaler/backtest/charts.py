"""Charts as inline SVG: lines over time, and points of cost against attainment.

Law: pure text; no scripts, no references; colours are CSS variables of the page, so that it may be light or dark.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 960, 58, 18, 10, 26
MARK_HEIGHT = 12.0  # of a mark's digits, pixels
TICKS = 6  # on the vertical axis, at most
STEPS_S = (60, 300, 600, 1800, 3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 2 * 86_400, 7 * 86_400)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart."""

    label: str
    colour: str  # CSS variable
    points: Sequence[tuple[float, float]]
    stepped: bool = False
    filled: bool = False
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a scatter; `mark` is written beside it."""

    mark: str
    label: str
    colour: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from values to places."""

    low: float
    high: float
    at_low: float
    at_high: float

    def __call__(self, value: float) -> float:
        return self.at_low + (value - self.low) / (self.high - self.low or 1.0) * (self.at_high - self.at_low)


def ticks(low: float, high: float, most: int = TICKS) -> list[float]:
    """Round values between two others, at most so many."""
    if high <= low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * (1.0 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def time_step_s(span_s: float, most: int = 9) -> float:
    """Seconds between the ticks of a time axis."""
    return float(next((step for step in STEPS_S if span_s / step <= most), math.ceil(span_s / most / 86_400) * 86_400))


def number(value: float) -> str:
    """A tick's number."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def plot(
    lines: Sequence[Line],
    span: tuple[float, float],
    x_ticks: Sequence[tuple[float, str]],
    height: int,
    *,
    percent: bool = False,
    low: float = 0.0,
    marks: Sequence[tuple[float, str]] = (),
    rule: tuple[float, str] | None = None,
    title: str = "",
) -> str:
    """Lines with axes and a key; `marks` are upright lines (times without data), `rule` is a level one."""
    top = 1.0 if percent else max((y for line in lines for _, y in line.points), default=1.0) * 1.06 or 1.0
    x_of = Scale(span[0], span[1], LEFT, WIDTH - RIGHT)
    y_of = Scale(low, top, height - BOTTOM, TOP)
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(title)}">']
    for tick in ticks(low, top, min(TICKS, max(2, height // 40))):
        label = f"{tick:.4g}" if not percent else f"{100 * tick:.4g} %"
        parts.append(_level(y_of(tick), number(tick) if not percent else label))
    for at, label in x_ticks:
        parts.append(f'<line class="grid" x1="{x_of(at):.1f}" x2="{x_of(at):.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        anchor = "end" if x_of(at) > WIDTH - RIGHT - 24 else "middle"
        parts.append(f'<text x="{x_of(at):.1f}" y="{height - 8}" text-anchor="{anchor}">{html.escape(label)}</text>')
    for at, label in marks:
        parts.append(
            f'<line class="cut" x1="{x_of(at):.1f}" x2="{x_of(at):.1f}" y1="{TOP}" y2="{height - BOTTOM}">'
            f"<title>{html.escape(label)}</title></line>"
        )
    if rule is not None:
        parts.append(_rule(y_of(rule[0])))
    parts += [path(line, x_of, y_of, low) for line in lines]
    parts.append("</svg>")
    entries = [(line.label, line.colour) for line in lines] + ([(rule[1], "--rule")] if rule is not None else [])
    entries += [("no data, left out", "--bad")] if marks else []
    return f'{key(entries)}<div class="plot">{"".join(parts)}</div>'


def scatter(points: Sequence[Point], height: int, rule: tuple[float, str], names: tuple[str, str]) -> str:
    """Points of cost (across) and attainment (up), 0..1, each with its mark."""
    most = max((point.x for point in points), default=1.0) * 1.08 or 1.0
    least = min([point.y for point in points] + [rule[0]])
    low = max(0.0, math.floor((least - 0.02) * 20.0) / 20.0)
    x_of = Scale(0.0, most, LEFT, WIDTH - RIGHT)
    y_of = Scale(low, 1.0, height - BOTTOM - 16, TOP)
    floor = y_of(low)
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(" and ".join(names))}">']
    parts += [_level(y_of(tick), f"{100 * tick:.4g} %") for tick in ticks(low, 1.0)]
    for tick in ticks(0.0, most, 8):
        parts.append(f'<line class="grid" x1="{x_of(tick):.1f}" x2="{x_of(tick):.1f}" y1="{TOP}" y2="{floor:.1f}"/>')
        parts.append(f'<text x="{x_of(tick):.1f}" y="{floor + 17:.1f}" text-anchor="middle">{number(tick)}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{height - 6}" text-anchor="end">{html.escape(names[0])}</text>')
    parts.append(_rule(y_of(rule[0])))
    parts.append(f'<text x="{LEFT + 8}" y="{y_of(rule[0]) - 5:.1f}">{html.escape(rule[1])}</text>')
    for point, (dx, dy) in zip(points, _beside(points, x_of, y_of), strict=True):
        x, y = x_of(point.x), y_of(point.y)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" style="fill:var({point.colour})">'
            f"<title>{html.escape(point.label)}</title></circle>"
            f'<text class="mark" x="{x + dx:.1f}" y="{y + dy:.1f}" text-anchor="{"start" if dx > 0 else "end"}">'
            f"{html.escape(point.mark)}</text>"
        )
    parts.append("</svg>")
    return f'<div class="plot">{"".join(parts)}</div>'


def _beside(points: Sequence[Point], x_of: Scale, y_of: Scale) -> list[tuple[float, float]]:
    """Where each point's mark stands: to the right, and moved where another mark or point is, or the picture ends."""
    taken: list[tuple[float, float]] = []
    dots = [(x_of(point.x), y_of(point.y)) for point in points]
    found = []
    for x, y in dots:
        choices = ((10.0, 4.0), (10.0, -10.0), (10.0, 18.0), (-10.0, 4.0), (-10.0, -10.0), (-10.0, 18.0))
        free = [
            (dx, dy)
            for dx, dy in choices
            if y + dy >= MARK_HEIGHT
            and all(abs(x + dx - a) > 24.0 or abs(y + dy - b) > 13.0 for a, b in taken)
            and all(abs(x + 1.6 * dx - a) > 12.0 or abs(y + dy - 4.0 - b) > 11.0 for a, b in dots if (a, b) != (x, y))
        ]
        chosen = free[0] if free else choices[0]
        taken.append((x + chosen[0], y + chosen[1]))
        found.append(chosen)
    return found


def _level(y: float, label: str) -> str:
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    )


def _rule(y: float) -> str:
    return f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


def path(line: Line, x_of: Scale, y_of: Scale, low: float = 0.0) -> str:
    """One line, and the area under it where it is filled."""
    parts: list[str] = []
    last_y = 0.0
    for i, (x, y) in enumerate(line.points):
        y_at = y_of(max(low, y))
        if i and line.stepped:
            parts.append(f"L{x_of(x):.1f},{last_y:.1f}")
        parts.append(f"{'L' if i else 'M'}{x_of(x):.1f},{y_at:.1f}")
        last_y = y_at
    drawn = "".join(parts)
    style = f"stroke:var({line.colour})" + (";stroke-dasharray:6 4" if line.dashed else "")
    stroke = f'<path class="line" d="{drawn}" style="{style}"/>'
    if not line.filled or not line.points:
        return stroke
    base, first, last = y_of(low), x_of(line.points[0][0]), x_of(line.points[-1][0])
    area = f"{drawn}L{last:.1f},{base:.1f}L{first:.1f},{base:.1f}Z"
    return f'<path d="{area}" style="fill:var({line.colour});opacity:.14"/>{stroke}'


def key(entries: Sequence[tuple[str, str]]) -> str:
    """What the colours mean."""
    return '<div class="keys">' + "".join(
        f'<span><i class="key" style="background:var({colour})"></i>{html.escape(label)}</span>'
        for label, colour in entries
    ) + "</div>"  # fmt: skip
