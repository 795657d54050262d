"""What users set for a target: the trigger's metadata, and annotations of ours on the ScaledObject below it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.config.annotations import PREFIX, over, read_annotations
from autoscaler.config.metadata import read_trigger
from autoscaler.config.records import Overrides, Trigger
from autoscaler.core.errors import ConfigError, Problem
from autoscaler.core.records import ServiceMode
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.raw import Raw
from autoscaler.modelservers import profile_names


@dataclass(frozen=True, slots=True)
class Said:
    """Both together."""

    target: str | None
    role: str  # "" where neither names one
    overrides: Overrides
    mode: ServiceMode
    warnings: tuple[str, ...]


def said(namespace: str, scaled_object: Raw, metadata: Mapping[str, str]) -> Said:
    """What is set, the metadata over the annotations. Raises ConfigError with every problem of both."""
    notes = read.annotations_of(scaled_object)
    found = [*_unknown_server("server", metadata), *_unknown_server(f"{PREFIX}server", notes)]
    trigger = noted = Trigger(None, "", Overrides())
    mode = None
    try:
        trigger = read_trigger(metadata)
    except ConfigError as error:
        found += error.problems
    try:
        annotated = read_annotations(notes)
        noted, mode = annotated.trigger, annotated.mode
    except ConfigError as error:
        found += error.problems
    if found:
        raise ConfigError(f"ScaledObject {namespace}/{read.name(scaled_object)}", tuple(found))
    return Said(
        trigger.target or noted.target,
        trigger.role or noted.role,
        over(noted.overrides, trigger.overrides),
        mode or ServiceMode.ACT,
        (*noted.warnings, *trigger.warnings),
    )


def _unknown_server(key: str, values: Mapping[str, str]) -> list[Problem]:
    server = values.get(key)
    if server is None or server in profile_names():
        return []
    return [Problem(key, repr(server), f"one of {', '.join(profile_names())}")]
