"""An elector with its own clock and its own way to the store, and who of several owns."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from autoscaler.clock import LoopClock
from autoscaler.kube.elector import LeaseElector
from tests.fakes.lease_network import LeaseStore, Link


class Replica:
    """An elector with its own clock and its own way to the store."""

    def __init__(self, name: str, store: LeaseStore, *, speed: float = 1.0, delay_s: float = 0.0, loss: float = 0.0):
        self.link = Link(store, random.Random(name), delay_s, loss)
        self.said: list[str] = []
        self.when_it_begins: Callable[[], None] = lambda: None
        self.elector = LeaseElector(
            self.link,
            "n",
            "l",
            name,
            LoopClock(speed),
            rng=random.Random(name),
            on_started=self._began,
            on_stopped=lambda: self.said.append("stopped"),
        )
        self.task: asyncio.Task[None] | None = None

    def _began(self) -> None:
        self.said.append("started")
        self.when_it_begins()

    def start(self) -> None:
        self.task = asyncio.create_task(self.elector.run())

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
            self.task = None

    @property
    def owns(self) -> bool:
        return self.elector.is_owner


def owners(replicas: list[Replica]) -> list[str]:
    return [replica.elector.identity for replica in replicas if replica.owns]
