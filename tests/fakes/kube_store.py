"""What a fake API server keeps: objects by kind, one counter of versions, the history that watches are served from."""

from __future__ import annotations

import copy
import datetime as dt
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from autoscaler.kube.resources import Resource

Json = dict[str, Any]
Key = tuple[str, str]  # namespace ("" for kinds without), name
TERM = re.compile(r"^\s*(!?)([\w./-]+)\s*(?:(==|=|!=)\s*([\w./-]*)|(in|notin)\s*\(([^)]*)\))?\s*$")


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the history; `before` is None for a new object, `after` for a deleted one."""

    version: int
    resource: Resource
    before: Json | None
    after: Json | None


class Store:
    """Objects and their history; listeners hear every change."""

    def __init__(self) -> None:
        self.version = 1000
        self.oldest = 0  # versions below are compacted away
        self.history: list[Change] = []
        self.listeners: list[Callable[[Change], None]] = []
        self._objects: dict[Resource, dict[Key, Json]] = {}

    def of(self, resource: Resource) -> dict[Key, Json]:
        """Every object of a kind, by namespace and name."""
        return self._objects.setdefault(resource, {})

    def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """One object, or None."""
        return self.of(resource).get((namespace, name))

    def put(self, resource: Resource, document: Json) -> Json:
        """Write an object whole, new or not; a write that changes nothing makes no new version."""
        item = copy.deepcopy(document)
        metadata = item.setdefault("metadata", {})
        key = (metadata.get("namespace", "") if resource.namespaced else "", metadata["name"])
        before = self.of(resource).get(key)
        stamp = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        kept: Json = before["metadata"] if before else {"uid": str(uuid.uuid4()), "creationTimestamp": stamp}
        for name in ("uid", "creationTimestamp", "resourceVersion"):
            if before or name not in metadata:
                metadata[name] = kept.get(name)
        item = {"apiVersion": resource.api_version, "kind": resource.kind, **item}
        if before is not None and item == before:
            return before
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        self.of(resource)[key] = item
        self._say(Change(self.version, resource, before, item))
        return item

    def delete(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """Remove an object; None if there was none."""
        before = self.of(resource).pop((namespace if resource.namespaced else "", name), None)
        if before is not None:
            self.version += 1
            self._say(Change(self.version, resource, before, None))
        return before

    def compact(self) -> None:
        """Forget the history: whoever asks for an older version must list again."""
        self.history.clear()
        self.version += 1
        self.oldest = self.version

    def since(self, version: int) -> Iterator[Change]:
        """What happened after a version."""
        return (change for change in list(self.history) if change.version > version)

    def _say(self, change: Change) -> None:
        self.history.append(change)
        for listener in list(self.listeners):
            listener(change)


@dataclass(frozen=True, slots=True)
class Scope:
    """A namespace ("" for all) with selectors, as list and watch take them."""

    namespace: str = ""
    labels: str = ""
    fields: str = ""

    def fits(self, item: Json) -> bool:
        """Whether an object is in it."""
        metadata = item["metadata"]
        if self.namespace and metadata.get("namespace") != self.namespace:
            return False
        labels = metadata.get("labels") or {}
        return all(_label(term, labels) for term in _terms(self.labels)) and all(
            _field(term, item) for term in _terms(self.fields)
        )

    def event(self, change: Change) -> tuple[str, Json] | None:
        """The watch event that a change is to this scope: an object that leaves it reads as deleted."""
        was = change.before is not None and self.fits(change.before)
        now = change.after is not None and self.fits(change.after)
        if now and change.after is not None:
            return ("MODIFIED" if was else "ADDED"), change.after
        if was and change.before is not None:
            last = copy.deepcopy(change.after or change.before)
            last["metadata"]["resourceVersion"] = str(change.version)
            return "DELETED", last
        return None


def _terms(selector: str) -> list[str]:
    return [term for term in re.split(r",(?![^(]*\))", selector) if term.strip()]


def _label(term: str, labels: Json) -> bool:
    match = TERM.match(term)
    assert match is not None, f"the fake reads no such selector: {term}"
    negated, name, sign, value, among, values = match.groups()
    if among:
        inside = labels.get(name) in {one.strip() for one in values.split(",")}
        return inside == (among == "in")
    if sign:
        return bool((labels.get(name) == value) == (sign != "!="))
    return (name in labels) != bool(negated)


def _field(term: str, item: Json) -> bool:
    path, _, wanted = term.partition("!=") if "!=" in term else term.replace("==", "=").partition("=")
    value: Any = item
    for part in path.strip().split("."):
        value = (value or {}).get(part)
    return (str(value or "") == wanted.strip()) == ("!=" not in term)
