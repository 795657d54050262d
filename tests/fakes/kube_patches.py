"""What a write does to an object: merge patches, server-side apply with owners of fields, the scale subresource."""

from __future__ import annotations

import copy
from typing import Any

from tests.fakes.kube_answers import Asked

Json = dict[str, Any]
Path = tuple[str, ...]
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"


def changed(before: Json | None, body: Json, asked: Asked, content_type: str) -> Json | None:
    """The object after a write; None for a kind of patch that this fake does not know. Raises FieldConflict."""
    if asked.subresource == "scale" and before is not None:
        scale = body if asked.verb == "update" else merged(scale_of(before), body)
        return dict(merged(before, {"spec": {"replicas": scale["spec"]["replicas"]}}))
    if content_type == APPLY:
        return applied(before, body, asked.query.get("fieldManager", ""), force=asked.query.get("force") == "true")
    if content_type == MERGE:
        return dict(merged(before, body))
    return body if asked.verb == "update" else None


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes, objects go together, everything else is replaced."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


class FieldConflict(Exception):  # noqa: N818 -- the API's own word
    """Another manager owns a field and the apply was not forced."""


def applied(before: Json | None, document: Json, manager: str, *, force: bool) -> Json:
    """Server-side apply: fields no longer named are removed, foreign ones are kept or, forced, taken over.

    Lists are one value here; the real server merges some of them by key. Owners stand in `managedFields` as this fake
    writes them: one entry per manager with `paths`.
    """
    owners = owned(before)
    ours = set(_leaves(document))
    for other, paths in owners.items():
        taken = {path for path in paths & ours if _at(before, path) != _at(document, path)}
        if other != manager and taken and not force:
            raise FieldConflict(f'conflict with "{other}": {sorted(".".join(path) for path in taken)}')
        if other != manager:
            owners[other] = paths - taken
    result = copy.deepcopy(before or {})
    for path in owners.get(manager, set()) - ours:
        if not any(path in paths for other, paths in owners.items() if other != manager):
            _drop(result, path)
    result = merged(result, document)
    owners[manager] = ours
    result["metadata"]["managedFields"] = [
        {"manager": who, "operation": "Apply", "paths": sorted(list(path) for path in paths)}
        for who, paths in sorted(owners.items())
        if paths
    ]
    return result


def owned(item: Json | None) -> dict[str, set[Path]]:
    """Which manager owns which fields of an object."""
    entries = ((item or {}).get("metadata") or {}).get("managedFields") or []
    return {entry["manager"]: {tuple(path) for path in entry.get("paths", ())} for entry in entries}


def _leaves(document: Json, above: Path = ()) -> list[Path]:
    found: list[Path] = []
    for name, value in document.items():
        path = (*above, name)
        if path[0] in ("apiVersion", "kind") or path in (("metadata", "name"), ("metadata", "namespace")):
            continue
        found += _leaves(value, path) if isinstance(value, dict) and value else [path]
    return found


def _at(item: Any, path: Path) -> Any:
    for name in path:
        item = item.get(name) if isinstance(item, dict) else None
    return item


def _drop(item: Json, path: Path) -> None:
    *parents, last = path
    node: Any = item
    for name in parents:
        node = node.get(name) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node.pop(last, None)


def scale_of(item: Json) -> Json:
    """An object's scale subresource."""
    selector = (item.get("spec") or {}).get("selector")
    labels = (selector.get("matchLabels") or {}) if isinstance(selector, dict) else {}
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {name: item["metadata"].get(name) for name in ("name", "namespace", "uid", "resourceVersion")},
        "spec": {"replicas": (item.get("spec") or {}).get("replicas", 1)},
        "status": {
            "replicas": (item.get("status") or {}).get("replicas", 0),
            "selector": (item.get("status") or {}).get("selector")
            or ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        },
    }


def event_problem(before: Json | None, event: Json) -> str | None:
    """What validation of events.k8s.io/v1 refuses, in the rules our recorder could break."""
    where = (event.get("regarding") or {}).get("namespace") or "default"
    sizes = {
        name: len(event.get(name) or "") for name in ("reportingController", "reportingInstance", "action", "reason")
    }
    rules = {
        "metadata.namespace: does not match regarding.namespace": where == event["metadata"].get("namespace"),
        **{f"{name}: must have 1 to 128 characters": 1 <= size <= 128 for name, size in sizes.items()},
        "note: can have at most 1024 characters": len(event.get("note", "")) <= 1024,
        "type: must be Normal or Warning": event.get("type") in ("Normal", "Warning"),
        "eventTime: required": bool(event.get("eventTime")),
        "series.count: must be at least 2": (event.get("series") or {"count": 2})["count"] >= 2,
    }
    if broken := next((rule for rule, holds in rules.items() if not holds), None):
        return broken
    fixed = ("regarding", "reason", "note", "reportingController", "reportingInstance", "action", "type", "eventTime")
    if before is not None:
        return next((f"{name}: field is immutable" for name in fixed if before.get(name) != event.get(name)), None)
    return None
