"""Events and the price of deleting a pod on the real control plane, under the chart's own account and rights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.chart.rendering import needs_helm
from tests.e2e.api import Object
from tests.e2e.fleet import PORT, ServerPod
from tests.e2e.manifests import deployment
from tests.e2e.rights import install_rights
from tests.e2e.test_fast_path import LONG_S, attached, trigger, written
from tests.e2e.waiting import throughout, until
from tests.e2e.world import World

COST, MARK = "controller.kubernetes.io/pod-deletion-cost", "llm-autoscaler.io/pod-deletion-cost"
TOGGLES = ("fastPath", "podDeletionCost", "capacityBuffer", "events")
WRITERS = ("--fast-path", "--pod-deletion-cost", "--capacity-buffer", "--events")


async def described(one: World, name: str) -> dict[str, str]:
    """Notes by reason of the Events that `kubectl describe scaledobject` lists: by kind, name and uid, of core/v1."""
    scaled = await one.api.get(f"/apis/keda.sh/v1alpha1/namespaces/{one.namespace}/scaledobjects/{name}")
    about = {"name": name, "namespace": one.namespace, "kind": "ScaledObject", "uid": scaled["metadata"]["uid"]}
    chosen = "%2C".join(f"involvedObject.{key}%3D{value}" for key, value in about.items())
    found = await one.api.get(f"/api/v1/namespaces/{one.namespace}/events?fieldSelector={chosen}")
    ours = [item for item in found["items"] if item["reportingComponent"] == "llm-autoscaler"]
    return {item["reason"]: item["message"] for item in ours}


async def pods(one: World, name: str) -> dict[str, Object]:
    """The pods of a Deployment that are not being removed, by their address."""
    found = await one.api.get(f"/api/v1/namespaces/{one.namespace}/pods?labelSelector=app%3D{name}")
    there = [item for item in found["items"] if not item["metadata"].get("deletionTimestamp")]
    return {item["status"]["podIP"]: item for item in there}


@asynccontextmanager
async def busy(pod: ServerPod, requests: int) -> AsyncIterator[None]:
    """Long requests inside one pod, until the block ends."""
    body = {"prompt_tokens": 1000, "max_tokens": 100_000}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:

        async def ask() -> None:
            async with session.post(f"http://{pod.ip}:{PORT}/v1/completions", json=body) as answer:
                await answer.read()

        tasks = [asyncio.create_task(ask()) for _ in range(requests)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_at_a_decrease_the_emptiest_pods_are_removed_by_the_real_replica_set_controller(one: World) -> None:
    """Five pods, the two oldest of them empty: without a price it would take the newest, by ages that are alike."""
    serve = await one.serve(cluster=one.cluster(writers=("--pod-deletion-cost",)))
    chat = await one.deploy("chat", 1)
    await one.attach("chat", serve, triggers=trigger(serve))
    await serve.wake(one.namespace, "chat", 2, ttl_s=LONG_S)
    await chat.until_ready(2, 60 + 2 * one.hpa_sync_s)
    oldest = {pod.ip for pod in one.fleet.pods}
    await serve.wake(one.namespace, "chat", 5, ttl_s=30 + one.hpa_sync_s)
    await chat.until_ready(5, 60 + 2 * one.hpa_sync_s)
    newer = [pod for pod in one.fleet.pods if pod.ip not in oldest]
    assert (len(oldest), len(newer)) == (2, 3)
    async with busy(newer[0], 1), busy(newer[1], 2), busy(newer[2], 3):
        await serve.wake(one.namespace, "chat", 3, ttl_s=LONG_S)

        async def priced() -> set[str]:
            found = await pods(one, "chat")
            return {ip for ip, pod in found.items() if COST in (pod["metadata"].get("annotations") or {})}

        await until("two are priced", priced, 420, every_s=0.05)  # what serves at first sight is kept for 300 s
        assert await priced() <= oldest
        await chat.until(3, 30 + 3 * one.hpa_sync_s)

        async def left() -> bool:
            return len(await pods(one, "chat")) == 3

        await until("two are removed", left, 30)
        stays = await pods(one, "chat")
        assert stays.keys() == {pod.ip for pod in newer}
        assert not [pod for pod in stays.values() if MARK in (pod["metadata"].get("annotations") or {})]
    page = await serve.page()
    row = f'llm_autoscaler_kube_writes_total{{namespace="{one.namespace}",outcome="written",writer="podDeletionCost"}}'
    one.note("5 -> 3, the two oldest empty: removed", sorted(oldest))
    one.note("pods written to", next(line.split()[-1] for line in page.splitlines() if line.startswith(row)))
    assert f"{row} 2.0" in page


@needs_helm
async def test_with_all_writers_on_under_the_charts_rights_events_tell_steps_fights_and_what_is_missing(
    one: World,
) -> None:
    on: dict[str, Any] = {toggle: {"enabled": True} for toggle in TOGGLES}
    role, config = await install_rights(one, **on)
    serve = await one.serve(cluster=one.cluster(kubeconfig=config, whole=True, writers=WRITERS))
    await one.api.apply(deployment(one.namespace, "fought", 1))
    await one.api.apply(_hpa(one.namespace, "fought"))
    chat = await attached(one, serve, "chat", 1)
    await one.attach_without_waiting("fought", serve, advanced=None, triggers=trigger(serve))
    await until("KEDA and the HPA have read us", serve.was_read, 60)
    await serve.wake(one.namespace, "chat", 12, ttl_s=LONG_S)
    await chat.until(12, 30)

    async def steps() -> bool:
        found = await described(one, "chat")
        return "ScaledUp" in found and "MissingKind" in found

    await until("steps, and the CRD that is missing", steps, 60)
    found = await described(one, "chat")
    assert "-> 12 replicas asked" in found["ScaledUp"]
    assert "capacityBuffer is off" in found["MissingKind"]
    assert "orbidden" not in serve.log()

    async def fights() -> bool:
        return "SecondScaler" in await described(one, "fought")

    await until("the fight", fights, 60)
    assert "Fix:" in (await described(one, "fought"))["SecondScaler"]
    assert not {"ScaledUp", "ScaledDown"} & (await described(one, "fought")).keys()  # KEDA is refused: nothing is asked
    one.note("Events by reason", sorted({**found, **await described(one, "fought")}))

    # The rule goes while it runs: one line, an Event with the rule, and the HPA goes on by itself.
    without = [
        {**rule, "verbs": [verb for verb in rule["verbs"] if verb != "patch"]} if _of_scale(rule) else rule
        for rule in role["rules"]
    ]
    assert without != role["rules"]
    await one.api.apply({**role, "rules": without})
    await asyncio.sleep(2)
    since_s = one.clock.now()
    await serve.wake(one.namespace, "chat", 13, ttl_s=LONG_S)

    async def missing() -> str:
        return (await described(one, "chat")).get("MissingRule", "")

    assert "deployments/scale" in await until("the rule that is missing", missing, 60)
    await throughout("thirteen came, or fewer", lambda: chat.count == 12, 10)
    await serve.wake(one.namespace, "chat", 16, ttl_s=LONG_S)
    await chat.until(16, 60 + 2 * one.hpa_sync_s)
    assert written(one, chat)[-1] == ("hpa", 16)
    said = [line for line in serve.said("cannot write") if line["writer"] == "fastPath"]
    assert len(said) == 1
    assert not chat.below(12, since_s)


def _of_scale(rule: Object) -> bool:
    return any(resource.endswith("/scale") for resource in rule["resources"])


def _hpa(namespace: str, name: str) -> Object:
    """A second scaler of a Deployment."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "mine", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
                }
            ],
        },
    }


async def test_a_buffer_for_what_is_not_there_yet_is_made_let_go_and_goes_with_its_scaled_object(one: World) -> None:
    """By server-side apply, and the garbage collector; nobody makes nodes here."""
    definition = _buffers()
    await one.api.apply(definition)
    one.stack.push_async_callback(one.api.delete, await one.api.path(definition))
    path = f"/apis/autoscaling.x-k8s.io/v1beta1/namespaces/{one.namespace}/capacitybuffers"
    await until("the kind is served", lambda: one.api.get(path), 30)
    serve = await one.serve(cluster=one.cluster(writers=("--capacity-buffer",)))
    chat = await attached(one, serve, "chat", 1)
    await serve.wake(one.namespace, "chat", 6, ttl_s=LONG_S)

    async def size() -> int | None:
        found = (await one.api.get(path))["items"]
        return int(found[0]["spec"]["replicas"]) if found else None

    first = await until("a buffer", size, 30, every_s=0.05)
    assert first == 5  # six are asked for, and one is there until the HPA's sync
    await chat.until(6, 60 + 3 * one.hpa_sync_s)

    async def empty() -> bool:
        return await size() == 0

    await until("it lets its nodes go", empty, 120)
    (buffer,) = (await one.api.get(path))["items"]
    assert {entry["manager"] for entry in buffer["metadata"]["managedFields"]} == {"llm-autoscaler"}
    await one.detach()

    async def gone() -> bool:
        return await size() is None

    await until("it is collected", gone, 60)


def _buffers() -> Object:
    """A CapacityBuffer's definition with the fields that are written; cluster-autoscaler's has more."""
    text = {"type": "string"}
    reference = {"type": "object", "properties": {"apiGroup": text, "kind": text, "name": text}}
    fields = {"provisioningStrategy": text, "scalableRef": reference, "replicas": {"type": "integer", "minimum": 0}}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "capacitybuffers", "singular": "capacitybuffer", "kind": "CapacityBuffer"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        # The annotation is what the server asks for in every group of *.k8s.io.
        "metadata": {
            "name": "capacitybuffers.autoscaling.x-k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {"group": "autoscaling.x-k8s.io", "scope": "Namespaced", "names": names, "versions": [version]},
    }
