"""One kind of object in a list of namespaces, or in all: the view a Role in each of them allows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Protocol

from autoscaler.kube.cache import Handlers, Index
from autoscaler.kube.client import KubeClient, Selection
from autoscaler.kube.decoding import Json, Trim, without_bookkeeping
from autoscaler.kube.informer import Condition, Informer, InformerMetrics, Pace
from autoscaler.kube.resources import Resource
from autoscaler.ports import Clock


class ObjectView(Protocol):
    """What readers of objects need; an `Informer` and `NamespacedInformers` are both one."""

    @property
    def synced(self) -> bool:
        """Complete and kept."""
        ...

    def staleness_s(self, now: float) -> float:
        """Seconds since the view was last proven current."""
        ...

    def conditions(self) -> tuple[Condition, ...]:
        """How each part of it is."""
        ...

    def subscribe(self, handlers: Handlers) -> None:
        """Tell of changes."""
        ...

    def get(self, namespace: str, name: str) -> Json | None:
        """One object, None if it is not known."""
        ...

    def all(self) -> list[Json]:
        """Every object known."""
        ...

    def by_index(self, index: str, value: str) -> list[Json]:
        """Objects of which the index function named this value."""
        ...


class NamespacedInformers:
    """An informer per namespace, seen as one; no namespaces: one for the whole cluster.

    A namespace that is forbidden or gone is off alone: the others are kept, and `synced_in` tells them apart.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        namespaces: Sequence[str],
        clock: Clock,
        *,
        rng: random.Random,
        labels: str = "",
        fields: str = "",
        pace: Pace | None = None,
        trim: Trim = without_bookkeeping,
        indexes: Mapping[str, Index] | None = None,
        metrics: InformerMetrics | None = None,
    ) -> None:
        places: list[str | None] = list(dict.fromkeys(namespaces)) if namespaces and resource.namespaced else [None]
        self._parts = {
            place: Informer(
                client,
                Selection(resource, place, labels, fields),
                clock,
                rng=rng,
                pace=pace,
                trim=trim,
                indexes=indexes,
                metrics=metrics,
            )
            for place in places
        }

    @property
    def synced(self) -> bool:
        """Every namespace is complete and kept."""
        return all(part.synced for part in self._parts.values())

    def synced_in(self, namespace: str) -> bool:
        """One namespace is complete and kept; false for one that is not watched."""
        part = self._part(namespace)
        return part is not None and part.synced

    def staleness_s(self, now: float) -> float:
        """The largest of all namespaces."""
        return max(part.staleness_s(now) for part in self._parts.values())

    def staleness_in_s(self, namespace: str, now: float) -> float:
        """Of one namespace; inf for one that is not watched."""
        part = self._part(namespace)
        return float("inf") if part is None else part.staleness_s(now)

    def conditions(self) -> tuple[Condition, ...]:
        """How each namespace is."""
        return tuple(part.condition for part in self._parts.values())

    def conditions_in(self, namespace: str | None) -> tuple[Condition, ...]:
        """How one namespace is, empty for one that is not watched; None: each."""
        if namespace is None:
            return self.conditions()
        part = self._part(namespace)
        return () if part is None else (part.condition,)

    async def settled(self) -> None:
        """Wait until every namespace is synced or turned off."""
        for part in self._parts.values():
            await part.settled()

    def subscribe(self, handlers: Handlers) -> None:
        """Tell of changes in every namespace."""
        for part in self._parts.values():
            part.subscribe(handlers)

    def get(self, namespace: str, name: str) -> Json | None:
        """One object, None if it is not known."""
        part = self._part(namespace)
        return None if part is None else part.get(namespace, name)

    def all(self) -> list[Json]:
        """Every object known."""
        return [item for part in self._parts.values() for item in part.all()]

    def by_index(self, index: str, value: str) -> list[Json]:
        """Objects of which the index function named this value."""
        return [item for part in self._parts.values() for item in part.by_index(index, value)]

    async def run(self) -> None:
        """Keep every namespace current; ends by cancellation only."""
        async with asyncio.TaskGroup() as tasks:
            for part in self._parts.values():
                tasks.create_task(part.run(), name=f"informer of {part.selection}")

    def _part(self, namespace: str) -> Informer | None:
        return self._parts.get(None) or self._parts.get(namespace)
