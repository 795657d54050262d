"""Reading plain JSON objects: paths that may be absent, and the few fields that every object has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Raw = Mapping[str, Any]
NOTHING: Raw = {}


def at(raw: object, *path: str) -> Any:
    """The value at a path of keys, None where any part of it is absent."""
    for key in path:
        if not isinstance(raw, dict):  # JSON's objects; asking for any Mapping took half of the time of a read
            return None
        raw = raw.get(key)
    return raw


def mapping(raw: object, *path: str) -> Raw:
    """The object at a path, empty where there is none."""
    found = at(raw, *path)
    return found if isinstance(found, dict) else NOTHING


def items(raw: object, *path: str) -> tuple[Raw, ...]:
    """The objects of the list at a path."""
    found = at(raw, *path)
    return tuple(one for one in found if isinstance(one, dict)) if isinstance(found, list) else ()


def words(raw: object, *path: str) -> list[str]:
    """The list of texts at a path: a command line, values of a selector."""
    found = at(raw, *path)
    return [text(one) for one in found] if isinstance(found, list) else []


def text(raw: object, *path: str) -> str:
    """The text at a path, empty where there is none; numbers and truth values as YAML would write them."""
    found = at(raw, *path)
    if isinstance(found, str):
        return found
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found) if isinstance(found, int | float) else ""


def whole(raw: object, *path: str) -> int | None:
    """The whole number at a path; None where there is none."""
    found = at(raw, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def strings(raw: object, *path: str) -> dict[str, str]:
    """The map of texts at a path: labels, annotations, trigger metadata."""
    return {str(key): text(value) for key, value in mapping(raw, *path).items() if value is not None}


def name(raw: object) -> str:
    """metadata.name."""
    return text(raw, "metadata", "name")


def namespace(raw: object) -> str:
    """metadata.namespace, empty for what has none."""
    return text(raw, "metadata", "namespace")


def labels_of(raw: object) -> dict[str, str]:
    """metadata.labels."""
    return strings(raw, "metadata", "labels")


def annotations_of(raw: object) -> dict[str, str]:
    """metadata.annotations."""
    return strings(raw, "metadata", "annotations")


def group_of(api_version: str) -> str:
    """The API group of `group/version`; empty for the core group."""
    return api_version.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class OwnerReference:
    """Who an object belongs to."""

    group: str
    kind: str
    name: str


def owners(raw: object) -> tuple[OwnerReference, ...]:
    """Who an object belongs to, the controller first."""
    found = sorted(items(raw, "metadata", "ownerReferences"), key=lambda one: at(one, "controller") is not True)
    return tuple(OwnerReference(group_of(text(o, "apiVersion")), text(o, "kind"), text(o, "name")) for o in found)


def condition(raw: object, kind: str) -> Raw:
    """The condition of a type in status.conditions, empty where there is none."""
    return next((one for one in items(raw, "status", "conditions") if text(one, "type") == kind), NOTHING)


def moment_s(raw: object, *path: str) -> float | None:
    """The RFC 3339 time at a path in Unix seconds; None where there is none."""
    written = text(raw, *path)
    try:
        read = datetime.fromisoformat(written)
    except ValueError:
        return None
    return read.timestamp() if read.tzinfo is not None else None
