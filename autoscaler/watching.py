"""Waiters for what happens to one service, told by events of the loop.

Law: who waits no longer is forgotten, and with the last of them the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from autoscaler.core.records import ServiceId


class Watchers:
    """Events by service."""

    def __init__(self) -> None:
        self._events: dict[ServiceId, set[asyncio.Event]] = {}

    def __len__(self) -> int:
        """Services that somebody waits for."""
        return len(self._events)

    def tell(self, service: ServiceId) -> None:
        """Set every event that is watched for a service."""
        for event in self._events.get(service, ()):
            event.set()

    @contextmanager
    def watch(self, service: ServiceId) -> Iterator[asyncio.Event]:
        """An event that is set at every `tell` of the service; the watcher clears it."""
        event = asyncio.Event()
        events = self._events.setdefault(service, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events:
                self._events.pop(service, None)
