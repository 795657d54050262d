"""Annotations of ours on a ScaledObject: the keys of trigger metadata behind one prefix, below the trigger's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from autoscaler.config.metadata import read_trigger
from autoscaler.config.records import Overrides, Trigger
from autoscaler.core.errors import ConfigError, Problem
from autoscaler.core.records import ServiceMode

PREFIX = "llm-autoscaler.io/"


@dataclass(frozen=True, slots=True)
class Annotated:
    """What annotations set."""

    trigger: Trigger
    mode: ServiceMode | None = None  # None: not said


def read_annotations(annotations: Mapping[str, str]) -> Annotated:
    """What the annotations of a ScaledObject set; those without our prefix are others'.

    Raises ConfigError with every malformed value at once; unknown keys are warnings.
    """
    ours = {key.removeprefix(PREFIX): value for key, value in annotations.items() if key.startswith(PREFIX)}
    found: list[Problem] = []
    mode = ours.pop("mode", None)
    if mode not in (None, "act", "shadow"):
        found.append(Problem(f"{PREFIX}mode", repr(mode), "act or shadow"))
    try:
        trigger = read_trigger(ours)
    except ConfigError as error:
        found += [replace(problem, path=f"{PREFIX}{problem.path}") for problem in error.problems]
        trigger = Trigger(None, "", Overrides())
    if found:
        raise ConfigError("annotations", tuple(found))
    warnings = tuple(text.replace("metadata key '", f"annotation '{PREFIX}", 1) for text in trigger.warnings)
    return Annotated(replace(trigger, warnings=warnings), ServiceMode(mode) if mode else None)


def over(low: Overrides, high: Overrides) -> Overrides:
    """Both, the second where it says something."""
    values = {field.name: getattr(high, field.name) for field in fields(Overrides)}
    # By identity: 0 says something (minReplicas), and equals False.
    said: dict[str, Any] = {key: value for key, value in values.items() if value is not None and value is not False}
    if high.wake_source is not None:
        said["wake_source_none"] = False
    if high.wake_source_none:
        said["wake_source"] = None
    return replace(low, **said)
