"""`autoscaler doctor`: look, report, and say by the exit code how it went."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from autoscaler.doctor import live
from autoscaler.doctor.files import objects_of
from autoscaler.doctor.look import Facts, look_at
from autoscaler.doctor.report import as_json, examine, print_report


def run_doctor(
    files: Sequence[Path],
    namespace: str | None,
    addresses: Sequence[str],
    console: Console,
    *,
    json: bool = False,
    connect: live.Connect = live.connect,
) -> int:
    """Look at files, or at the cluster where none are given; returns the exit code.

    Raises ConfigError (files) and ClusterError (the cluster cannot be looked at).
    """
    objects, facts = (objects_of(files), Facts()) if files else connect(namespace)
    report = examine(look_at(objects, namespace, facts, frozenset(addresses)))
    if json:
        console.out(as_json(report), highlight=False)
    else:
        print_report(report, console)
    return report.code
