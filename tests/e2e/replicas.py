"""Every write of a Deployment's `spec.replicas`, as seen by a watch: what KEDA, the HPA and we did to it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass

from tests.e2e.api import Api, Object
from tests.e2e.waiting import until


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the count."""

    at_s: float  # Unix seconds when the watch told it
    before: int
    after: int
    by: str  # who owns the field since; nobody may ("unknown"): the API server lets an owner of an equal value go


class Replicas:
    """Follows one Deployment; use as an async context manager."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api = api
        self.name = name
        self._path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self.steps: list[Step] = []
        self.count = 0
        self.ready = 0
        self.exists = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Replicas:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        query = f"?fieldSelector=metadata.name%3D{self.name}"
        async for event, deployment in self._api.follow(self._path + query):
            count = 0 if event == "DELETED" else int(deployment["spec"].get("replicas", 0))
            if self.exists and count != self.count:
                self.steps.append(Step(time.time(), self.count, count, _writer(deployment)))
            self.exists, self.count = event != "DELETED", count
            self.ready = int(deployment.get("status", {}).get("readyReplicas") or 0)

    async def until(self, count: int, within_s: float) -> Step | None:
        """Waits until the count is `count`; gives the newest step. Raises AssertionError."""

        def there() -> bool:
            return self.exists and self.count == count

        await until(f"{self.name} has {count} replicas: {self.counts()}", there, within_s, every_s=0.02)
        return self.steps[-1] if self.steps else None

    async def until_ready(self, count: int, within_s: float) -> None:
        """Waits until so many replicas serve. Raises AssertionError."""
        await until(f"{count} replicas of {self.name} are ready", lambda: self.ready == count, within_s)

    def counts(self) -> list[int]:
        """The counts there were, in order."""
        return [step.after for step in self.steps] or [self.count]

    def below(self, least: int, since_s: float) -> list[Step]:
        """Steps after `since_s` that left fewer than `least`."""
        return [step for step in self.steps if step.at_s >= since_s and step.after < least]


def _writer(deployment: Object) -> str:
    owners = [
        one
        for one in deployment["metadata"].get("managedFields", [])
        if "f:replicas" in one.get("fieldsV1", {}).get("f:spec", {})
    ]
    newest = max(owners, key=lambda one: str(one.get("time", "")), default={"manager": "unknown"})
    return str(newest["manager"])
