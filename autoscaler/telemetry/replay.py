"""Replay: a flight record through today's planner, and every decision that changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from autoscaler.core import Planner
from autoscaler.core.records import Decision, ServiceId
from autoscaler.telemetry.recorder import Entry, read_record


@dataclass(frozen=True, slots=True)
class Compared:
    """One decision as recorded and as today's planner makes it."""

    recorded: Decision
    today: Decision

    @property
    def changed(self) -> bool:
        """Whether KEDA would have been told something else; what a hand-over raised is not the planner's."""
        if any(reason.code == "handover" for reason in self.recorded.reasons):
            return False
        return _told(self.recorded) != _told(self.today)


def _told(decision: Decision) -> tuple[object, ...]:
    return (decision.mode, decision.active, tuple((role.role, role.replicas) for role in decision.roles))


def replay(entries: Iterable[Entry]) -> Iterator[Compared]:
    """Feed entries to a planner per service; a recording that began warm starts with its recorded state."""
    planners: dict[ServiceId, Planner] = {}
    for entry in entries:
        if entry.observation is None or entry.decision is None:
            planner = planners[entry.service] = Planner()
            if entry.snapshot is not None:
                planner.restore(entry.snapshot)
            continue
        planner = planners.setdefault(entry.service, Planner())
        yield Compared(entry.decision, planner.observe(entry.observation, entry.at_s))


def print_replay(path: Path, console: Console, *, every: bool = False) -> None:
    """Print every decision that changed, or all of them, and how many there were. Raises RecordError."""

    def warn(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    count = changed = 0
    for compared in replay(read_record(path, warn)):
        count += 1
        changed += compared.changed
        if compared.changed or every:
            console.print(_sentence(compared), markup=False, highlight=False, soft_wrap=True)
    console.print(f"{count} decisions replayed, {changed} changed", highlight=False)


def _sentence(compared: Compared) -> str:
    old, new = compared.recorded, compared.today
    sign = "changed" if compared.changed else "same"
    return f"{old.at_s:.1f} {old.service} {sign}: {_words(old)} -> {_words(new)}"


def _words(decision: Decision) -> str:
    counts = ", ".join(f"{role.role + ' ' if role.role else ''}{role.replicas}" for role in decision.roles)
    codes = [reason.code for role in decision.roles for reason in role.reasons] + [r.code for r in decision.reasons]
    return f"{counts} {'active' if decision.active else 'inactive'} {decision.mode.value} ({', '.join(codes)})"
