"""An emulated model server: the HTTP face of one simulated replica, with the page of vLLM or SGLang."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from autoscaler.lab import pages
from autoscaler.ports import Clock
from autoscaler.simulation import replica as sim

# A first token is told at most this much simulated time late.
TICK_S = 0.05


@dataclass(slots=True)
class _Job:
    """One request inside the server."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    first: asyncio.Future[float]
    done: asyncio.Future[float]


class EmulatedServer:
    """One replica: loads for `start_s` (nothing listens), serves, drains."""

    def __init__(
        self, clock: Clock, params: sim.Params, start_s: float, *, model: str = "emulated-70b", shape: str = "vllm"
    ) -> None:
        self._clock = clock
        self._params = params
        self._start_s = start_s
        self._model = model
        self._shape = pages.SHAPES[shape]
        self._replica = sim.new_replica()
        self._jobs: dict[int, _Job] = {}
        self._coming: deque[tuple[float, float, float]] = deque()  # events of the simulation: id, kind, time
        self._serial = 0
        self._ttft = pages.Buckets(pages.TTFT_BOUNDS)
        self._tpot, self._itl = pages.Buckets(pages.TPOT_BOUNDS), pages.Buckets(pages.TPOT_BOUNDS)
        self._finished = 0
        self._runner: web.AppRunner | None = None
        self._pump_task: asyncio.Task[None] | None = None
        self._work = asyncio.Event()
        self.created_s = clock.now()
        self.ready_s: float | None = None
        self.draining = False
        self.ended_s: float | None = None
        self.port = 0

    @property
    def in_flight(self) -> int:
        """Requests inside."""
        return len(self._jobs)

    async def start(self, port: int) -> None:
        """Load, then listen on a port that was reserved for it."""
        self.port = port
        await self._clock.sleep(self._start_s)
        application = web.Application(client_max_size=2**20)
        application.add_routes(
            [
                web.post("/v1/completions", self._completions),
                web.post("/v1/chat/completions", self._chat),
                web.get("/metrics", self._metrics),
                web.get("/health", self._health),
                web.get("/v1/models", self._models),
            ]
        )
        self._runner = web.AppRunner(
            application, access_log=None, handle_signals=False, shutdown_timeout=0.5, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, backlog=1024).start()
        self._replica.now[0] = self._clock.now()
        self.ready_s = self._clock.now()
        self._pump_task = asyncio.create_task(self._pump())

    async def stop(self) -> None:
        """Finish what is inside, refuse what comes, end."""
        self.draining = True
        while self._jobs:
            await self._clock.sleep(TICK_S)
        await self.kill()

    async def kill(self) -> None:
        """End at once."""
        if self._pump_task is not None:
            self._pump_task.cancel()
        for job in self._jobs.values():
            job.first.cancel()
            job.done.cancel()
        await asyncio.sleep(0)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.ended_s = self._clock.now()

    async def _pump(self) -> None:
        while True:
            if not self._jobs:
                self._work.clear()
                await self._work.wait()
                self._replica.now[0] = max(self._replica.now[0], self._clock.now() - TICK_S)
            self._advance()
            await self._clock.sleep(TICK_S)

    def _advance(self) -> None:
        replica, now = self._replica, self._clock.now()
        while replica.now[0] < now:
            sim.step(replica, self._params, now)
            self._coming.extend(tuple(event) for event in replica.events[: replica.counts[sim.EVENTS]].tolist())
            replica.counts[sim.EVENTS] = 0
        # The last step may end after now; told at once, a first token at the end of a long prefill would come early.
        while self._coming and self._coming[0][2] <= now:
            request_id, kind, at_s = self._coming.popleft()
            self._tell(int(request_id), kind == sim.FIRST_TOKEN, at_s)

    def _tell(self, request_id: int, first: bool, at_s: float) -> None:
        job = self._jobs.get(request_id)
        if job is None:
            return
        if first:
            self._ttft.observe(at_s - job.arrival_s)
            if not job.first.done():
                job.first.set_result(at_s)
            return
        self._finished += 1
        if job.output_tokens > 1 and job.first.done():
            each_s = (at_s - job.first.result()) / (job.output_tokens - 1)
            self._tpot.observe(each_s)
            self._itl.observe(each_s, job.output_tokens - 1)
        if not job.done.done():
            job.done.set_result(at_s)
        del self._jobs[request_id]

    # --- HTTP --------------------------------------------------------------------------------------------------------

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        return await self._serve(request, body, _tokens(body.get("prompt", "")), {"text": "a"})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt_tokens = sum(_tokens(message.get("content") or "") for message in body.get("messages", []))
        return await self._serve(request, body, prompt_tokens, {"index": 0, "delta": {"content": "a"}})

    async def _serve(
        self, request: web.Request, body: dict[str, Any], prompt_tokens: int, choice: dict[str, Any]
    ) -> web.StreamResponse:
        """Stream the first token when it is made, and the rest in one event at the end.

        `prompt_tokens` in the body stands in for a prompt of that size, so that none has to be sent.
        """
        if self.draining:
            return web.json_response({"error": "draining"}, status=503)
        most = body.get("max_completion_tokens") or body.get("max_tokens") or 16
        job_id, job = self._take(max(1, int(body.get("prompt_tokens") or prompt_tokens)), max(1, int(most)))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await job.first
            await response.prepare(request)
            await response.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
            await job.done
            usage = {"prompt_tokens": job.prompt_tokens, "completion_tokens": job.output_tokens}
            last = json.dumps({"choices": [{**choice, "finish_reason": "length"}], "usage": usage})
            await response.write(f"data: {last}\n\ndata: [DONE]\n\n".encode())
            await response.write_eof()
        finally:
            if self._jobs.pop(job_id, None) is not None:
                sim.remove(self._replica, float(job_id))
        return response

    def _take(self, prompt_tokens: int, output_tokens: int) -> tuple[int, _Job]:
        loop = asyncio.get_running_loop()
        self._serial += 1
        job = _Job(self._clock.now(), prompt_tokens, output_tokens, loop.create_future(), loop.create_future())
        self._jobs[self._serial] = job
        sim.add(self._replica, float(self._serial), prompt_tokens, output_tokens)
        self._work.set()
        return self._serial, job

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self._model, "object": "model"}]})

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=self.page(), content_type="text/plain")

    def page(self) -> str:
        """The metrics page."""
        counts = self._replica.counts
        running, total = int(counts[sim.RUNNING]), int(counts[sim.TOTAL])
        figures = pages.Figures(
            model=self._model,
            running=running,
            waiting=total - running,
            kv_in_use_tokens=sim.kv_in_use(self._replica),
            kv_tokens=self._params.kv_tokens,
            prompt_tokens=int(counts[sim.PROMPT_DONE]),
            generation_tokens=int(counts[sim.GENERATED_DONE]),
            preemptions=int(counts[sim.PREEMPTIONS]),
            finished=self._finished,
            ttft=self._ttft,
            itl=self._itl,
            tpot=self._tpot,
        )
        return self._shape(figures)


def _tokens(text: str | list[Any]) -> int:
    """A prompt's size: token ids are counted, text is taken as four characters a token."""
    return len(text) if isinstance(text, list) else len(text) // 4
