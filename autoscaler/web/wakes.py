"""Wakes: wishes for replicas that expire by themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from autoscaler.core.records import ServiceId, Wake

MOST_REPLICAS = 1000
MOST_TTL_S = 86_400.0
MOST_PER_SERVICE = 100  # beyond it the earliest to expire goes


class Wakes:
    """Live wakes of every service (a `WakeBook`)."""

    def __init__(self, admit: Callable[[ServiceId, Wake], Awaitable[None]] | None = None) -> None:
        self._admit = admit  # where a wish goes that the API takes, if not here
        self._wakes: dict[ServiceId, tuple[Wake, ...]] = {}

    async def admit(self, service: ServiceId, wake: Wake) -> None:
        """Take a wish of the API, wherever it counts. Raises ClusterError if it cannot be passed on."""
        if self._admit is None:
            self.add(service, wake)
        else:
            await self._admit(service, wake)

    def add(self, service: ServiceId, wake: Wake) -> None:
        """Take a wish."""
        self.replace(service, (*self._wakes.get(service, ()), wake))

    def replace(self, service: ServiceId, wakes: Iterable[Wake]) -> None:
        """Put other wishes in place of those of a service."""
        kept = sorted(wakes, key=lambda one: one.expires_at_s)
        self._wakes[service] = tuple(kept[-MOST_PER_SERVICE:])

    def wakes(self, service: ServiceId, now: float) -> tuple[Wake, ...]:
        """Live wakes of the service; expired ones are dropped."""
        live = tuple(wake for wake in self._wakes.get(service, ()) if wake.expires_at_s > now)
        if live:
            self._wakes[service] = live
        else:
            self._wakes.pop(service, None)
        return live
