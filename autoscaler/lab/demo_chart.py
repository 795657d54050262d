"""The demo's chart: replicas, load and attainment over time, as one HTML file that needs no network."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from autoscaler.backtest.charts import Line, plot
from autoscaler.lab.demo_record import Moment, Run
from autoscaler.lab.demo_report import Summary
from autoscaler.lab.demo_view import clock_text

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
.keys{display:flex;flex-wrap:wrap;gap:0 1.4em}
.key{display:inline-block;width:1.2em;height:.3em;margin:0 .4em .2em 0;border-radius:2px}
table{border-collapse:collapse;width:100%;font-size:.9rem}
td,th{text-align:left;padding:.25rem .6rem .25rem 0;
border-bottom:1px solid var(--grid);vertical-align:top}
th{color:var(--dim);font-weight:500}td:nth-child(-n+3){white-space:nowrap}
"""


def _plot(lines: Sequence[Line], span: tuple[float, float], height: int, title: str, *, percent: bool = False) -> str:
    """One plot over the trace's minutes."""
    ticks = [(60.0 * minute, f"{minute} min") for minute in range(0, int(span[1] // 60.0) + 1, 5)]
    return plot(lines, span, ticks, height, percent=percent, title=title)


def write_chart(path: Path, run: Run, summary: Summary) -> None:
    """Write replicas, load and attainment over time with every scaling step, as one HTML file that needs no network."""
    moments = run.moments or [Moment(0, 0, 0, 0, 0, 0, 0, "", "")]
    span = (0.0, max(run.trace_s, moments[-1].at_s))
    replicas = [
        Line("ready", "--ready", [(m.at_s, m.ready) for m in moments], stepped=True, filled=True),
        Line("set by KEDA and HPA", "--spec", [(m.at_s, m.spec) for m in moments], stepped=True),
        Line("asked", "--asked", [(m.at_s, m.asked) for m in moments], stepped=True, dashed=True),
    ]
    rate = [Line("requests/s", "--rate", [(m.at_s, m.arrivals_rps) for m in moments], filled=True)]
    held = [Line("held while nothing was ready", "--held", [(m.at_s, m.held) for m in moments], filled=True)]
    minutes = [(start + 30, share) for start, share, _ in run.attainment_by_minute()]
    share = [Line("share of the minute's requests inside the objective", "--ready", minutes)]
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
<h2>Replicas</h2>{_plot(replicas, span, 260, "Replicas")}
<h2>Load</h2>{_plot(rate, span, 180, "Requests per second")}{_plot(held, span, 140, "Requests held")}
<h2>Attainment</h2>{_plot(share, span, 160, "Attainment by minute", percent=True)}
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
