"""One test's world: a namespace of its own on the shared control plane, its pods, and our service."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autoscaler.clock import LoopClock
from autoscaler.lab.demo_record import Served
from autoscaler.lab.gateway import FrontQueue
from tests.e2e.api import Api, Object
from tests.e2e.controlplane import ControlPlane
from tests.e2e.fleet import Fleet
from tests.e2e.keda import Keda
from tests.e2e.kubelet import Kubelet
from tests.e2e.manifests import deployment, scaled_object, service
from tests.e2e.replicas import Replicas
from tests.e2e.scaler import Cluster, Serve
from tests.e2e.waiting import until

START_S = 1.0
_numbers = itertools.count(1)


@dataclass(slots=True)
class World:
    """What a test works with."""

    namespace: str
    plane: ControlPlane
    api: Api
    keda: Keda
    hpa_sync_s: float
    clock: LoopClock
    fleet: Fleet
    folder: Path
    note: Callable[[str, object], None]  # keeps a figure for the report
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    serves: list[Serve] = field(default_factory=list)

    def settings(self, name: str, listed: str = "", **settings: Any) -> Object:
        """A service of the targets file for a Deployment of the same name, or the one `listed`."""
        return service(self.namespace, name, f"{self.fleet.url}/{listed or name}", **settings)

    def cluster(self, **changes: Any) -> Cluster:
        """This namespace, as the admin sees it."""
        return replace(Cluster(self.plane.kubeconfig, self.namespace), **changes)

    async def serve(self, *services: Object, **options: Any) -> Serve:
        """Our service, running; `options` are those of `prepare`."""
        one = self.prepare(*services, **options)
        await one.start()
        return one

    def prepare(
        self,
        *services: Object,
        wake_sources: Sequence[Object] = (),
        host: str = "127.0.0.1",
        port: int | None = None,
        cluster: Cluster | None = None,
    ) -> Serve:
        """Our service, to be started."""
        folder = self.folder / f"serve{len(self.serves)}"
        one = Serve(folder, services, wake_sources, host=host, port=port, cluster=cluster)
        self.serves.append(one)
        return one

    async def deploy(self, name: str, replicas: int) -> Replicas:
        """A Deployment, followed; with its replicas ready."""
        await self.api.apply(deployment(self.namespace, name, replicas))
        followed = await self.follow(name)
        await until(f"{name} is there", lambda: followed.exists, 10)
        if replicas:
            await followed.until_ready(replicas, 30)
        return followed

    async def follow(self, name: str) -> Replicas:
        """Every write of a Deployment's count from now on."""
        return await self.stack.enter_async_context(Replicas(self.api, self.namespace, name))

    async def attach(self, name: str, serve: Serve, address: str = "", **changes: Any) -> Object:
        """The README's ScaledObject on a Deployment; returns when KEDA has made its HPA."""
        one = scaled_object(self.namespace, name, address or serve.address, **changes)
        return await self.attach_object(one)

    async def attach_object(self, one: Object) -> Object:
        """Apply a ScaledObject and wait until KEDA has taken it up."""
        await self.api.apply(one)
        await until(f"KEDA has taken up {one['metadata']['name']}", lambda: self._taken_up(one), 60)
        return one

    async def attach_without_waiting(self, name: str, serve: Serve, **changes: Any) -> None:
        """The README's ScaledObject on a Deployment, while KEDA may find nobody behind its trigger."""
        await self.api.apply(scaled_object(self.namespace, name, serve.address, **changes))

    async def detach(self) -> None:
        """Delete every ScaledObject, and wait until KEDA has let go of them."""
        scaled = f"/apis/keda.sh/v1alpha1/namespaces/{self.namespace}/scaledobjects"
        await self.api.delete(scaled)

        async def gone() -> bool:
            return not (await self.api.get(scaled))["items"]

        await until("KEDA lets go of the ScaledObjects", gone, 60)

    async def _taken_up(self, one: Object) -> bool:
        stored = await self.api.get(await self.api.path(one))
        return bool(stored.get("status", {}).get("externalMetricNames"))

    async def gateway(self, name: str) -> tuple[FrontQueue, Object]:
        """A gateway that holds requests while nothing serves, and what the targets file says of it."""
        queue = FrontQueue(self.clock, self.fleet.of(name), self.namespace, name, self.clock.now())  # type: ignore[arg-type]
        await queue.start()
        self.stack.push_async_callback(queue.stop)
        return queue, {"name": "gateway", "url": queue.url, "kind": "llm-autoscaler"}


@dataclass(slots=True)
class Load:
    """An open loop of requests."""

    sent: list[asyncio.Task[Served]] = field(default_factory=list)

    def lost(self) -> int:
        """Requests that failed."""
        return sum(1 for task in self.sent if task.done() and (task.cancelled() or task.exception() is not None))

    async def finish(self, within_s: float) -> int:
        """Waits for every request; gives how many were served."""
        async with asyncio.timeout(within_s):
            await asyncio.gather(*self.sent, return_exceptions=True)
        return len(self.sent) - self.lost()


@asynccontextmanager
async def load(queue: FrontQueue, rps: float) -> AsyncIterator[Load]:
    """Requests at a steady mean rate, whatever the answers, until the block ends."""
    rng, one = random.Random(3), Load()

    async def run() -> None:
        while True:
            one.sent.append(asyncio.create_task(queue.submit(1200, 200)))
            await asyncio.sleep(rng.expovariate(rps))

    task = asyncio.create_task(run())
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def world(
    plane: ControlPlane, keda: Keda, hpa_sync_s: float, folder: Path, note: Callable[[str, object], None]
) -> AsyncIterator[World]:
    """A namespace with a stand-in kubelet; everything in it goes away with it."""
    clock, namespace = LoopClock(), f"e2e-{next(_numbers)}"
    keda.ensure_operator()
    async with Api(plane.admin) as api, Fleet(clock, START_S) as fleet:
        await api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
        await until("the namespace has its service account", lambda: api.get(account), 30)
        one = World(namespace, plane, api, keda, hpa_sync_s, clock, fleet, folder, note)
        async with Kubelet(api, namespace, fleet.run):
            try:
                async with one.stack:
                    yield one
            finally:
                # Scaled objects first, while KEDA and our service live: KEDA takes its finalizer off.
                keda.ensure_operator()
                await one.detach()
                await api.delete(f"/api/v1/namespaces/{namespace}")
                for serve in one.serves:
                    serve.stop()
