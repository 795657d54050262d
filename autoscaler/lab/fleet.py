"""An emulated Deployment: starts and stops emulated replicas, lists them, bills their GPUs."""

from __future__ import annotations

import asyncio
import random
import socket

from aiohttp import web

from autoscaler.lab.server import EmulatedServer
from autoscaler.ports import Clock
from autoscaler.simulation.engines import Params


class EmulatedFleet:
    """Replicas on loopback ports; `scale_to` is the `/scale` subresource."""

    def __init__(
        self, clock: Clock, params: Params, gpus_per_replica: int, start_s: float, jitter: float, rng: random.Random
    ) -> None:
        self._clock = clock
        self._params = params
        self._gpus = gpus_per_replica
        self._start_s = start_s
        self._jitter = jitter
        self._rng = rng
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: dict[EmulatedServer, asyncio.Task[None]] = {}
        self._runner: web.AppRunner | None = None
        self.servers: list[EmulatedServer] = []  # wanted ones: loading or serving
        self.past: list[EmulatedServer] = []  # draining or ended
        self.spec_replicas = 0
        self.list_url = ""

    async def start(self) -> None:
        """Publish the list of replicas over HTTP, in Prometheus' http_sd shape."""
        application = web.Application()
        application.router.add_get("/replicas", self._list)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.list_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/replicas"

    async def stop(self) -> None:
        """End everything at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in (*self.servers, *self.past):
            if server.ended_s is None:
                await server.kill()
        if self._runner is not None:
            await self._runner.cleanup()

    def status_replicas(self) -> int:
        """Replicas that exist for the HPA, ready or not."""
        return len(self.servers)

    def ready(self) -> list[EmulatedServer]:
        """Replicas that serve."""
        return [server for server in self.servers if server.ready_s is not None]

    def scale_to(self, count: int) -> None:
        """Want `count` replicas from now on; those not ready go first, then the emptiest."""
        self.spec_replicas = count
        while len(self.servers) < count:
            self._add()
        while len(self.servers) > count:
            self._drop(min(self.servers, key=lambda s: (s.ready_s is not None, s.in_flight)))

    def gpu_seconds(self, from_s: float, until_s: float) -> float:
        """GPU-seconds held between two times: loading and draining included."""
        held = 0.0
        for server in (*self.servers, *self.past):
            end_s = min(until_s, server.ended_s if server.ended_s is not None else until_s)
            held += max(0.0, end_s - max(from_s, server.created_s))
        return held * self._gpus

    def _add(self) -> None:
        start_s = self._start_s * (1 + self._rng.uniform(-self._jitter, self._jitter))
        server = EmulatedServer(self._clock, self._params, start_s)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server.port = port
        self.servers.append(server)
        self._starting[server] = self._run(server.start(port))

    def _drop(self, server: EmulatedServer) -> None:
        self.servers.remove(server)
        self.past.append(server)
        if server.ready_s is None:
            self._starting[server].cancel()
            server.ended_s = self._clock.now()
        else:
            server.draining = True
            self._run(server.stop())

    def _run(self, coroutine: object) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response(
            [
                {"targets": [f"127.0.0.1:{s.port}"], "labels": {"__meta_created_at_s": str(s.created_s)}}
                for s in self.servers
            ]
        )
