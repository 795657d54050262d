"""The front queue: holds requests while nothing is ready, sends each to the least-loaded replica, loses none."""

from __future__ import annotations

import asyncio
from collections import deque

import aiohttp
from aiohttp import web

from autoscaler.lab.demo_record import Served
from autoscaler.lab.fleet import EmulatedFleet
from autoscaler.lab.server import EmulatedServer
from autoscaler.ports import Clock

# More in one replica only slows its others down; the rest waits here, where a new replica can take it.
MOST_IN_FLIGHT = 100
LOOK_EVERY_S = 0.1


class FrontQueue:
    """Takes requests, forwards them over HTTP; its page is a wake source."""

    def __init__(self, clock: Clock, fleet: EmulatedFleet, namespace: str, service: str, epoch_s: float) -> None:
        self._clock = clock
        self._fleet = fleet
        self._labels = f'namespace="{namespace}",service="{service}"'
        self.epoch_s = epoch_s
        self._held: deque[asyncio.Future[EmulatedServer]] = deque()
        self._sent: dict[EmulatedServer, int] = {}
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._task: asyncio.Task[None] | None = None
        self.arrivals = 0
        self.running = 0
        self.url = ""

    @property
    def held(self) -> int:
        """Requests that wait for a replica."""
        return len(self._held)

    async def start(self) -> None:
        """Serve the page and begin to hand out replicas."""
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        application = web.Application()
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/metrics"
        self._task = asyncio.create_task(self._hand_out())

    async def stop(self) -> None:
        """End; what is held is given up."""
        if self._task is not None:
            self._task.cancel()
        for waiting in self._held:
            waiting.cancel()
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def submit(self, prompt_tokens: int, output_tokens: int) -> Served:
        """Serve one request; it is tried again elsewhere when a replica fails it before its first token."""
        self.arrivals += 1
        arrival_s = self._clock.now()
        held = not self._fleet.ready()
        while True:
            server = await self._replica()
            self._sent[server] = self._sent.get(server, 0) + 1
            self.running += 1
            try:
                first_s, finish_s = await self._forward(server, prompt_tokens, output_tokens)
            except (aiohttp.ClientError, OSError):
                await self._clock.sleep(LOOK_EVERY_S)
                continue
            finally:
                self.running -= 1
                self._sent[server] -= 1
                self._serve_held()
            return Served(
                arrival_s - self.epoch_s, first_s - self.epoch_s, finish_s - self.epoch_s, output_tokens, held
            )

    async def _replica(self) -> EmulatedServer:
        free = None if self._held else self._least_loaded()
        if free is not None:
            return free
        turn: asyncio.Future[EmulatedServer] = asyncio.get_running_loop().create_future()
        self._held.append(turn)
        return await turn

    def _least_loaded(self) -> EmulatedServer | None:
        open_ones = [s for s in self._fleet.ready() if self._sent.get(s, 0) < MOST_IN_FLIGHT]
        return min(open_ones, key=lambda s: self._sent.get(s, 0), default=None)

    def _serve_held(self) -> None:
        given: dict[EmulatedServer, int] = {}
        while self._held:
            open_ones = [s for s in self._fleet.ready() if self._sent.get(s, 0) + given.get(s, 0) < MOST_IN_FLIGHT]
            if not open_ones:
                return
            server = min(open_ones, key=lambda s: self._sent.get(s, 0) + given.get(s, 0))
            given[server] = given.get(server, 0) + 1
            turn = self._held.popleft()
            if not turn.done():
                turn.set_result(server)

    async def _hand_out(self) -> None:
        while True:
            self._serve_held()
            await self._clock.sleep(LOOK_EVERY_S)

    async def _forward(self, server: EmulatedServer, prompt_tokens: int, output_tokens: int) -> tuple[float, float]:
        assert self._session is not None, "start first"  # noqa: S101
        body = {"model": "m", "prompt": "", "prompt_tokens": prompt_tokens, "max_tokens": output_tokens, "stream": True}
        url = f"http://{server.host}:{server.port}/v1/completions"
        async with self._session.post(url, json=body) as response:
            response.raise_for_status()
            first_s, ended = None, False
            async for chunk in response.content.iter_any():
                if first_s is None:
                    first_s = self._clock.now()
                ended = ended or b"[DONE]" in chunk
        if first_s is None or not ended:
            raise aiohttp.ClientPayloadError("the stream broke off")
        return first_s, self._clock.now()

    async def _metrics(self, _: web.Request) -> web.Response:
        text = (
            f"llm_autoscaler_held_requests{{{self._labels}}} {self.held}\n"
            f"llm_autoscaler_arrivals_total{{{self._labels}}} {self.arrivals}\n"
        )
        return web.Response(text=text, content_type="text/plain")
