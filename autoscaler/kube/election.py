"""Ownership by a Lease: who plans among our replicas, and where the one that does is reached."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable

from autoscaler.kube.elector import LeaseApi, LeaseElector, owner_identity
from autoscaler.kube.lease import LeaseTerms
from autoscaler.ports import Clock


class Election:
    """One Lease among our replicas (an `Ownership`).

    The identity in the Lease is `pod_HOST:PORT_random`: followers find the owner's gRPC server by it alone.
    """

    def __init__(
        self,
        api: LeaseApi,
        namespace: str,
        name: str,
        pod: str,
        address: str,
        clock: Clock,
        *,
        rng: random.Random,
        terms: LeaseTerms | None = None,
        problem: Callable[[bool], None] = lambda _: None,  # told whether the Lease can be used
        alone: Callable[[bool], None] = lambda _: None,  # told whether we plan without it
    ) -> None:
        self.fit: Callable[[], bool] = lambda: True  # see `Ownership`; set once there is a service to ask
        self.heard_s: Callable[[], float] = lambda: -math.inf  # when an owner was last heard; set likewise
        self._clock = clock
        self._problem = problem
        self._alone = alone
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self.elector = LeaseElector(
            api,
            namespace,
            name,
            owner_identity(f"{pod}_{address}", rng),
            clock,
            rng=rng,
            terms=terms,
            fit=lambda: self.fit(),  # noqa: PLW0108 -- it is set later
            heard_s=lambda: self.heard_s(),  # noqa: PLW0108
        )

    def is_owner(self) -> bool:
        """Whether this replica may decide at this instant."""
        return self.elector.is_owner

    def owner(self) -> str | None:
        """host:port of the owner's gRPC server as last known, None if it is not."""
        parts = self.elector.owner.rsplit("_", 2)
        return parts[1] if len(parts) == 3 else None

    def look(self) -> None:
        """Look at the Lease now."""
        self.elector.look()

    def others_may_own(self) -> bool:
        """Whether this replica plans without the Lease, as others may."""
        return self.elector.is_alone

    def start(self) -> None:
        """Take part from now on."""
        self._task = asyncio.create_task(self.elector.run())
        self._watch = asyncio.create_task(self._report())

    async def release(self) -> None:
        """Take part no more, and give the Lease back."""
        for task in (self._watch, self._task):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _report(self) -> None:
        while True:
            self._problem(self.elector.problem is not None)
            self._alone(self.elector.is_alone)
            await self._clock.sleep(1.0)
