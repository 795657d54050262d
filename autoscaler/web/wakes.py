"""Wakes: wishes for replicas that expire by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager

from autoscaler.core.records import ServiceId, Wake
from autoscaler.ports import StateStore
from autoscaler.watching import Watchers

MOST_REPLICAS = 1000
MOST_TTL_S = 86_400.0
MOST_PER_SERVICE = 100  # beyond it the earliest to expire goes


class Wakes:
    """Live wakes of every service (a `WakeBook`); kept in the store, so that one accepted outlives this process."""

    def __init__(
        self,
        admit: Callable[[ServiceId, Wake], Awaitable[None]] | None = None,
        store: StateStore | None = None,
    ) -> None:
        self._admit = admit  # where a wish goes that the API takes, if not here
        self._store = store
        self._wakes: dict[ServiceId, tuple[Wake, ...]] = {}
        self._watchers = Watchers()
        self._unkept: set[ServiceId] = set()  # changed since they were written

    async def load(self, now: float) -> None:
        """Take up what was accepted before this process began and has not expired. Raises ClusterError."""
        if self._store is not None:
            for service, wakes in (await self._store.load_wakes(now)).items():
                self.replace(service, (*self._wakes.get(service, ()), *wakes))
            self._unkept.clear()

    async def admit(self, service: ServiceId, wake: Wake) -> None:
        """Take a wish of the API, wherever it counts. Raises ClusterError if it cannot be passed on."""
        if self._admit is None:
            self.add(service, wake)
            await self.keep(service)
        else:
            await self._admit(service, wake)

    def add(self, service: ServiceId, wake: Wake) -> None:
        """Take a wish."""
        self.replace(service, (*self._wakes.get(service, ()), wake))

    def replace(self, service: ServiceId, wakes: Iterable[Wake]) -> None:
        """Put other wishes in place of those of a service."""
        kept = tuple(sorted(wakes, key=lambda one: one.expires_at_s)[-MOST_PER_SERVICE:])
        if kept or service in self._wakes:
            self._wakes[service] = kept
            self._unkept.add(service)
        self._watchers.tell(service)

    async def keep(self, service: ServiceId) -> None:
        """Write the wishes of a service into the store."""
        self._unkept.discard(service)
        if self._store is not None:
            await self._store.save_wakes(service, self._wakes.get(service, ()))

    async def keep_changed(self) -> None:
        """The same for every service whose wishes are not written as they are."""
        for service in list(self._unkept):
            await self.keep(service)

    def wakes(self, service: ServiceId, now: float) -> tuple[Wake, ...]:
        """Live wakes of the service; expired ones are dropped."""
        live = tuple(wake for wake in self._wakes.get(service, ()) if wake.expires_at_s > now)
        if live:
            self._wakes[service] = live
        else:
            self._wakes.pop(service, None)
        return live

    def watch(self, service: ServiceId) -> AbstractContextManager[asyncio.Event]:
        """An event that is set when wishes of the service come in; the watcher clears it."""
        return self._watchers.watch(service)
