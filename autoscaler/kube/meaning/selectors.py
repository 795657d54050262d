"""Label selectors, in both forms in which Kubernetes writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.kube.meaning.raw import at, items, strings, text, words

_SETS = {"in": "In", "notin": "NotIn"}
_SET = re.compile(r"^(?P<key>\S+)\s+(?P<how>in|notin)\s*\((?P<values>[^)]*)\)$")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: str  # In, NotIn, Exists, DoesNotExist
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it; like the API server, NotIn holds where the label is absent."""
        found = labels.get(self.key)
        if self.operator == "Exists":
            return found is not None
        if self.operator == "DoesNotExist":
            return found is None
        return (found in self.values) == (self.operator == "In")

    def __str__(self) -> str:
        if self.operator == "Exists":
            return self.key
        if self.operator == "DoesNotExist":
            return f"!{self.key}"
        if self.operator == "In" and len(self.values) == 1:
            return f"{self.key}={self.values[0]}"
        return f"{self.key} {self.operator.lower()} ({','.join(self.values)})"


@dataclass(frozen=True, slots=True)
class Selector:
    """All of its requirements; none of them selects everything. Its text is what the API takes as labelSelector."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(one.holds(labels) for one in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


def equal(labels: Mapping[str, str]) -> Selector:
    """A selector of equalities."""
    return Selector(tuple(Requirement(key, "In", (value,)) for key, value in sorted(labels.items())))


def from_object(raw: object, *path: str) -> Selector | None:
    """The matchLabels and matchExpressions at a path; None where there is no selector."""
    found = at(raw, *path)
    if not found:
        return None
    expressions = tuple(
        Requirement(text(one, "key"), text(one, "operator"), tuple(words(one, "values")))
        for one in items(found, "matchExpressions")
    )
    return Selector((*equal(strings(found, "matchLabels")).requirements, *expressions))


def parse(written: str) -> Selector | None:
    """The string form, as in status.selector and status.hpaPodSelector; None for an empty one."""
    if not written.strip():
        return None
    return Selector(tuple(_requirement(part.strip()) for part in re.split(r",(?![^(]*\))", written) if part.strip()))


def _requirement(part: str) -> Requirement:
    in_set = _SET.match(part)
    if in_set:
        values = tuple(value.strip() for value in in_set["values"].split(","))
        return Requirement(in_set["key"], _SETS[in_set["how"]], values)
    if "!=" in part:
        key, _, value = part.partition("!=")
        return Requirement(key.strip(), "NotIn", (value.strip(),))
    key, equals, value = part.replace("==", "=").partition("=")
    if equals:
        return Requirement(key.strip(), "In", (value.strip(),))
    return Requirement(part.removeprefix("!"), "DoesNotExist" if part.startswith("!") else "Exists")
