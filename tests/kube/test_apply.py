"""Writes under our own field manager: ours alone, against the version we read, one request each."""

from __future__ import annotations

import pytest

from autoscaler.kube.apply import (
    FIELD_MANAGER,
    POD_DELETION_COST,
    apply,
    read_scale,
    write_deletion_cost,
    write_scale,
)
from autoscaler.kube.client import KubeClient
from autoscaler.kube.errors import Conflict, Forbidden, MissingKind, NotFound
from autoscaler.kube.resources import CAPACITY_BUFFERS, CONFIG_MAPS, DEPLOYMENTS, PODS
from tests.fakes.kube_api import FakeKubeApi
from tests.fakes.kube_patches import owned
from tests.kube.cluster import pod

DEPLOYMENT = {
    "metadata": {"name": "d", "namespace": "n"},
    "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "d"}}},
    "status": {"replicas": 1},
}


async def test_applying_makes_the_object_and_applying_again_changes_nothing() -> None:
    fields = {"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 3}}
    async with FakeKubeApi(CAPACITY_BUFFERS) as api, KubeClient(api.connection()) as client:
        first = await apply(client, CAPACITY_BUFFERS, "n", "buffer", fields)
        again = await apply(client, CAPACITY_BUFFERS, "n", "buffer", fields)
        assert first["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]
        stored = api.get(CAPACITY_BUFFERS, "n", "buffer")
    assert stored["spec"] == {"replicas": 3}
    assert set(owned(stored)) == {FIELD_MANAGER} == {"llm-autoscaler"}


async def test_a_field_no_longer_named_is_removed_and_others_fields_stay() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        api.put(CONFIG_MAPS, {"metadata": {"name": "c", "namespace": "n"}, "data": {"theirs": "1"}})
        await apply(client, CONFIG_MAPS, "n", "c", {"data": {"ours": "1", "old": "1"}})
        await apply(client, CONFIG_MAPS, "n", "c", {"data": {"ours": "2"}})
        assert api.get(CONFIG_MAPS, "n", "c")["data"] == {"theirs": "1", "ours": "2"}


async def test_a_field_that_another_manager_owns_is_a_conflict_unless_forced() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        theirs = {"manager": "helm", "operation": "Apply", "paths": [["data", "a"]]}
        document = {"metadata": {"name": "c", "namespace": "n", "managedFields": [theirs]}, "data": {"a": "1"}}
        api.put(CONFIG_MAPS, document)
        with pytest.raises(Conflict, match="helm"):
            await apply(client, CONFIG_MAPS, "n", "c", {"data": {"a": "2"}})
        await apply(client, CONFIG_MAPS, "n", "c", {"data": {"a": "1"}})  # the same value is shared
        await apply(client, CONFIG_MAPS, "n", "c", {"data": {"a": "2"}}, force=True)
        assert owned(api.get(CONFIG_MAPS, "n", "c")) == {FIELD_MANAGER: {("data", "a")}}


async def test_a_scale_is_read_and_written_and_nothing_else_of_the_workload_is_touched() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        api.put(DEPLOYMENTS, DEPLOYMENT)
        scale = await read_scale(client, DEPLOYMENTS, "n", "d")
        assert (scale.replicas, scale.current, scale.selector) == (2, 1, "app=d")
        after = await write_scale(client, DEPLOYMENTS, "n", "d", 12, version=scale.version)
        assert after.replicas == 12
        (write,) = api.writes
        assert (write.asked.subresource, write.body["spec"]) == ("scale", {"replicas": 12})
        assert write.asked.query["fieldManager"] == FIELD_MANAGER
        assert api.get(DEPLOYMENTS, "n", "d")["spec"] == {**DEPLOYMENT["spec"], "replicas": 12}  # type: ignore[dict-item]


async def test_a_scale_that_changed_since_it_was_read_is_not_overwritten() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        api.put(DEPLOYMENTS, DEPLOYMENT)
        scale = await read_scale(client, DEPLOYMENTS, "n", "d")
        api.put(DEPLOYMENTS, {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replicas": 7}})  # type: ignore[dict-item]
        with pytest.raises(Conflict):
            await write_scale(client, DEPLOYMENTS, "n", "d", 3, version=scale.version)
        assert (await read_scale(client, DEPLOYMENTS, "n", "d")).replicas == 7


async def test_zero_replicas_are_read_as_zero() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        api.put(DEPLOYMENTS, {**DEPLOYMENT, "spec": {"replicas": 0}, "status": {}})
        scale = await read_scale(client, DEPLOYMENTS, "n", "d")
    assert (scale.replicas, scale.current) == (0, 0)


async def test_a_kind_without_a_scale_and_a_scale_that_is_forbidden_are_told_apart() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        with pytest.raises(MissingKind, match="configmaps/scale"):
            await read_scale(client, CONFIG_MAPS, "n", "c")
        api.forbid("patch", DEPLOYMENTS, subresource="scale")
        with pytest.raises(Forbidden, match="deployments/scale"):
            await write_scale(client, DEPLOYMENTS, "n", "d", 3)


async def test_a_pods_deletion_cost_is_set_within_32_bits_and_taken_back() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        api.put(PODS, pod("p", annotations={"theirs": "1"}))
        await write_deletion_cost(client, "n", "p", 10**12)
        assert api.get(PODS, "n", "p")["metadata"]["annotations"] == {"theirs": "1", POD_DELETION_COST: "2147483647"}
        await write_deletion_cost(client, "n", "p", None)
        assert api.get(PODS, "n", "p")["metadata"]["annotations"] == {"theirs": "1"}
        with pytest.raises(NotFound):
            await write_deletion_cost(client, "n", "gone", 1)
