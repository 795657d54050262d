"""What the tests of this package share: small objects, a fast pace, waiting for what must come."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from autoscaler.clock import LoopClock
from autoscaler.kube.client import KubeClient, Selection
from autoscaler.kube.informer import Informer, Pace
from autoscaler.kube.namespaced import ObjectView
from autoscaler.kube.resources import PODS, Resource
from tests.fakes.kube_api import FakeKubeApi

FAST = 100.0  # a second of the informer's clock is 10 ms


def pod(name: str, namespace: str = "n", **extra: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, **extra}, "status": {"phase": "Running"}}


def names(view: ObjectView) -> set[str]:
    return {item["metadata"]["name"] for item in view.all()}


async def until(holds: Callable[[], object]) -> None:
    """Wait until it holds; the test's own time limit ends the wait."""
    while not holds():
        await asyncio.sleep(0.002)


@asynccontextmanager
async def watching(
    api: FakeKubeApi, resource: Resource = PODS, namespace: str | None = None, user: str = "scaler", **settings: Any
) -> AsyncIterator[Informer]:
    """An informer that runs against the API, settled."""
    settings.setdefault("pace", Pace(page_limit=3))
    async with KubeClient(api.connection(user)) as client:
        selection = Selection(resource, namespace, settings.pop("labels", ""), settings.pop("fields", ""))
        clock = settings.pop("clock", None) or LoopClock(FAST)
        informer = Informer(client, selection, clock, rng=random.Random(7), **settings)
        task = asyncio.create_task(informer.run())
        try:
            await asyncio.wait_for(informer.settled(), 10)
            yield informer
        finally:
            assert not task.done(), f"the informer ended by itself: {task}"
            task.cancel()
            await asyncio.wait([task])
