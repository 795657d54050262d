"""What a Role in each of some namespaces allows is seen as one, and one that is closed shuts no other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from autoscaler.clock import LoopClock
from autoscaler.kube.cache import Handlers
from autoscaler.kube.client import KubeClient
from autoscaler.kube.namespaced import NamespacedInformers
from autoscaler.kube.resources import NODES, PODS, Resource
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.cluster import FAST, names, pod, until


@asynccontextmanager
async def watching(
    api: FakeKubeApi, namespaces: Sequence[str], resource: Resource = PODS, **settings: Any
) -> AsyncIterator[NamespacedInformers]:
    async with KubeClient(api.connection()) as client:
        view = NamespacedInformers(client, resource, namespaces, LoopClock(FAST), rng=random.Random(3), **settings)
        task = asyncio.create_task(view.run())
        await view.settled()
        yield view
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])


async def test_with_a_role_in_two_namespaces_both_are_seen_and_nothing_else_is_asked_for() -> None:
    async with FakeKubeApi() as api:
        api.only_namespaces(["a", "b"])
        for namespace in ("a", "b", "c"):
            api.put(PODS, pod("p", namespace, labels={"in": namespace}))
        async with watching(api, ["a", "b"], indexes={"name": lambda item: [item["metadata"]["name"]]}) as view:
            assert view.synced
            assert view.get("a", "p") != view.get("b", "p")
            assert view.get("c", "p") is None
            assert len(view.by_index("name", "p")) == 2
            assert {asked.namespace for asked in api.requests} == {"a", "b"}
            assert view.staleness_s(0.0) == 0.0


async def test_one_forbidden_namespace_is_off_alone() -> None:
    told: list[str] = []
    async with FakeKubeApi() as api:
        api.only_namespaces(["a"])
        async with watching(api, ["a", "b"]) as view:
            assert view.synced_in("a")
            assert not view.synced_in("b")
            assert not view.synced_in("elsewhere")
            assert not view.synced
            assert [condition.reason for condition in view.conditions()] == ["Watching", "Forbidden"]
            assert view.staleness_in_s("b", 0.0) == float("inf")
            view.subscribe(Handlers(added=lambda item: told.append(item["metadata"]["name"])))
            api.put(PODS, pod("later", "a"))
            await until(lambda: told == ["later"])


async def test_no_namespaces_is_the_whole_cluster_by_one_watch() -> None:
    async with FakeKubeApi() as api:
        for namespace in ("a", "b"):
            api.put(PODS, pod(f"in-{namespace}", namespace))
        async with watching(api, []) as view:
            assert names(view) == {"in-a", "in-b"}
            assert view.get("b", "in-b") is not None
            await until(lambda: api.watches(PODS) == 1)


async def test_a_kind_without_namespaces_is_watched_once_whatever_the_list_says() -> None:
    async with FakeKubeApi() as api:
        api.put(NODES, {"metadata": {"name": "node"}})
        async with watching(api, ["a", "b"], NODES) as view:
            assert names(view) == {"node"}
            assert view.get("", "node") is not None
            assert api.count("list", NODES) == 1
