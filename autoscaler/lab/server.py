"""An emulated model server: the HTTP face of one simulated replica, with the page of vLLM or SGLang."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiohttp import web

from autoscaler.lab import pages
from autoscaler.ports import Clock
from autoscaler.simulation import engines as sim
from autoscaler.simulation.replica import advance, enqueue, reset, withdraw

# A first token is told at most this much simulated time late.
TICK_S = 0.05
ROOM = 4096  # requests inside one server


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
        self._engine = sim.new_engines(params)
        self._requests = sim.new_requests(*np.zeros((3, ROOM)))
        self._free = list(range(ROOM))
        self._jobs: dict[int, _Job] = {}
        self._ttft = pages.Buckets(sim.TTFT_BOUNDS)
        self._tpot = pages.Buckets(sim.TPOT_BOUNDS)
        self._finished = 0
        self._runner: web.AppRunner | None = None
        self._pump_task: asyncio.Task[None] | None = None
        self._work = asyncio.Event()
        self.created_s = clock.now()
        self.ready_s: float | None = None
        self.draining = False
        self.ended_s: float | None = None
        self.host, self.port = "127.0.0.1", 0

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
        await web.TCPSite(self._runner, self.host, port, backlog=1024).start()
        self.ready_s = self._clock.now()
        reset(self._engine, 0, self.ready_s)
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
            self._advance()
            await self._clock.sleep(TICK_S)

    def _advance(self) -> None:
        now, requests = self._clock.now(), self._requests
        advance(self._engine, requests, self._params, 0, now)
        # The last step may end after now; told at once, a first token at the end of a long prefill would come early.
        for i, job in list(self._jobs.items()):
            if not job.first.done() and 0.0 <= requests.first_s[i] <= now:
                self._ttft.observe(requests.first_s[i] - job.arrival_s)
                job.first.set_result(requests.first_s[i])
            if 0.0 <= requests.finish_s[i] <= now:
                self._finish(i, job)

    def _finish(self, i: int, job: _Job) -> None:
        finish_s = float(self._requests.finish_s[i])
        self._finished += 1
        if job.output_tokens > 1:
            each_s = (finish_s - float(self._requests.first_s[i])) / (job.output_tokens - 1)
            self._tpot.observe(each_s)
        if not job.done.done():
            job.done.set_result(finish_s)
        self._leave(i)

    def _leave(self, i: int) -> None:
        del self._jobs[i]
        self._free.append(i)

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
        if not self._free:
            return web.json_response({"error": f"{ROOM} requests are inside"}, status=429)
        i, job = self._take(max(1, int(body.get("prompt_tokens") or prompt_tokens)), max(1, int(most)))
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
        except ConnectionResetError:
            pass  # the client went away: nobody is left to tell
        finally:
            if self._jobs.get(i) is job:
                withdraw(self._engine, self._requests, self._params, 0, i)
                self._leave(i)
        return response

    def _take(self, prompt_tokens: int, output_tokens: int) -> tuple[int, _Job]:
        loop, now, requests = asyncio.get_running_loop(), self._clock.now(), self._requests
        i = self._free.pop()
        job = self._jobs[i] = _Job(now, prompt_tokens, output_tokens, loop.create_future(), loop.create_future())
        requests.arrival_s[i], requests.prompt_tokens[i], requests.output_tokens[i] = now, prompt_tokens, output_tokens
        requests.first_s[i] = requests.finish_s[i] = -1.0
        requests.redo_tokens[i] = 0.0
        enqueue(self._engine, requests, self._params, 0, i, now)
        self._work.set()
        return i, job

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self._model, "object": "model"}]})

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=self.page(), content_type="text/plain")

    def page(self) -> str:
        """The metrics page."""
        floats, ints = self._engine.floats[0], self._engine.ints[0]
        waiting = int(ints[sim.WAITING])
        figures = pages.Figures(
            model=self._model,
            running=int(self._engine.load[0]) - waiting,
            waiting=waiting,
            kv_in_use_tokens=float(floats[sim.KV]),
            kv_tokens=self._params.kv_tokens,
            prompt_tokens=int(floats[sim.PROMPT_DONE]),
            generation_tokens=int(floats[sim.GENERATED]),
            preemptions=int(ints[sim.PREEMPTIONS]),
            finished=self._finished,
            ttft=self._ttft,
            itl=pages.Buckets(sim.TPOT_BOUNDS, self._engine.itl[0].tolist(), float(floats[sim.ITL_S])),
            tpot=self._tpot,
        )
        return self._shape(figures)


def _tokens(text: str | list[Any]) -> int:
    """A prompt's size: token ids are counted, text is taken as four characters a token."""
    return len(text) if isinstance(text, list) else len(text) // 4
