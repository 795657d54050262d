"""What the tests of writers share: a Deployment under a ScaledObject of ours, decisions, and who owns."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from autoscaler.clock import LoopClock
from autoscaler.core.records import Decision, Mode, Reason, RoleDecision, ServiceId, TargetId
from autoscaler.kube.meaning.objects import ObjectSet, Reading
from autoscaler.kube.meaning.resolve import Target, resolve
from autoscaler.kube.resources import DEPLOYMENTS, SCALED_OBJECTS
from autoscaler.kube.writing.turns import Turns
from tests.fakes.kube_answers import Write
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.cluster import until

Json = dict[str, Any]
TARGET = TargetId(ServiceId("n", "d"))
NOW_S = 1_800_000_000.0


class Owner:
    """An `Ownership` that is told; `limit` is after how many questions the Lease is lost."""

    def __init__(self, owns: bool = True, limit: int | None = None) -> None:
        self.owns = owns
        self.limit = limit
        self.asked = 0

    def is_owner(self) -> bool:
        self.asked += 1
        return self.owns and (self.limit is None or self.asked <= self.limit)

    def owner(self) -> str | None:
        return None

    def look(self) -> None:
        pass

    def others_may_own(self) -> bool:
        return False


class Settable(LoopClock):
    """The loop's clock, and steps on demand."""

    ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s


class Runs(Protocol):
    async def run(self) -> None: ...


@asynccontextmanager
async def running(writer: Runs) -> AsyncIterator[None]:
    task = asyncio.create_task(writer.run())
    try:
        yield
    finally:
        assert not task.done(), f"the writer ended by itself: {task}"
        task.cancel()
        await asyncio.wait([task])


async def quiet(turns: Turns) -> None:
    """Wait until all that was offered is done."""
    await until(lambda: not turns.busy)


def deployment(replicas: int, status: int | None = None) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n", "uid": "u-d"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "d"}},
            "template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {"containers": [{"name": "c", "image": "vllm"}]},
            },
        },
        "status": {"replicas": replicas if status is None else status},
    }


def scaled_object(**spec: Any) -> Json:
    metadata = {"scalerAddress": "llm-autoscaler.keda:6000"}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "s", "namespace": "n", "uid": "u-s", "annotations": spec.pop("annotations", {})},
        "spec": {
            "scaleTargetRef": {"name": "d"},
            "minReplicaCount": 0,
            "maxReplicaCount": 30,
            "triggers": [{"type": "external-push", "metadata": metadata}],
        }
        | spec,
    }


def behavior(**directions: Json) -> Json:
    return {"advanced": {"horizontalPodAutoscalerConfig": {"behavior": directions}}}


def put(api: FakeKubeApi, *raws: Json) -> None:
    """Store a Deployment or a ScaledObject as somebody else."""
    for raw in raws:
        api.put(DEPLOYMENTS if raw["kind"] == "Deployment" else SCALED_OBJECTS, copy.deepcopy(raw))


def resolved(*raws: Json, **readings: Any) -> tuple[ObjectSet, Target]:
    objects = ObjectSet(raws, readings.get("readings"), Reading.READ)
    return objects, resolve(objects, "n", "s")


def decided(
    replicas: int, *, active: bool = True, mode: Mode = Mode.NORMAL, reasons: tuple[Reason, ...] = ()
) -> Decision:
    return Decision(TARGET.service, NOW_S, mode, active, (RoleDecision("", replicas, reasons),))


def scales(api: FakeKubeApi) -> list[int]:
    """Every write of spec.replicas of a workload that came in, by whatever way, refused ones too."""
    return [write.body["spec"]["replicas"] for write in api.writes if _of_replicas(write)]


def _of_replicas(write: Write) -> bool:
    return write.asked.resource == DEPLOYMENTS and "replicas" in (write.body.get("spec") or {})
