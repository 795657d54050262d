"""A cluster of the test's own: the fake API server, pods whose pages are model servers', our replicas, KEDA's calls."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import grpc

from autoscaler.clock import LoopClock
from autoscaler.config.records import TargetsFile
from autoscaler.config.server import WriterSettings
from autoscaler.core.records import ServiceId
from autoscaler.history.memory import MemoryStore
from autoscaler.kube.client import KubeClient
from autoscaler.kube.election import Election
from autoscaler.kube.informer import Pace
from autoscaler.kube.resources import (
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    INFERENCE_SERVICES,
    LLM_INFERENCE_SERVICES,
    PODS,
    SCALED_OBJECTS,
    Resource,
)
from autoscaler.lab.fleet import EmulatedFleet
from autoscaler.scaler.server import GrpcSettings
from autoscaler.service import ClusterWiring, Service, Wiring
from autoscaler.web.server import Views, WebServer
from autoscaler.web.wakes import Wakes
from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc
from tests.fakes.kube_api import FakeKubeApi
from tests.fakes.model_server import ScriptedServer, text
from tests.service.crew import FACTOR, Pages
from tests.service.test_serve import free_port

NAMESPACE = "models"
CHAT = ServiceId(NAMESPACE, "chat")
TRIGGER = {"scalerAddress": "llm-autoscaler.keda.svc:6000", "prior": "llama-3.1-70b/a100x4", "maxBatchedTokens": "2048"}
KINDS = {
    "Deployment": DEPLOYMENTS,
    "HorizontalPodAutoscaler": HORIZONTAL_POD_AUTOSCALERS,
    "InferenceService": INFERENCE_SERVICES,
    "LLMInferenceService": LLM_INFERENCE_SERVICES,
    "Pod": PODS,
    "ScaledObject": SCALED_OBJECTS,
}


def stamp(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def scaled_object(name: str = "chat", **metadata: str) -> dict[str, Any]:
    trigger = {"type": "external-push", "metadata": TRIGGER | metadata}
    spec = {"scaleTargetRef": {"name": name}, "minReplicaCount": 1, "maxReplicaCount": 40, "triggers": [trigger]}
    return {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def deployment(name: str = "chat", replicas: int = 4) -> dict[str, Any]:
    container = {"name": "main", "image": "vllm/vllm-openai:v0.11", "resources": {"limits": {"nvidia.com/gpu": "4"}}}
    labels = {"app": name}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    return {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec, "status": {"replicas": replicas}}


@dataclass(slots=True)
class Replica:
    """One of ours."""

    service: Service
    grpc: int
    user: str
    election: Election | None
    stack: AsyncExitStack
    alive: bool = True

    async def stop(self) -> None:
        """As SIGTERM ends it."""
        if self.alive:
            self.alive = False
            await self.stack.aclose()

    async def kill(self, api: FakeKubeApi) -> None:
        """As kill -9 does, seen from outside: nothing is said and nothing is written any more."""
        api.cut(self.user)
        server = self.service._scaler._server
        assert server is not None
        for subscription in self.service._replicas._open:
            subscription.take()  # nothing is handed over
        await server.stop(0)
        await self.stop()


@dataclass(slots=True)
class World:
    """The cluster and who lives in it."""

    api: FakeKubeApi
    clock: LoopClock
    pages: Pages
    url: str
    ours: list[Replica] = field(default_factory=list)
    answers: list[tuple[float, float | grpc.StatusCode]] = field(default_factory=list)

    def put(self, document: dict[str, Any]) -> None:
        """Write an object that carries its kind."""
        self.api.put(KINDS[document["kind"]], document)

    def pod(
        self,
        number: int,
        app: str = "chat",
        *,
        ready: bool = True,
        created_s: float | None = None,
        ready_s: float | None = None,
        port: int | None = None,
    ) -> None:
        """A pod of a workload; its page is one of the model servers', or at a port of this machine."""
        now = self.clock.now()
        begun_s = now - 3600.0 if created_s is None else created_s
        host, _, own = self.url.removeprefix("http://").rpartition(":")
        is_ready = {"status": "True", "lastTransitionTime": stamp(now if ready_s is None else ready_s)}
        unready = {"status": "False", "lastTransitionTime": stamp(begun_s + 1)}
        container = {
            "name": "main",
            "image": "vllm/vllm-openai:v0.11",
            "ports": [{"containerPort": int(own) if port is None else port, "name": "http"}],
        }
        self.api.put(
            PODS,
            {
                "metadata": {
                    "name": f"{app}-{number}",
                    "namespace": NAMESPACE,
                    "labels": {"app": app},
                    "annotations": {} if port is not None else {"prometheus.io/path": f"/r{number}"},
                    "creationTimestamp": stamp(begun_s),
                },
                "spec": {"nodeName": "n1", "containers": [container]},
                "status": {
                    "phase": "Running",
                    "podIP": host,
                    "conditions": [
                        {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(begun_s + 1)},
                        {"type": "Ready", **(is_ready if ready else unready)},
                    ],
                    "containerStatuses": [{"name": "main", "restartCount": 0, "state": {"running": {}}}],
                },
            },
        )

    def show(self, fleet: EmulatedFleet) -> None:
        """Write what the kubelet and the Deployment's controller would of an emulated fleet."""
        self.api.put(DEPLOYMENTS, deployment(replicas=fleet.spec_replicas))
        for server in fleet.servers:
            ready = server.ready_s is not None
            self.pod(server.port, ready=ready, created_s=server.created_s, ready_s=server.ready_s, port=server.port)
        for server in fleet.past:
            self.api.store.delete(PODS, NAMESPACE, f"chat-{server.port}")

    def fill(self, count: int = 4) -> None:
        """A ScaledObject, its Deployment and pods that serve."""
        self.api.put(SCALED_OBJECTS, scaled_object())
        self.api.put(DEPLOYMENTS, deployment(replicas=count))
        for number in range(count):
            self.pod(number)

    def owners(self) -> list[Replica]:
        """Those of ours that plan."""
        return [each for each in self.ours if each.alive and each.election is not None and each.election.is_owner()]

    async def start(
        self,
        user: str = "scaler",
        *,
        namespaces: tuple[str, ...] = (),
        lease: bool = False,
        file: TargetsFile | None = None,
        writers: WriterSettings | None = None,
    ) -> Replica:
        """One replica of ours."""
        port = free_port()
        address = f"127.0.0.1:{port}"
        stack = AsyncExitStack()
        client = await stack.enter_async_context(KubeClient(self.api.connection(user)))
        wiring = Wiring(
            self.clock,
            MemoryStore(),
            GrpcSettings(address, grace_s=0.2),
            seed=1,
            cluster=ClusterWiring(client, namespaces, Pace(off_s=2.0), writers or WriterSettings()),
        )
        election = None
        if lease:
            rng = random.Random(user)
            election = Election(
                client,
                "keda",
                "llm-autoscaler",
                user,
                address,
                self.clock,
                rng=rng,
                problem=wiring.metrics.lease_problem,
                alone=wiring.metrics.plans_without_lease,
            )
            wiring = replace(wiring, ownership=election, address=address, release=election.release)

        def web(views: Views, wakes: Wakes) -> WebServer:
            return WebServer("127.0.0.1", 0, views, wakes, self.clock, None)

        service = Service(file or TargetsFile((), scrape_timeout_s=2.0 * FACTOR), wiring, web)
        if election is not None:
            election.fit, election.heard_s = service.fit, service.heard_s
            election.start()
        await stack.enter_async_context(service)
        one = Replica(service, port, user, election, stack)
        self.ours.append(one)
        return one

    async def ask(self, one: Replica, name: str = "chat", **metadata: str) -> float | grpc.StatusCode:
        """What KEDA's GetMetrics gets."""
        ref = pb.ScaledObjectRef(name=name, namespace=NAMESPACE, scalerMetadata=TRIGGER | metadata)
        request = pb.GetMetricsRequest(scaledObjectRef=ref, metricName="replicas")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{one.grpc}") as channel:
            stub: rpc.ExternalScalerAsyncStub = rpc.ExternalScalerStub(channel)  # type: ignore[assignment]
            try:
                answer: float | grpc.StatusCode = (
                    (await stub.GetMetrics(request, timeout=5)).metricValues[0].metricValueFloat
                )
            except grpc.aio.AioRpcError as error:
                answer = error.code()
        self.answers.append((self.clock.now(), answer))
        return answer

    async def number(self, one: Replica, name: str = "chat", within_s: float = 80.0) -> float:
        """The first number answered."""
        until_s = self.clock.now() + within_s
        while not isinstance(value := await self.ask(one, name), float):
            assert self.clock.now() < until_s, f"{one.user} answers {value} for {name}"
            await self.clock.sleep(0.5)
        return value

    async def until(self, true: Callable[[], object], what: str, within_s: float = 80.0) -> None:
        """Wait for something, by the clock of the world."""
        until_s = self.clock.now() + within_s
        while not true():
            assert self.clock.now() < until_s, f"not within {within_s} s: {what}"
            await self.clock.sleep(0.2)

    async def poll(self, one: Replica, for_s: float) -> list[float | grpc.StatusCode]:
        """Every answer of a time."""
        since_s = self.clock.now()
        while self.clock.now() < since_s + for_s:
            await self.ask(one)
            await self.clock.sleep(1.0)
        return [answer for at_s, answer in self.answers if at_s >= since_s]


@asynccontextmanager
async def world(*crds: Resource, count: int = 4, rate_rps: float = 12.0) -> AsyncIterator[World]:
    """A cluster with KEDA's ScaledObjects and the CRDs named."""
    clock = LoopClock(FACTOR)
    pages = Pages(clock, count, rate_rps)
    async with FakeKubeApi(SCALED_OBJECTS, *crds) as api, ScriptedServer(lambda: text(pages.page())) as server:
        one = World(api, clock, pages, server.url.removesuffix("/metrics"))
        try:
            yield one
        finally:
            for each in one.ours:
                with contextlib.suppress(asyncio.CancelledError):
                    await each.stop()
