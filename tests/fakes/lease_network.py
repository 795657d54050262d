"""Leases in memory behind a network that loses, delays and cuts off, for electors in virtual time."""

from __future__ import annotations

import asyncio
import copy
import random
from dataclasses import dataclass, field
from typing import Any

from autoscaler.kube.errors import Conflict, Forbidden, NotFound, Unreachable
from autoscaler.kube.resources import Resource

Json = dict[str, Any]


@dataclass(slots=True)
class LeaseStore:
    """One namespace's Leases with optimistic concurrency."""

    leases: dict[str, Json] = field(default_factory=dict)
    version: int = 0

    def write(self, name: str, document: Json, *, new: bool) -> Json:
        """Create or replace. Raises Conflict or NotFound as the API server does."""
        before = self.leases.get(name)
        if new and before is not None:
            raise Conflict(f"{name} already exists", 409)
        if not new and before is None:
            raise NotFound(f"no {name}", 404)
        if before is not None and document["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]:
            raise Conflict(f"{name} has been modified", 409)
        self.version += 1
        stored = copy.deepcopy(document)
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.leases[name] = stored
        return copy.deepcopy(stored)


@dataclass(slots=True)
class Link:
    """One replica's way to the store (a `LeaseApi`)."""

    store: LeaseStore
    rng: random.Random
    delay_s: float = 0.0  # each way, at most
    loss: float = 0.0  # chance of losing a message, each way
    forbidden: bool = False  # every answer is 403
    cut: bool = False  # nothing gets through, either way; what was sent before may still arrive

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Json:  # noqa: ARG002
        """The Lease; NotFound."""
        await self._way()
        found = copy.deepcopy(self.store.leases.get(name))
        await self._way()
        if found is None:
            raise NotFound(f"no {name}", 404)
        return found

    async def create(self, resource: Resource, namespace: str | None, document: Json) -> Json:  # noqa: ARG002
        """Make it; Conflict if it exists."""
        return await self._write(document["metadata"]["name"], document, new=True)

    async def replace(self, resource: Resource, namespace: str | None, name: str, document: Json) -> Json:  # noqa: ARG002
        """Write it whole; Conflict if its version is not the newest."""
        return await self._write(name, document, new=False)

    async def _write(self, name: str, document: Json, *, new: bool) -> Json:
        if self.cut:
            await asyncio.sleep(60.0)
        if self.forbidden:
            raise Forbidden("no rule", 403)
        # As in a real network, what was sent arrives even when the sender has given up waiting.
        arrival = asyncio.ensure_future(self._arrive(name, copy.deepcopy(document), new=new))
        arrival.add_done_callback(lambda done: done.cancelled() or done.exception())
        answer = await asyncio.shield(arrival)
        await self._way()
        return answer

    async def _arrive(self, name: str, document: Json, *, new: bool) -> Json:
        await asyncio.sleep(self.rng.uniform(0.0, self.delay_s))
        if self.rng.random() < self.loss:
            raise Unreachable("lost")
        return self.store.write(name, document, new=new)

    async def _way(self) -> None:
        await asyncio.sleep(self.rng.uniform(0.0, self.delay_s))
        if self.cut:
            await asyncio.sleep(60.0)
        if self.forbidden:
            raise Forbidden("no rule", 403)
        if self.rng.random() < self.loss:
            raise Unreachable("lost")
