"""Emulated model servers as pods: one for every pod that the cluster makes, each on a loopback address of its own.

Servers are told apart by the Deployment whose pod they stand for, so that any manifest may be used as it is.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from dataclasses import dataclass, field

from aiohttp import web

from autoscaler.lab.server import EmulatedServer
from autoscaler.ports import Clock
from autoscaler.simulation.engines import LLAMA_70B_A100X4
from tests.e2e.api import Object

PORT = 8000
# 127/8 is all loopback: a pod has an address of its own and the port its template names, as in a cluster.
_addresses = (f"127.{20 + os.getpid() % 200}.{n >> 8}.{n & 255}" for n in itertools.count(1))


@dataclass(slots=True)
class ServerPod:
    """One emulated server for one pod (a `kubelet.Running`)."""

    server: EmulatedServer
    deployment: str
    ip: str
    start: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Load, then serve."""
        self.start = asyncio.create_task(self.server.start(PORT))
        await self.start

    async def stop(self) -> None:
        """Drain, or stop loading."""
        if self.server.ready_s is None:
            if self.start is not None:
                self.start.cancel()
            self.server.ended_s = self.server.created_s
        elif self.server.ended_s is None:
            await self.server.stop()


@dataclass(slots=True)
class Fleet:
    """The servers of a namespace, listed per Deployment in Prometheus' http_sd shape."""

    clock: Clock
    start_s: float
    pods: list[ServerPod] = field(default_factory=list)
    url: str = ""
    _rng: random.Random = field(default_factory=lambda: random.Random(1))
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Fleet:
        application = web.Application()
        application.router.add_get("/{deployment}", self._list)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def run(self, pod: Object) -> ServerPod:
        """A server for a pod (a `kubelet.Runtime`)."""
        start_s = self.start_s * self._rng.uniform(0.9, 1.1)
        one = ServerPod(EmulatedServer(self.clock, LLAMA_70B_A100X4, start_s), _deployment(pod), next(_addresses))
        one.server.host = one.ip
        self.pods.append(one)
        return one

    def of(self, deployment: str) -> Servers:
        """One Deployment's servers, as the front queue wants them."""
        return Servers(self, deployment)

    async def _list(self, request: web.Request) -> web.Response:
        deployment = request.match_info["deployment"]
        return web.json_response(
            [
                {"targets": [f"{pod.ip}:{PORT}"], "labels": {"__meta_created_at_s": str(pod.server.created_s)}}
                for pod in self.pods
                if pod.deployment == deployment and pod.server.ended_s is None and not pod.server.draining
            ]
        )


@dataclass(frozen=True, slots=True)
class Servers:
    """The part of a fleet that stands for one Deployment."""

    fleet: Fleet
    deployment: str

    def ready(self) -> list[EmulatedServer]:
        """Servers that serve."""
        servers = (pod.server for pod in self.fleet.pods if pod.deployment == self.deployment)
        return [one for one in servers if one.ready_s is not None and not one.draining and one.ended_s is None]


def _deployment(pod: Object) -> str:
    """By its ReplicaSet, which is named after the Deployment and a hash."""
    return str(pod["metadata"]["ownerReferences"][0]["name"]).rsplit("-", 1)[0]
