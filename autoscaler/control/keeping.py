"""What a replica that follows keeps on its own disk of the state that the owner tells."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from autoscaler.control.loop import SAVE_EVERY_S
from autoscaler.control.relay import Relay
from autoscaler.core.records import ServiceId
from autoscaler.ports import Clock, StateStore, WakeBook


@contextlib.asynccontextmanager
async def keeping(
    relay: Relay, store: StateStore, wakes: WakeBook, services: Callable[[], tuple[ServiceId, ...]], clock: Clock
) -> AsyncIterator[None]:
    """Inside, what the owner tells is put into this replica's own store now and then, and at the end."""
    saved: dict[ServiceId, float] = {}

    async def save() -> None:
        for service in services():
            log = relay.log(service)
            if log is not None and saved.get(service) != log.saved.at_s:
                saved[service] = log.saved.at_s
                await store.save(service, log.saved.snapshot, log.saved.at_s)
        await wakes.keep_changed()

    async def now_and_then() -> None:
        while True:
            await clock.sleep(SAVE_EVERY_S)
            await save()

    saving = asyncio.create_task(now_and_then())
    try:
        yield
    finally:
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)
        await save()
