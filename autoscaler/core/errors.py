"""Errors that say who is at fault: the operator's setting, a model server, or the cluster."""

from __future__ import annotations

from dataclasses import dataclass


class AutoscalerError(Exception):
    """Base of every error of ours; its text says what was found, what was expected and what to do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a setting: where it stands, what was found, what was expected."""

    path: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path}: found {self.found}, expected {self.expected}"


class ConfigError(AutoscalerError):
    """The operator's setting is at fault; carries every problem of the source at once, and how many more there are."""

    def __init__(self, source: str, problems: tuple[Problem, ...], more: int = 0) -> None:
        self.source = source
        self.problems = problems
        self.more = more
        count = len(problems) + more
        lines = [f"  {problem}" for problem in problems] + ([f"  and {more} more"] if more else [])
        super().__init__("\n".join([f"{source}: {count} problem{'s' if count != 1 else ''}", *lines]))


class TargetError(AutoscalerError):
    """A model server or gateway is at fault: it cannot be reached, or its page cannot be used."""


class ClusterError(AutoscalerError):
    """The cluster is at fault: its API, its autoscaler, or our storage."""
