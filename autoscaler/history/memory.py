"""Snapshots that die with the process: for the demo, and where no folder can be written."""

from __future__ import annotations

from autoscaler.core.records import ServiceId
from autoscaler.ports import Saved


class MemoryStore:
    """A `StateStore` in memory."""

    def __init__(self) -> None:
        self._snapshots: dict[ServiceId, Saved] = {}

    async def load(self, service: ServiceId) -> Saved | None:
        """The newest snapshot of the service."""
        return self._snapshots.get(service)

    async def save(self, service: ServiceId, snapshot: bytes, at_s: float) -> None:
        """Keep a snapshot."""
        self._snapshots[service] = Saved(at_s, snapshot)
