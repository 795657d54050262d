"""Scale targets of kinds that nobody watches, read through `/scale` against an API server over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from structlog.testing import capture_logs

from autoscaler.clock import LoopClock
from autoscaler.kube.client import KubeClient
from autoscaler.kube.meaning.gpus import gpus_of
from autoscaler.kube.meaning.objects import POD, Kind, ObjectSet, Reading
from autoscaler.kube.meaning.selectors import equal
from autoscaler.kube.meaning.viewed import Viewed
from autoscaler.kube.meaning.workload import Workload, read_workload
from autoscaler.kube.resources import Resource
from autoscaler.kube.scales import Scales
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.cluster import FAST, until

MODELS = Resource("example.com", "v1beta3", "models", "Model")
MODEL = Kind("example.com", "Model")


def model(size: int, selector: str = "app=m") -> dict[str, Any]:
    return {
        "metadata": {"name": "m", "namespace": "n", "managedFields": [{}]},
        "spec": {"replicas": size, "selector": "not a selector at all"},
        "status": {"replicas": size - 1, "selector": selector},
    }


@asynccontextmanager
async def reading(api: FakeKubeApi) -> AsyncIterator[Scales]:
    api.with_scale.add(MODELS)
    async with KubeClient(api.connection()) as client:
        scales = Scales(client, LoopClock(FAST))
        running = asyncio.create_task(scales.run())
        try:
            yield scales
        finally:
            assert not running.done()
            running.cancel()
            await asyncio.wait([running])


def workload(scales: Scales) -> Workload:
    return read_workload(Viewed({}, lambda *_: Reading.UNWATCHED, scales), MODEL, "n", "m")


async def test_the_counts_and_the_selector_are_the_scales_whatever_the_kind_is() -> None:
    async with FakeKubeApi(MODELS) as api, reading(api) as scales:
        api.put(MODELS, model(3))
        told: list[dict[str, Any]] = []
        scales.changed = told.append
        scales.want("so", (MODEL, "n", "m"))
        assert workload(scales).found is None, "not read yet is not gone"
        await until(lambda: workload(scales).found)
        found = workload(scales)
        assert (found.spec_replicas, found.status_replicas, found.selector) == (3, 2, equal({"app": "m"}))
        api.put(MODELS, model(5))
        await until(lambda: workload(scales).spec_replicas == 5)
        assert len(told) == 2
        api.delete(MODELS, "n", "m")
        await until(lambda: workload(scales).found is False)
        scales.want("so", None)
        asked = len(api.requests)
        await asyncio.sleep(0.2)
        assert len(api.requests) == asked
        assert scales.reading(MODEL, "n") is Reading.UNWATCHED


async def test_the_right_to_the_scale_alone_is_enough() -> None:
    async with FakeKubeApi(MODELS) as api, reading(api) as scales:
        api.put(MODELS, model(3))
        denial = api.forbid("get", MODELS, subresource="")
        scales.want("so", (MODEL, "n", "m"))
        await until(lambda: workload(scales).spec_replicas == 3)
        api.permit(denial)


async def test_what_cannot_be_read_is_not_known_and_said_once_and_what_was_known_is_kept() -> None:
    async with FakeKubeApi(MODELS) as api, reading(api) as scales:
        api.put(MODELS, model(3))
        with capture_logs() as logs:
            scales.want("so", (MODEL, "n", "m"))
            await until(lambda: workload(scales).spec_replicas == 3)
            denial = api.forbid("get", MODELS)
            await until(lambda: scales.reading(MODEL, "n") is Reading.FORBIDDEN)
            assert workload(scales).spec_replicas == 3
            await asyncio.sleep(1.5)
            api.permit(denial)
            await until(lambda: scales.reading(MODEL, "n") is Reading.READ)
        said = [entry for entry in logs if entry["event"] == "a scale target cannot be read"]
        assert len(said) == 1
        assert 'resources: ["models/scale"], verbs: ["get"]' in said[0]["reason"]
        assert [one.reason for one in scales.conditions()] == ["Watching"]


async def test_a_kind_that_is_not_installed_is_absent_until_it_is_and_its_version_may_change() -> None:
    newer = replace(MODELS, version="v2")
    async with FakeKubeApi() as api, reading(api) as scales:
        scales.want("so", (MODEL, "n", "m"))
        await until(lambda: scales.reading(MODEL, "n") is Reading.ABSENT)
        api.installed.add(MODELS)
        api.put(MODELS, model(3))
        await until(lambda: workload(scales).spec_replicas == 3)
        api.installed = (api.installed - {MODELS}) | {newer}
        api.with_scale.add(newer)
        api.put(newer, model(4))
        await until(lambda: workload(scales).spec_replicas == 4)


def test_without_a_pod_template_a_pod_tells_the_gpus_also_by_its_claims() -> None:
    claimed = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": "two", "namespace": "n"},
        "spec": {"spec": {"devices": {"requests": [{"exactly": {"deviceClassName": "gpu.nvidia.com", "count": 2}}]}}},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "m-0", "namespace": "n", "labels": {"app": "m"}},
        "spec": {
            "containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
            "resourceClaims": [{"name": "g", "resourceClaimTemplateName": "two"}],
        },
    }
    target = Workload(MODEL, "n", "m", True, 1, 1, equal({"app": "m"}))
    assert gpus_of(ObjectSet([pod, claimed]), target).count == 3.0
    assert gpus_of(ObjectSet([claimed]), target).count is None
    assert gpus_of(ObjectSet([pod, claimed]), replace(target, selector=None)).count is None
    assert POD.kind == "Pod"
