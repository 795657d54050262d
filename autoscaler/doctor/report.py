"""What a look found, as text for people and JSON for machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.rule import Rule
from rich.text import Text

from autoscaler.core.records import ServiceMode
from autoscaler.doctor.checks import CHECKS
from autoscaler.doctor.look import Look
from autoscaler.kube.meaning.findings import Finding, Severity
from autoscaler.kube.meaning.objects import ALL_KINDS, SCALED_OBJECT, Kind, Reading
from autoscaler.kube.meaning.resolve import Target

CLEAN, FOUND, BLIND = 0, 1, 2  # exit codes
_COLOURS = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_SIGNS = {Severity.ERROR: "✗", Severity.WARNING: "!", Severity.NOTE: "·"}


@dataclass(frozen=True, slots=True)
class Report:
    """Everything one look found, worst first."""

    look: Look
    findings: tuple[Finding, ...]
    unseen: tuple[tuple[Kind, Reading], ...]  # kinds that could not be read, so that nothing is said of them

    @property
    def code(self) -> int:
        """0: no error; 1: findings of severity error; 2: could not look."""
        if any(kind == SCALED_OBJECT for kind, _ in self.unseen):
            return BLIND
        return FOUND if any(one.severity is Severity.ERROR for one in self.findings) else CLEAN


def examine(look: Look) -> Report:
    """Run every check."""
    found: Iterable[Finding] = (finding for check in CHECKS for finding in check.run(look))
    ordered = sorted(dict.fromkeys(found), key=lambda one: (one.severity.rank, one.about, one.check))
    hidden = (Reading.FORBIDDEN, Reading.STALE, Reading.UNWATCHED)
    readings = ((kind, look.objects.reading(kind, look.namespace)) for kind in ALL_KINDS)
    return Report(look, tuple(ordered), tuple((kind, reading) for kind, reading in readings if reading in hidden))


def as_json(report: Report) -> str:
    """The report as one JSON object; its keys are stable."""
    return json.dumps(
        {
            "code": report.code,
            "targets": [
                {
                    "target": str(target.target),
                    "scaledObject": target.scaled_object,
                    "path": target.path.value,
                    "workload": str(target.workload),
                    "mode": target.mode.value,
                }
                for _, target in report.look.targets()
            ],
            "findings": [
                {
                    "check": one.check,
                    "severity": one.severity.value,
                    "about": one.about,
                    "cause": one.cause,
                    "evidence": list(one.evidence),
                    "fix": one.fix,
                }
                for one in report.findings
            ],
            "notLookedAt": [{"kind": str(kind), "reading": reading.value} for kind, reading in report.unseen],
        },
        indent=2,
        ensure_ascii=False,
    )


def print_checks(console: Console) -> None:
    """Every check and what it asks."""
    for check in CHECKS:
        console.print(Text.assemble((f"{check.name:24}", "bold"), check.asks))


def print_report(report: Report, console: Console) -> None:
    """The report for people."""
    _print_targets(report, console)
    if report.findings:
        console.print()
    said: set[tuple[str, str]] = set()
    for one in report.findings:
        _print_finding(one, console, again=(one.about, one.fix) in said)
        said.add((one.about, one.fix))
    if report.unseen:
        names = ", ".join(f"{kind} ({reading.value})" for kind, reading in report.unseen)
        console.print(f"[dim]Not looked at:[/] {escape(names)}", highlight=False)
    console.print(_summary(report), highlight=False)


def _print_targets(report: Report, console: Console) -> None:
    targets = list(report.look.targets())
    if not targets:
        console.print("[dim]No ScaledObject here calls this autoscaler or carries an annotation of it.[/]")
    for _, target in targets:
        about = f"ScaledObject {target.target.service.namespace}/{target.scaled_object}"
        mine = {about, str(target.workload), _service(target)}
        worst = min((one.severity for one in report.findings if one.about in mine), key=lambda s: s.rank, default=None)
        sign = (_SIGNS[worst], _COLOURS[worst]) if worst else ("✓", "green")
        console.print(Text.assemble(sign, " ", (str(target.target), "bold"), "  ", _said(target)), soft_wrap=True)
        console.print(Text(f"    {target.path.value}", "dim"), soft_wrap=True)


def _service(target: Target) -> str:
    kind = target.path.value.partition(",")[0]
    return f"{kind} {target.target.service}"


def _said(target: Target) -> str:
    bounds, gpus = target.bounds, target.gpus.count
    idle = "" if bounds.idle_replicas is None else f", idle {bounds.idle_replicas}"
    each = "GPUs unknown" if gpus is None else f"{gpus:.3g} GPU{'s' * (gpus != 1)} each" if gpus else "no GPU"
    shadow = " · shadow" if target.mode is ServiceMode.SHADOW else ""
    where = f"{target.workload.kind.kind} {target.workload.name}"
    return (
        f"{where} · {bounds.min_replicas} to {bounds.max_replicas} replicas{idle} · {each} · "
        f":{target.page.port}{target.page.path}{shadow}"
    )


def _print_finding(one: Finding, console: Console, *, again: bool) -> None:
    colour = _COLOURS[one.severity]
    sign = f"{_SIGNS[one.severity]} {one.severity.value} "
    console.print(Rule(Text.assemble((sign, colour), (one.check, "bold"), f"  {one.about}"), align="left", style="dim"))
    console.print(Text(one.cause))
    for line in one.evidence:
        console.print(Text(f"  {line}", "dim"))
    if again:
        console.print(Text("  a fix above mends this too", "green"))
    else:
        for line in one.fix.splitlines():
            # Never folded: a command that is broken over two lines cannot be pasted.
            console.print(Text(f"  {line}", "dim" if line.startswith("#") else "green"), soft_wrap=True)
    console.print()


def _summary(report: Report) -> str:
    counts = Counter(one.severity for one in report.findings)
    said = [
        f"[{_COLOURS[one]}]{counts[one]} {one.value}{'s' * (counts[one] != 1)}[/]" for one in Severity if counts[one]
    ]
    if report.code == BLIND:
        return "[bold red]ScaledObjects could not be read: nothing is known.[/]"
    looked = sum(1 for _ in report.look.targets())
    return f"{', '.join(said) or '[green]nothing found[/]'} on {looked} target{'s' * (looked != 1)}"
