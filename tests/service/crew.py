"""Several of our replicas in one process: real `Service` objects, real gRPC between them, a model fleet of pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc

from autoscaler.clock import LoopClock
from autoscaler.config.records import ListKind, ReplicaList, ServiceSettings, TargetSettings, TargetsFile
from autoscaler.core.records import Decision, Mode, Observation, RoleSpec, ServiceId, ServiceSpec
from autoscaler.history.memory import MemoryStore
from autoscaler.ports import StateStore
from autoscaler.scaler.server import GrpcSettings
from autoscaler.service import Service, Wiring
from autoscaler.web.server import Views, WebServer
from autoscaler.web.wakes import Wakes
from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc
from tests.fakes.lease import Elector, Lease
from tests.fakes.model_server import ScriptedServer, text, vllm_page
from tests.service.test_serve import free_port

CHAT = ServiceId("default", "chat")
FACTOR = 15.0  # a Lease of 15 s passes in 1 s
ROLE = RoleSpec("", 1, 40, 4, "llama-3.1-70b/a100x4", 2048)
SPEC = ServiceSpec(CHAT, (ROLE,), lead_time_prior_s=60.0, keep_warm_s=20.0)
META = {"scalerAddress": "x:1"}


@dataclass(slots=True)
class Pages:
    """`count` model servers that share a load evenly."""

    clock: LoopClock
    count: int = 4
    rate_rps: float = 12.0
    done: float = 0.0
    at_s: float = 0.0

    def page(self) -> str:
        now = self.clock.now()
        self.done += (now - (self.at_s or now)) * self.rate_rps / self.count
        self.at_s = now
        done = int(self.done)
        running = int(self.rate_rps / self.count * 8)
        return vllm_page(running=running, first_tokens=done, prompt=done * 1200, generated=done * 200, kv=0.3)


class Decisions:
    """Notes who decided when (in the flight recorder's place)."""

    def __init__(self, name: str, clock: LoopClock, notes: list[tuple[float, str]]) -> None:
        self._name, self._clock, self._notes = name, clock, notes

    def begin(self, service: ServiceId, snapshot: bytes | None, at_s: float) -> None:
        pass

    def publish(self, _observation: Observation, _decision: Decision, _took_s: float) -> None:
        self._notes.append((self._clock.now(), self._name))


@dataclass(slots=True)
class One:
    """One of our replicas."""

    name: str
    service: Service
    elector: Elector
    grpc: int
    alive: bool = True

    def decided_at_s(self) -> float:
        """When the decision that it answers with was made; 0 before the first."""
        decision = self.service.board.decision(CHAT)
        return decision.at_s if decision is not None and decision.mode is not Mode.UNKNOWN else 0.0

    async def stop(self) -> None:
        """As SIGTERM ends it: what it knows is handed over, then the Lease is let go."""
        self.alive = False
        await self.service.__aexit__(None, None, None)

    async def kill(self) -> None:
        """As kill -9 ends it, seen from outside: nothing is said any more, and the Lease must run out."""
        self.alive = False
        self.elector.stopped = True
        self.elector.reaches_api = False
        replicas = self.service._replicas
        await self.service._tasks.end()
        for subscription in replicas._open:
            subscription.take()  # nothing is handed over
        replicas._open.clear()
        server = self.service._scaler._server
        assert server is not None
        await server.stop(0)
        await self.service.__aexit__(None, None, None)


@dataclass(slots=True)
class Crew:
    """The replicas, and KEDA's questions to them."""

    clock: LoopClock
    lease: Lease
    pages: Pages
    url: str
    spec: ServiceSpec
    token_file: Path | None = None
    settings: GrpcSettings = field(default_factory=lambda: GrpcSettings("127.0.0.1:0", grace_s=0.2))
    ones: dict[str, One] = field(default_factory=dict)
    answers: list[tuple[float, str, float]] = field(default_factory=list)  # time, replica, N answered
    decisions: list[tuple[float, str]] = field(default_factory=list)  # time, replica

    def file(self) -> TargetsFile:
        urls = tuple(f"{self.url}/r{i}" for i in range(self.pages.count))
        target = TargetSettings("", ReplicaList(ListKind.STATIC, urls), "vllm")
        # 2 s of the wall: the machine is not ten times faster than its clock.
        return TargetsFile((ServiceSettings(self.spec, (target,)),), scrape_timeout_s=2.0 * FACTOR)

    async def start(self, name: str, *, store: StateStore | None = None) -> One:
        port = free_port()
        address = f"127.0.0.1:{port}"
        elector = Elector(self.lease, self.clock, address)
        wiring = Wiring(
            self.clock,
            store or MemoryStore(),
            replace(self.settings, address=address),
            recorder=Decisions(name, self.clock, self.decisions),  # type: ignore[arg-type]
            seed=1,
            ownership=elector,
            address=address,
            wake_token_file=self.token_file,
            release=elector.release,
        )

        def web(views: Views, wakes: Wakes) -> WebServer:
            return WebServer("127.0.0.1", 0, views, wakes, self.clock, self.token_file)

        one = One(name, Service(self.file(), wiring, web), elector, port)
        elector.fit = one.service.fit
        await one.service.__aenter__()
        self.ones[name] = one
        return one

    def owners(self) -> list[str]:
        return [one.name for one in self.ones.values() if one.alive and one.elector.is_owner()]

    async def ask(self, one: One, metadata: dict[str, str] | None = None) -> float | grpc.StatusCode:
        """What KEDA's GetMetrics gets of one replica."""
        ref = pb.ScaledObjectRef(name=CHAT.name, namespace=CHAT.namespace, scalerMetadata={**META, **(metadata or {})})
        request = pb.GetMetricsRequest(scaledObjectRef=ref, metricName="replicas")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{one.grpc}") as channel:
            stub: rpc.ExternalScalerAsyncStub = rpc.ExternalScalerStub(channel)  # type: ignore[assignment]
            try:
                value = (await stub.GetMetrics(request, timeout=5)).metricValues[0].metricValueFloat
            except grpc.aio.AioRpcError as error:
                return error.code()
        self.answers.append((self.clock.now(), one.name, value))
        return value

    async def poll(self, for_s: float, *, by: str | None = None, every_s: float = 1.0) -> None:
        """Ask for a time: every live replica (a headless Service), or one (a ClusterIP pins KEDA's connection)."""
        until_s = self.clock.now() + for_s
        while self.clock.now() < until_s:
            for one in list(self.ones.values()):
                if one.alive and by in (None, one.name):
                    await self.ask(one)
            await self.clock.sleep(every_s)

    async def until(self, true: Callable[[], bool], what: str, within_s: float = 200.0) -> None:
        until_s = self.clock.now() + within_s
        while not true():
            assert self.clock.now() < until_s, f"not within {within_s} s: {what}"
            await self.clock.sleep(0.2)

    async def until_number(self, one: One, within_s: float = 200.0) -> float:
        until_s = self.clock.now() + within_s
        while not isinstance(value := await self.ask(one), float):
            assert self.clock.now() < until_s, f"{one.name} answers {value}"
            await self.clock.sleep(0.5)
        return value

    async def settled(self, *names: str) -> tuple[One, list[One]]:
        """Start replicas, wait until all answer and the answer stands still; gives the owner and the others."""
        for name in names:
            await self.start(name)
        for one in self.ones.values():
            await self.until_number(one)
        await self.poll(60.0)
        (owner,) = self.owners()
        return self.ones[owner], [one for one in self.ones.values() if one.name != owner]

    def counts(self, since_s: float = 0.0) -> set[float]:
        return {count for at_s, _, count in self.answers if at_s >= since_s}


@asynccontextmanager
async def crew(
    *, count: int = 4, rate_rps: float = 12.0, spec: ServiceSpec = SPEC, token_file: Path | None = None
) -> AsyncIterator[Crew]:
    clock = LoopClock(FACTOR)
    pages = Pages(clock, count, rate_rps)
    async with ScriptedServer(lambda: text(pages.page())) as server:
        one = Crew(clock, Lease(), pages, server.url.removesuffix("/metrics"), spec, token_file)
        try:
            yield one
        finally:
            for each in one.ones.values():
                if each.alive:
                    await each.stop()
