"""What is wrong with a configuration, in a form that the ScaledObject's events, the log and `doctor` all say alike."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How much a finding matters."""

    ERROR = "error"  # replicas will be wrong, or two writers fight
    WARNING = "warning"  # costs time, money or requests
    NOTE = "note"  # good to know

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: why it matters, what was seen, what to do about it."""

    check: str  # kebab-case, stable: what is searched for and silenced by
    severity: Severity
    about: str  # the object, as `Kind namespace/name`
    cause: str  # one sentence
    evidence: tuple[str, ...]  # fields and values as found
    fix: str  # to paste: a command or a piece of YAML
