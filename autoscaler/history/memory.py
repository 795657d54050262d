"""Snapshots that die with the process: for the demo, and where no folder can be written."""

from __future__ import annotations

from collections.abc import Mapping

from autoscaler.core.records import ServiceId, Wake
from autoscaler.ports import Saved


class MemoryStore:
    """A `StateStore` in memory."""

    def __init__(self) -> None:
        self._snapshots: dict[ServiceId, Saved] = {}
        self._wakes: dict[ServiceId, tuple[Wake, ...]] = {}

    async def load(self, service: ServiceId) -> Saved | None:
        """The newest snapshot of the service."""
        return self._snapshots.get(service)

    async def save(self, service: ServiceId, snapshot: bytes, at_s: float) -> None:
        """Keep a snapshot."""
        self._snapshots[service] = Saved(at_s, snapshot)

    async def load_wakes(self, now: float) -> Mapping[ServiceId, tuple[Wake, ...]]:
        """Wakes that have not expired."""
        live = {one: tuple(w for w in wakes if w.expires_at_s > now) for one, wakes in self._wakes.items()}
        self._wakes = {service: wakes for service, wakes in live.items() if wakes}
        return self._wakes

    async def save_wakes(self, service: ServiceId, wakes: tuple[Wake, ...]) -> None:
        """Keep the wakes of a service."""
        self._wakes[service] = wakes
