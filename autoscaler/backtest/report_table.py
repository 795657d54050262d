"""The back-test's report on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from autoscaler.backtest.results import Findings
from autoscaler.backtest.sentences import headline, title
from autoscaler.simulation.comparison import Kind


def print_findings(console: Console, findings: Findings) -> None:
    """Facts, the table of policies, what it comes to, advice, warnings."""
    for fact in (*findings.history.facts, *findings.setup.facts):
        console.print(fact, highlight=False, markup=False, soft_wrap=True, style="dim")
    for warning in findings.warnings:
        console.print(f"warning: {warning}", highlight=False, markup=False, soft_wrap=True, style="yellow")
    console.print()
    console.print(_table(findings))
    console.print()
    console.print(headline(findings), highlight=False, markup=False, soft_wrap=True, style="bold")
    for one in findings.advice:
        style = "green" if one.recommended else "dim"
        console.print(f"{one.setting} {one.now} -> {one.value}: {one.why}", highlight=False, markup=False,
                      soft_wrap=True, style=style)  # fmt: skip
        if one.recommended:
            for server, words in one.words:
                console.print(f"    {server}: {words}", highlight=False, markup=False, soft_wrap=True)


def _table(findings: Findings) -> Table:
    asked = findings.settings.objective
    table = Table(
        title=f"Share of requests with TTFT <= {asked.ttft_s:g} s and TPOT <= {1000.0 * asked.tpot_s:g} ms; "
        f"{asked.attainment:.1%} asked",
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="dim",
        title_style="",
    )
    table.add_column("policy", overflow="fold")
    for name in (
        "attained",
        "worst hour",
        "GPU-hours",
        *(["money"] if findings.money(1.0) is not None else []),
        "changes/h",
    ):
        table.add_column(name, justify="right")
    for one in findings.outcomes:
        score, money = one.score, findings.money(one.score.gpu_hours)
        colour = "green" if score.attainment >= asked.attainment else "red"
        table.add_row(
            title(one),
            f"[{colour}]{score.attainment:.2%}[/]",
            f"{score.worst_hour:.1%}",
            f"{score.gpu_hours:,.1f}",
            *([f"{money:,.2f}"] if money is not None else []),
            f"{score.scale_events_per_hour:.1f}",
            style="bold" if one.player.kind is Kind.OURS else None,
        )
    return table
