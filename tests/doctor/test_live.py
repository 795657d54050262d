"""A live cluster, looked at once: all of it, page by page, and what cannot be read is said."""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from autoscaler.core.errors import ClusterError
from autoscaler.doctor.command import run_doctor
from autoscaler.doctor.live import READ, connect, read_cluster
from autoscaler.kube.client import KubeClient
from autoscaler.kube.errors import Unreachable
from autoscaler.kube.meaning.objects import (
    ALL_KINDS,
    CLUSTER_QUEUE,
    CLUSTER_SCOPED,
    DEPLOYMENT,
    HPA,
    LOCAL_QUEUE,
    NODE,
    NODE_POOL,
    PDB,
    POD,
    SCALED_OBJECT,
    Kind,
    Reading,
    kind_of,
)
from autoscaler.kube.resources import PODS, SCALED_OBJECTS, Resource
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.cluster import pod
from tests.kube_meaning.recorded import NAMES, Recording

CRDS = tuple(one for versions in READ.values() for one in versions)
NEWEST: dict[Kind, Resource] = {kind: versions[0] for kind, versions in READ.items()}


def fill(api: FakeKubeApi, recording: Recording) -> None:
    for raw in recording.raws:
        resource = NEWEST.get(kind_of(raw))
        if resource is not None:
            bare = {key: value for key, value in raw.items() if key not in ("apiVersion", "kind")}
            api.put(resource, {**bare, "apiVersion": resource.api_version, "kind": resource.kind})


async def looked(api: FakeKubeApi, namespace: str | None = None) -> Any:
    async with KubeClient(api.connection()) as client:
        return await read_cluster(client, namespace)


def test_every_kind_that_a_check_may_look_at_is_read() -> None:
    assert set(READ) == set(ALL_KINDS)
    assert {kind for kind, versions in READ.items() if not versions[0].namespaced} == CLUSTER_SCOPED
    assert all((one.group, one.kind) == (kind.group, kind.kind) for kind, versions in READ.items() for one in versions)


@pytest.mark.parametrize("name", NAMES)
async def test_what_is_read_live_is_what_was_recorded(name: str) -> None:
    recording = Recording(name)
    async with FakeKubeApi(*CRDS) as api:
        fill(api, recording)
        objects, _ = await looked(api)
    for raw in recording.raws:
        kind = kind_of(raw)
        if kind not in NEWEST:
            continue
        where = "" if kind in CLUSTER_SCOPED else raw["metadata"].get("namespace", "default")
        found = objects.get(kind, where, raw["metadata"]["name"])
        assert found is not None
        assert kind_of(found) == kind


async def test_1234_pods_come_in_pages_of_500() -> None:
    async with FakeKubeApi(*CRDS) as api:
        for at in range(1234):
            api.put(PODS, pod(f"p{at}"))
        objects, _ = await looked(api)
        assert api.count("list", PODS) == 3
    assert len(objects.find(POD)) == 1234
    assert objects.reading(POD) is Reading.READ


async def test_a_list_that_expires_between_two_pages_is_begun_again() -> None:
    async with FakeKubeApi(*CRDS) as api:
        for at in range(600):
            api.put(PODS, pod(f"p{at}"))
        api.fail(1, 410, verbs="list")
        objects, _ = await looked(api)
    assert len(objects.find(POD)) == 600


async def test_forbidden_and_absent_kinds_are_said_and_stop_nothing() -> None:
    async with FakeKubeApi(SCALED_OBJECTS) as api:
        fill(api, Recording("isvc-external"))
        for kind in (NODE, HPA):
            api.forbid("list", NEWEST[kind])
        objects, _ = await looked(api)
    assert [objects.reading(kind) for kind in (NODE, HPA)] == [Reading.FORBIDDEN] * 2
    assert [objects.reading(kind) for kind in (NODE_POOL, CLUSTER_QUEUE)] == [Reading.ABSENT] * 2
    assert [objects.reading(kind) for kind in (SCALED_OBJECT, DEPLOYMENT)] == [Reading.READ] * 2
    assert objects.find(DEPLOYMENT)


async def test_an_older_version_is_read_where_the_newest_is_not_served() -> None:
    older = READ[LOCAL_QUEUE][1]
    async with FakeKubeApi(older) as api:
        api.put(older, {"metadata": {"name": "q", "namespace": "n"}})
        objects, _ = await looked(api)
    assert objects.reading(LOCAL_QUEUE) is Reading.READ
    assert objects.get(LOCAL_QUEUE, "n", "q") is not None


async def test_of_one_namespace_only_its_objects_are_asked_for() -> None:
    async with FakeKubeApi(*CRDS) as api:
        api.only_namespaces(["n"])
        for namespace in ("n", "other"):
            api.put(PODS, pod("p", namespace))
        objects, _ = await looked(api, "n")
        assert [one["metadata"]["namespace"] for one in objects.find(POD)] == ["n"]
        assert objects.reading(NODE) is Reading.FORBIDDEN  # a Role gives no cluster-scoped kind
        assert objects.reading(PDB) is Reading.READ
        nothing, _ = await looked(api)
    assert nothing.reading(POD) is Reading.FORBIDDEN


async def test_a_server_that_fails_one_kind_leaves_it_partly_known() -> None:
    async with FakeKubeApi(*CRDS) as api:
        api.fail(1, 500)
        objects, _ = await looked(api)
        assert objects.reading(SCALED_OBJECT) is Reading.PARTIAL
        assert objects.reading(POD) is Reading.READ


async def test_our_clock_90_s_ahead_of_the_servers_is_seen_to_a_second() -> None:
    async with FakeKubeApi(*CRDS) as api, KubeClient(api.connection()) as client:
        _, facts = await read_cluster(client, None, now=lambda: time.time() + 90.0)
    assert facts.clock_skew_s is not None
    assert 88.0 < facts.clock_skew_s < 92.0


async def test_a_cluster_that_cannot_be_reached_is_an_error_that_says_so() -> None:
    async with FakeKubeApi(*CRDS) as api:
        connection = api.connection()
    async with KubeClient(connection) as client:
        with pytest.raises(Unreachable, match="cannot be reached"):
            await read_cluster(client, None)


def test_without_any_cluster_it_says_how_to_give_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match="--files"):
        connect(None)


async def test_autoscaler_doctor_finds_in_the_cluster_what_it_finds_in_its_manifests(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    console = Console(file=io.StringIO(), width=100)
    async with FakeKubeApi(*CRDS) as api:
        fill(api, Recording("isvc-class-absent"))
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
        code = await asyncio.to_thread(run_doctor, (), None, (), console)
    assert isinstance(console.file, io.StringIO)
    assert code == 1
    assert "default/a" in console.file.getvalue()
