"""Objects as informers keep them: lookups by name and by index, never by going through all pods of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.objects import CLUSTER_SCOPED, Kind, Reading, scales
from autoscaler.kube.meaning.raw import Raw
from autoscaler.kube.meaning.selectors import Selector

NAMESPACE, LABEL, SCALED = "namespace", "label", "scaled"


def _namespaces(raw: Raw) -> Iterable[str]:
    return (read.namespace(raw),)


def _labels(raw: Raw) -> Iterable[str]:
    where = read.namespace(raw)
    return [f"{where}/{key}={value}" for key, value in read.labels_of(raw).items()]


def _scaled(raw: Raw) -> Iterable[str]:
    name = scales(raw)
    return (f"{read.namespace(raw)}/{name}",) if name else ()


# The indexes that a view must be built with. Of 10,000 pods with ten labels each, the second takes about 100,000 keys.
INDEXES: Mapping[str, Callable[[Raw], Iterable[str]]] = {NAMESPACE: _namespaces, LABEL: _labels, SCALED: _scaled}


class View(Protocol):
    """What an informer offers of one kind."""

    def get(self, namespace: str, name: str) -> Raw | None:
        """One object, None if it is not known."""
        ...

    def all(self) -> Sequence[Raw]:
        """Every object known."""
        ...

    def by_index(self, index: str, value: str) -> Sequence[Raw]:
        """Objects of which the index function named this value."""
        ...


class Others(Protocol):
    """Single objects of kinds without a view."""

    def get(self, kind: Kind, namespace: str, name: str) -> Raw | None:
        """One object, None if it is not known."""
        ...

    def reading(self, kind: Kind, namespace: str | None) -> Reading:
        """How well those of a kind are known there."""
        ...


class Viewed:
    """Objects over one view a kind (an `Objects`); `reading` tells how well a kind is known in a namespace."""

    def __init__(
        self, views: Mapping[Kind, View], reading: Callable[[Kind, str | None], Reading], others: Others | None = None
    ) -> None:
        self._views = dict(views)
        self._reading = reading
        self._others = others

    def get(self, kind: Kind, namespace: str, name: str) -> Raw | None:
        """One object; None if it is not known."""
        view = self._views.get(kind)
        if view is None and self._others is not None:
            return self._others.get(kind, namespace, name)
        return view.get("" if kind in CLUSTER_SCOPED else namespace, name) if view is not None and name else None

    def find(self, kind: Kind, namespace: str | None = None, selector: Selector | None = None) -> Sequence[Raw]:
        """The objects of a kind; in a namespace by the rarest of the labels asked for."""
        view = self._views.get(kind)
        if view is None:
            return ()
        found = view.all() if namespace is None or kind in CLUSTER_SCOPED else self._in(view, namespace, selector)
        if selector is None:
            return list(found)
        return [raw for raw in found if selector.matches(read.labels_of(raw))]

    def scalers(self, kind: Kind, namespace: str, target: str) -> Sequence[Raw]:
        """The objects of a kind that scale a target of this name."""
        view = self._views.get(kind)
        return view.by_index(SCALED, f"{namespace}/{target}") if view is not None else ()

    def _in(self, view: View, namespace: str, selector: Selector | None) -> Sequence[Raw]:
        asked = [
            f"{namespace}/{one.key}={one.values[0]}"
            for one in (selector.requirements if selector is not None else ())
            if one.operator == "In" and len(one.values) == 1
        ]
        if not asked:
            return view.by_index(NAMESPACE, namespace)
        return min((view.by_index(LABEL, value) for value in asked), key=len)

    def reading(self, kind: Kind, namespace: str | None = None) -> Reading:
        """How well a kind is known; one that has no view is unwatched."""
        if kind in self._views:
            return self._reading(kind, namespace)
        return self._others.reading(kind, namespace) if self._others is not None else Reading.UNWATCHED
