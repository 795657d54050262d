"""The demo's chart: replicas, load and attainment over time, as one HTML file that needs no network."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoscaler.lab.demo_record import Moment, Run
from autoscaler.lab.demo_report import Summary
from autoscaler.lab.demo_view import clock_text

_WIDTH, _LEFT, _RIGHT = 960, 52, 16
_STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2330;--dim:#6b7480;--grid:#e3e7ec;--asked:#d97706;--spec:#2563eb;
--ready:#16a34a;--rate:#0891b2;--held:#dc2626;--card:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--bg:#0f141b;--fg:#e6eaf0;--dim:#8b96a5;--grid:#263040;--asked:#fbbf24;
--spec:#60a5fa;--ready:#4ade80;--rate:#22d3ee;--held:#f87171;--card:#171e29}}
body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;max-width:1000px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1rem;margin:1.6rem 0 .4rem}p{color:var(--dim);margin:.2rem 0 1rem}
.cards{display:flex;flex-wrap:wrap;gap:.6rem}
.card{background:var(--card);border-radius:8px;padding:.6rem .9rem;flex:1 1 150px}
.card b{display:block;font-size:1.3rem}.card span{color:var(--dim);font-size:.85rem}
svg{width:100%;height:auto;display:block}text{fill:var(--dim);font-size:12px}.grid{stroke:var(--grid)}
.line{fill:none;stroke-width:2}
.key{display:inline-block;width:1.2em;height:.3em;margin:0 .4em .2em 1em;border-radius:2px}
table{border-collapse:collapse;width:100%;font-size:.9rem}
td,th{text-align:left;padding:.25rem .6rem .25rem 0;
border-bottom:1px solid var(--grid);vertical-align:top}
th{color:var(--dim);font-weight:500}td:nth-child(-n+3){white-space:nowrap}
"""


@dataclass(frozen=True, slots=True)
class _Line:
    label: str
    colour: str  # CSS variable
    points: Sequence[tuple[float, float]]
    stepped: bool = False
    filled: bool = False
    dashed: bool = False  # drawn over another line that it often equals


def _path(line: _Line, x_of: _Scale, y_of: _Scale) -> str:
    parts: list[str] = []
    last_y = 0.0
    for i, (x, y) in enumerate(line.points):
        if i and line.stepped:
            parts.append(f"L{x_of(x):.1f},{y_of(last_y):.1f}")
        parts.append(f"{'L' if i else 'M'}{x_of(x):.1f},{y_of(y):.1f}")
        last_y = y
    path = "".join(parts)
    style = f"stroke:var({line.colour})" + (";stroke-dasharray:4 4" if line.dashed else "")
    drawn = f'<path class="line" d="{path}" style="{style}"/>'
    if line.filled and line.points:
        base = y_of(0)
        area = f"{path}L{x_of(line.points[-1][0]):.1f},{base:.1f}L{x_of(line.points[0][0]):.1f},{base:.1f}Z"
        return f'<path d="{area}" style="fill:var({line.colour});opacity:.15"/>{drawn}'
    return drawn


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    at_low: float
    at_high: float

    def __call__(self, value: float) -> float:
        return self.at_low + (value - self.low) / (self.high - self.low or 1.0) * (self.at_high - self.at_low)


def _ticks(high: float) -> list[float]:
    for step in (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        if high / step <= 6:
            return [step * i for i in range(int(high / step) + 1)]
    return [0.0, high]


def _plot(lines: Sequence[_Line], span: tuple[float, float], height: int, percent: bool = False) -> str:
    """One plot with axes: time in minutes below, values on the left."""
    top = 1.0 if percent else max([y for line in lines for _, y in line.points] + [1.0]) * 1.05
    x_of = _Scale(span[0], span[1], _LEFT, _WIDTH - _RIGHT)
    y_of = _Scale(0.0, top, height - 24, 8)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">']
    for tick in _ticks(top):
        y = y_of(tick)
        label = f"{tick:.0%}" if percent else f"{tick:g}"
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    minute = 0.0
    while minute * 60 <= span[1]:
        parts.append(f'<text x="{x_of(minute * 60):.1f}" y="{height - 6}" text-anchor="middle">{minute:g} min</text>')
        minute += 5
    parts += [_path(line, x_of, y_of) for line in lines]
    parts.append("</svg>")
    key = "".join(
        f'<span class="key" style="background:var({line.colour})"></span>{html.escape(line.label)}' for line in lines
    )
    return f"<div>{key}</div>{''.join(parts)}"


def write_chart(path: Path, run: Run, summary: Summary) -> None:
    """Write replicas, load and attainment over time with every scaling step, as one HTML file that needs no network."""
    moments = run.moments or [Moment(0, 0, 0, 0, 0, 0, 0, "", "")]
    span = (0.0, max(run.trace_s, moments[-1].at_s))
    replicas = [
        _Line("ready", "--ready", [(m.at_s, m.ready) for m in moments], stepped=True, filled=True),
        _Line("set by KEDA and HPA", "--spec", [(m.at_s, m.spec) for m in moments], stepped=True),
        _Line("asked", "--asked", [(m.at_s, m.asked) for m in moments], stepped=True, dashed=True),
    ]
    rate = [_Line("requests/s", "--rate", [(m.at_s, m.arrivals_rps) for m in moments], filled=True)]
    held = [_Line("held while nothing was ready", "--held", [(m.at_s, m.held) for m in moments], filled=True)]
    minutes = [(start + 30, share) for start, share, _ in run.attainment_by_minute()]
    share = [_Line("share of the minute's requests inside the objective", "--ready", minutes)]
    cards = "".join(
        f'<div class="card"><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>'
        for name, value in _cards(summary)
    )
    rows = "".join(
        f"<tr><td>{clock_text(s.at_s)}</td><td>{s.before} → {s.after}</td><td>{html.escape(s.by)}</td>"
        f"<td>{html.escape(s.reason)}</td></tr>"
        for s in run.steps
    )
    document = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>llm-autoscaler demo</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>
<h1>llm-autoscaler demo</h1>
<p>{run.submitted:,} recorded requests of the Azure 2023 conversation trace; emulated 70B replicas on 4 A100 each;
real sockets, real gRPC, {summary.acceleration:.1f} times faster than life.</p>
<div class="cards">{cards}</div>
<h2>Replicas</h2>{_plot(replicas, span, 260)}
<h2>Load</h2>{_plot(rate, span, 180)}{_plot(held, span, 140)}
<h2>Attainment</h2>{_plot(share, span, 160, percent=True)}
<h2>Every scaling step</h2><table><tr><th>trace</th><th>replicas</th><th>by</th><th>reason</th></tr>{rows}</table>
</html>
"""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document)


def _cards(summary: Summary) -> list[tuple[str, str]]:
    cards = [
        (f"inside the objective (asked {summary.attainment_asked:.0%})", f"{summary.attainment:.2%}"),
        (f"of {summary.requests:,} requests lost", str(summary.lost)),
        ("GPU-hours", f"{summary.gpu_hours:.2f}"),
    ]
    if summary.gpu_hours_static_peak is not None:
        cards.append(
            (f"GPU-hours of {summary.static_replicas} constant replicas", f"{summary.gpu_hours_static_peak:.2f}")
        )
    cards.append(("most replicas", str(summary.max_replicas)))
    return cards
