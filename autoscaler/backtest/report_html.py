"""The back-test's report as one self-contained page: no scripts, no fonts, nothing fetched.

Law: it says nothing that the JSON does not; every text from outside is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from autoscaler import __version__
from autoscaler.backtest.charts import Line, Point, plot, scatter, time_step_s
from autoscaler.backtest.results import Advice, Findings
from autoscaler.backtest.sentences import LIMITS, WORDS, headline, title
from autoscaler.backtest.settings_to_paste import metadata, targets_file
from autoscaler.simulation.comparison import Kind, Outcome

LEAST_HOURS = 3  # for a line of hours
_STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2330;--dim:#5d6673;--grid:#e6e9ee;--card:#f5f7fa;--rule:#8a94a3;
--ours:#0b6bcb;--other:#c2570c;--peer:#7a49c9;--rest:#8a94a3;--prompt:#0f8a6a;--output:#b8860b;--good:#0d7f4f;
--bad:#c62f2f}
@media(prefers-color-scheme:dark){:root{--bg:#10151c;--fg:#e6eaf0;--dim:#9aa5b4;--grid:#243040;--card:#18202b;
--rule:#718096;--ours:#5aaef5;--other:#f39a54;--peer:#b795f5;--rest:#7d8998;--prompt:#3fc9a0;--output:#e0b64a;
--good:#4fd08f;--bad:#ff7b7b}}
*{box-sizing:border-box}
body{background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
max-width:1040px;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem}h2{font-size:1.15rem;margin:2.6rem 0 .6rem}
h3{font-size:1rem;margin:1.4rem 0 .3rem}
p{margin:.3rem 0 .8rem}.dim{color:var(--dim)}.lead{font-size:1.08rem;margin:1.2rem 0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:.8rem;margin:1.4rem 0}
.card{background:var(--card);border-radius:10px;padding:.9rem 1rem}
.card b{display:block;font-size:1.7rem;line-height:1.2;font-variant-numeric:tabular-nums}
.card span{color:var(--dim);font-size:.9rem}
.good{color:var(--good)}.bad{color:var(--bad)}
.warn{border-left:4px solid var(--output);background:var(--card);padding:.6rem .9rem;margin:.6rem 0;border-radius:4px}
.scroll,.plot{overflow-x:auto;background:linear-gradient(to right,var(--bg),var(--bg)) left/18px 100% no-repeat local,
linear-gradient(to left,var(--bg),var(--bg)) right/18px 100% no-repeat local,
linear-gradient(to right,var(--grid),transparent) left/14px 100% no-repeat scroll,
linear-gradient(to left,var(--grid),transparent) right/14px 100% no-repeat scroll}
.plot+.keys{margin-top:1.2rem}
svg{display:block;width:100%;min-width:620px;height:auto}svg text{fill:var(--dim);font-size:13px}
svg text.mark{fill:var(--fg);font-weight:600}
.grid{stroke:var(--grid)}.cut{stroke:var(--bad);stroke-dasharray:3 4;stroke-width:1.5}
.rule{stroke:var(--rule);stroke-dasharray:7 5}.line{fill:none;stroke-width:2;stroke-linejoin:round}
.keys{display:flex;flex-wrap:wrap;gap:.2rem 1.4rem;font-size:.9rem;color:var(--dim);margin:.2rem 0 .4rem}
.key{display:inline-block;width:1.3em;height:.35em;margin:0 .5em .2em 0;border-radius:2px}
table{border-collapse:collapse;width:100%;font-size:.94rem;font-variant-numeric:tabular-nums}
td,th{text-align:right;padding:.45rem .5rem;border-bottom:1px solid var(--grid);white-space:nowrap}
th{color:var(--dim);font-weight:500;vertical-align:bottom}
td.text,th.text{text-align:left;white-space:normal}
tr.ours td{font-weight:650;background:var(--card)}
pre{background:var(--card);border-radius:8px;padding:.8rem 1rem;overflow-x:auto;font-size:.88rem;line-height:1.45;
margin:.4rem 0}
code{font-family:ui-monospace,SFMono-Regular,Menlo,monospace}
ul{padding-left:1.2rem;margin:.4rem 0}li{margin:.3rem 0}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(310px,1fr));gap:1rem}.two>*{min-width:0}
@media(max-width:600px){td.text:last-child{min-width:17rem}
body{padding:1.2rem .9rem 3rem}h1{font-size:1.35rem}.card b{font-size:1.4rem}}
@media print{body{max-width:none}svg{min-width:0}}
"""


def write_html(path: Path, findings: Findings) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(findings), encoding="utf-8")


def page(findings: Findings) -> str:
    """The whole page."""
    name = (
        findings.history.source.rsplit("/", 1)[-1] if "://" not in findings.history.source else findings.history.source
    )
    sections = (
        f"<h1>Back-test of {_text(name)}</h1>",
        f'<p class="dim">{_text(_period(findings))}</p>',
        f'<p class="lead">{_text(headline(findings))}</p>',
        _cards(findings),
        *(f'<p class="warn">{_text(one)}</p>' for one in findings.warnings),
        "<h2>Policies</h2>",
        _policies(findings),
        f'<p class="dim">{_text(WORDS)}</p>',
        "<h2>Replicas over time</h2>",
        _replicas(findings),
        _attainment(findings),
        "<h2>Load</h2>",
        _load(findings),
        "<h2>Cost and attainment</h2>",
        '<p class="dim">Up and to the left is better. Numbers are the rows of the table.</p>',
        _scatter(findings),
        "<h2>Recommendations</h2>",
        _advice(findings),
        "<h3>The settings that were back-tested</h3>",
        f'<div class="two"><div><p class="dim">In the targets file</p>{_pre(targets_file(findings))}</div>'
        f'<div><p class="dim">Or as a trigger of the ScaledObject</p>{_pre(metadata(findings))}</div></div>',
        "<h2>Method and limits</h2>",
        _list((*findings.history.facts, *_how(findings), *findings.setup.facts, *LIMITS)),
        f'<p class="dim">llm-autoscaler {_text(__version__)}, seed {findings.settings.seed}.</p>',
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Back-test of {_text(name)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(sections)}</body></html>\n"
    )


def _text(value: str) -> str:
    return html.escape(value)


def _pre(text: str) -> str:
    return f"<pre><code>{html.escape(text)}</code></pre>"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>"


def _how(findings: Findings) -> tuple[str, ...]:
    return (findings.history.reconstructed,) if findings.history.reconstructed else ()


def _period(findings: Findings) -> str:
    history, asked = findings.history, findings.settings.objective
    line = history.timeline
    hours = history.end_s / 3600.0
    length = f"{hours:,.1f} hours" if hours < 72.0 else f"{hours / 24.0:,.1f} days"
    return (
        f"{len(history.trace.arrival_s):,} requests over {length}, {line.words(line.begin_s)} to "
        f"{line.words(line.source(history.end_s))}. Objective: TTFT within {asked.ttft_s:g} s and TPOT within "
        f"{1000.0 * asked.tpot_s:g} ms for {asked.attainment:.4g} of requests."
    ).replace(f"{asked.attainment:.4g} of", f"{100.0 * asked.attainment:.4g} % of")


def _cards(findings: Findings) -> str:
    ours, reference = findings.ours.score, findings.reference
    asked = findings.settings.objective.attainment
    cards = [
        (f"{ours.attainment:.2%}", f"of requests inside the objective, {asked:.1%} asked", ours.attainment >= asked),
        (f"{ours.gpu_hours:,.1f}", "GPU-hours", None),
    ]
    if (money := findings.money(ours.gpu_hours)) is not None:
        cards.append((f"{money:,.0f}" if money >= 1000 else f"{money:,.2f}", "money, at the price given", None))
    if reference is not None:
        saved = 1.0 - ours.gpu_hours / max(1e-9, reference.score.gpu_hours)
        than = "what ran" if reference.player.kind is Kind.RAN else f"{reference.knobs} constant replicas"
        # What is cheaper because it misses the objective is no gain.
        gain = saved >= 0.0 if ours.attainment >= asked or saved < 0.0 else None
        cards.append((f"{abs(saved):.0%}", f"{'less' if saved >= 0 else 'MORE'} GPU-hours than {than}", gain))
    cards.append((f"{ours.worst_hour:.1%}", "in the worst hour", None))
    return '<div class="cards">' + "".join(
        f'<div class="card"><b{_colour(good)}>{_text(value)}</b><span>{_text(name)}</span></div>'
        for value, name, good in cards
    ) + "</div>"  # fmt: skip


def _colour(good: bool | None) -> str:
    return "" if good is None else ' class="good"' if good else ' class="bad"'


def _policies(findings: Findings) -> str:
    asked = findings.settings.objective.attainment
    with_money = findings.money(1.0) is not None
    head = [
        "attained",
        "worst hour",
        "TTFT met",
        "TPOT met",
        "GPU-hours",
        *(["money"] if with_money else []),
        "changes/h",
    ]
    rows = []
    for place, one in enumerate(findings.outcomes, 1):
        score, money = one.score, findings.money(one.score.gpu_hours)
        cells = [
            f"<td{_colour(score.attainment >= asked)}>{score.attainment:.2%}</td>",
            f"<td>{score.worst_hour:.1%}</td>",
            f"<td>{score.ttft_share:.1%}</td>",
            f"<td>{score.tpot_share:.1%}</td>",
            f"<td>{score.gpu_hours:,.1f}</td>",
            *([f"<td>{money:,.2f}</td>"] if money is not None else []),
            f"<td>{score.scale_events_per_hour:.1f}</td>",
        ]
        ours = ' class="ours"' if one.player.kind is Kind.OURS else ""
        rows.append(f'<tr{ours}><td>{place}</td><td class="text">{_text(title(one))}</td>{"".join(cells)}</tr>')
    names, body = "".join(f"<th>{_text(name)}</th>" for name in head), "".join(rows)
    return f'<div class="scroll"><table><tr><th>#</th><th class="text">policy</th>{names}</tr>{body}</table></div>'


# --- charts ----------------------------------------------------------------------------------------------------------


def _times(findings: Findings) -> tuple[tuple[float, float], list[tuple[float, str]], list[tuple[float, str]]]:
    """Span of the simulation's clock, labelled ticks on it, and where it was cut."""
    scenario, line = findings.setup.scenario, findings.history.timeline
    span = (scenario.from_s, scenario.end_s)
    step_s = time_step_s(span[1] - span[0])
    begin_s = line.source(span[0])
    first = -(-begin_s // step_s) * step_s if line.is_unix else line.begin_s
    found = []
    at_s = first
    while at_s <= line.source(span[1]):
        inside = not any(gap.from_s < at_s < gap.until_s for gap in line.gaps)
        place = _simulated(findings, at_s)
        if inside and place >= span[0]:
            found.append((place, _clock(at_s, step_s) if line.is_unix else _hours(at_s - line.begin_s, step_s)))
        at_s += step_s
    cuts = [
        (_simulated(findings, gap.from_s), f"no data from {line.words(gap.from_s)} to {line.words(gap.until_s)}")
        for gap in line.gaps
    ]
    return span, found, cuts


def _simulated(findings: Findings, source_s: float) -> float:
    return float(findings.history.timeline.simulated(np.array([source_s]))[0])


def _clock(at_s: float, step_s: float) -> str:
    at = datetime.fromtimestamp(at_s, UTC)
    return f"{at:%d %b}" if step_s >= 86_400 or (at.hour == at.minute == 0) else f"{at:%H:%M}"


def _hours(since_s: float, step_s: float) -> str:
    if step_s < 3600:
        return f"{since_s / 60:g} min"
    return f"day {since_s / 86_400:g}" if step_s >= 86_400 else f"{since_s / 3600:g} h"


def _shown(findings: Findings) -> list[tuple[Outcome, str]]:
    """The rows that charts over time show, each with its colour."""
    found = [(findings.ours, "--ours")]
    if findings.reference is not None:
        found.append((findings.reference, "--other"))
    if findings.best_peer is not None:
        found.append((findings.best_peer, "--peer"))
    return found


def _replicas(findings: Findings) -> str:
    span, labels, cuts = _times(findings)
    length_s, _ = findings.setup.bins
    lines = [
        Line(
            title(one),
            colour,
            [*((span[0] + length_s * k, value) for k, value in enumerate(one.paid)), (span[1], one.paid[-1])],
            stepped=True,
            filled=colour == "--ours",
            dashed=colour == "--peer",
        )
        for one, colour in _shown(findings)
    ]
    note = '<p class="dim">Replicas paid for: loading, serving and draining. Policies shown: ours, what it is held '
    note += "against, and the best peer: the cheapest that attains as much, else the one that attains most.</p>"
    return note + plot(lines, span, labels, 300, marks=cuts, title="Replicas over time")


def _attainment(findings: Findings) -> str:
    span, labels, cuts = _times(findings)
    start_s, asked = findings.setup.scenario.start_s, findings.settings.objective.attainment
    lines = []
    for one, colour in _shown(findings):
        score = one.score
        shares = [
            (min(span[1], start_s + 3600.0 * (k + 0.5)), good / count)
            for k, (good, count) in enumerate(zip(score.hour_good, score.hour_requests, strict=True))
            if count
        ]
        lines.append(Line(title(one), colour, shares, dashed=colour == "--peer"))
    if max(len(line.points) for line in lines) < LEAST_HOURS:
        return ""
    worst = min(y for line in lines for _, y in line.points)
    low = max(0.0, min(0.9, int(worst * 10.0) / 10.0))
    return "<h2>Attainment over time</h2>" + plot(
        lines,
        span,
        labels,
        240,
        percent=True,
        low=low,
        marks=cuts,
        rule=(asked, f"asked, {asked:.1%}"),
        title="Attainment by hour",
    )


def _load(findings: Findings) -> str:
    span, labels, cuts = _times(findings)
    length_s, _ = findings.setup.bins
    load = findings.load

    def line(name: str, colour: str, values: Sequence[float], *, filled: bool) -> Line:
        points = [*((span[0] + length_s * k, value) for k, value in enumerate(values)), (span[1], values[-1])]
        return Line(name, colour, points, stepped=True, filled=filled)

    requests = [line("requests/s", "--ours", load.requests_per_s, filled=True)]
    tokens = [
        line("prompt tokens/s", "--prompt", load.prompt_tokens_per_s, filled=True),
        line("output tokens/s", "--output", load.output_tokens_per_s, filled=False),
    ]
    return plot(requests, span, labels, 200, marks=cuts, title="Requests per second") + plot(
        tokens, span, labels, 220, marks=cuts, title="Tokens per second"
    )


def _scatter(findings: Findings) -> str:
    colours = {id(one): colour for one, colour in _shown(findings)}
    points = [
        Point(
            str(place),
            f"{title(one)}: {one.score.attainment:.2%}, {one.score.gpu_hours:,.1f} GPU-hours",
            colours.get(id(one), "--rest"),
            one.score.gpu_hours,
            one.score.attainment,
        )
        for place, one in enumerate(findings.outcomes, 1)
    ]
    asked = findings.settings.objective.attainment
    return scatter(points, 340, (asked, f"asked, {asked:.1%}"), ("GPU-hours", "attainment"))


# --- advice ----------------------------------------------------------------------------------------------------------


def _advice(findings: Findings) -> str:
    if not findings.settings.advice:
        return '<p class="dim">Settings of the model server were not tried (--no-advice).</p>'
    if not findings.advice or findings.advice_span_s is None:
        return "<p>No other setting of the model server is worth a try: its steps already stay within the limit.</p>"
    line = findings.history.timeline
    from_s, until_s = findings.advice_span_s
    note = (
        f"Tried on {line.words(line.source(from_s))} to {line.words(line.source(until_s))}, each setting alone, under "
    )
    note += "llm-autoscaler; recommended only where it costs less and attains what is asked."
    good = [one for one in findings.advice if one.recommended]
    parts = [f'<p class="dim">{_text(note)}</p>', *(_recommended(one, findings) for one in good)]
    if not good:
        parts.append(
            "<p>Leave the model server as it is: no setting that was tried saves anything at the share asked.</p>"
        )
    rows = "".join(
        f'<tr><td class="text">{_text(one.setting)}</td><td>{one.now}</td><td>{one.value}</td>'
        f"<td>{one.attainment:.2%}</td>"
        f'<td>{one.gpu_hours:,.1f}</td><td>{one.saved_share:+.1%}</td><td class="text">{_text(one.why)}</td></tr>'
        for one in findings.advice
    )
    head = '<th class="text">setting</th><th>now</th><th>tried</th><th>attained</th><th>GPU-hours</th><th>saved</th>'
    parts.append(f'<div class="scroll"><table><tr>{head}<th class="text">verdict</th></tr>{rows}</table></div>')
    return "".join(parts)


def _recommended(one: Advice, findings: Findings) -> str:
    saved, money = one.gpu_hours_now - one.gpu_hours, findings.money(one.gpu_hours_now - one.gpu_hours)
    amount = f"{saved:,.1f} GPU-hours{f' or {money:,.2f}' if money is not None else ''} ({one.saved_share:.0%})"
    lines = "\n".join(f"{server + ':':14}{text}" for server, text in one.words)
    return (
        f"<p><b>{_text(one.setting)}: {one.now} &rarr; {one.value}</b> saves {_text(amount)} of that span at "
        f"{one.attainment:.2%}.</p>{_pre(lines)}"
    )
