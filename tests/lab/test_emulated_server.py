"""The emulated model server over real sockets: start-up, streaming, pages that our own profiles read, drain, kill."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from autoscaler.clock import LoopClock
from autoscaler.exposition import SeriesCache, read_page
from autoscaler.lab.fleet import EmulatedFleet
from autoscaler.lab.gateway import FrontQueue
from autoscaler.lab.server import EmulatedServer
from autoscaler.modelservers import WANTED, read_sample
from autoscaler.simulation.engines import LLAMA_70B_A100X4 as MODEL
from tests.service.test_serve import free_port

FACTOR = 20.0


@asynccontextmanager
async def emulated(shape: str = "vllm", start_s: float = 0.0) -> AsyncIterator[tuple[EmulatedServer, str]]:
    server = EmulatedServer(LoopClock(FACTOR), MODEL, start_s, shape=shape)
    port = free_port()
    await server.start(port)
    try:
        yield server, f"http://127.0.0.1:{port}"
    finally:
        await server.kill()


async def complete(root: str, path: str = "/v1/completions", **body: Any) -> tuple[list[float], list[dict[str, Any]]]:
    """Loop times and contents of the events of one streamed completion."""
    times, events = [], []
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as session, session.post(f"{root}{path}", json=body) as answer:
        assert answer.status == 200
        async for line in answer.content:
            if line.startswith(b"data: {"):
                times.append(loop.time())
                events.append(json.loads(line[6:]))
    return times, events


async def test_nothing_listens_while_it_loads() -> None:
    clock = LoopClock(FACTOR)
    server = EmulatedServer(clock, MODEL, 5.0)
    port = free_port()
    starting = asyncio.create_task(server.start(port))
    await clock.sleep(1.0)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://127.0.0.1:{port}/health")
        await starting
        async with session.get(f"http://127.0.0.1:{port}/health") as answer:
            assert answer.status == 200
    await server.kill()


async def test_the_first_token_comes_when_it_is_made_and_the_rest_at_the_pace_of_the_model() -> None:
    async with emulated() as (_, root):
        times, events = await complete(root, prompt_tokens=100, max_tokens=101, stream=True)
        each_s = (times[-1] - times[0]) * FACTOR / 100
        alone_s = MODEL.base_s + MODEL.sequence_s + MODEL.kv_token_s * 150
        # Told on a tick of 50 ms at either end: 1 ms a token here.
        assert each_s == pytest.approx(alone_s, abs=0.004)
        assert events[-1]["usage"] == {"prompt_tokens": 100, "completion_tokens": 101}


async def test_a_long_prefill_is_not_told_before_it_ends() -> None:
    # 16,000 prompt tokens take 2.8 s in chunks of 2,048; told at the start of its last step it came 0.35 s early.
    async with emulated() as (_, root):
        began_s = asyncio.get_running_loop().time()
        times, _ = await complete(root, prompt_tokens=16_000, max_tokens=2)
        prefill_s = MODEL.prompt_token_s * 16_000 + MODEL.base_s * 8
        assert (times[0] - began_s) * FACTOR >= prefill_s


async def test_chat_counts_its_messages() -> None:
    async with emulated() as (_, root):
        messages = [{"role": "system", "content": "x" * 400}, {"role": "user", "content": "y" * 40}]
        _, events = await complete(root, "/v1/chat/completions", messages=messages, max_completion_tokens=3)
        assert events[0]["choices"][0]["delta"]["content"]
        assert events[-1]["usage"] == {"prompt_tokens": 110, "completion_tokens": 3}


@pytest.mark.parametrize("shape", ["vllm", "sglang"])
async def test_its_page_reads_as_the_real_servers_does(shape: str) -> None:
    async with emulated(shape) as (_, root):
        await asyncio.gather(*(complete(root, prompt_tokens=50, max_tokens=11) for _ in range(4)))
        async with aiohttp.ClientSession() as session, session.get(f"{root}/metrics") as answer:
            text = await answer.text()
    sample = read_sample(read_page(text, SeriesCache(WANTED)), "auto", 1.0)
    assert sample.server == shape
    assert (sample.running, sample.waiting, sample.arrivals_counter) == (0, 0, 4)
    assert (sample.prompt_tokens, sample.generation_tokens) == (200, 44)
    assert sample.kv_capacity_tokens == MODEL.kv_tokens
    assert sample.ttft is not None
    assert sample.ttft.counts[-1] == 4
    assert sample.itl is not None
    assert sample.itl.counts[-1] == 40


async def test_a_draining_server_finishes_what_it_has_and_takes_nothing_new() -> None:
    async with emulated() as (server, root):
        running = asyncio.create_task(complete(root, prompt_tokens=10, max_tokens=100))
        while not server.in_flight:
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0.02)
        async with aiohttp.ClientSession() as session, session.post(f"{root}/v1/completions", json={}) as answer:
            assert answer.status == 503
        _, events = await running
        assert events[-1]["usage"]["completion_tokens"] == 100
        await stopping
        assert server.ended_s is not None


async def test_a_client_that_goes_away_frees_its_place() -> None:
    async with emulated() as (server, root):
        running = asyncio.create_task(complete(root, prompt_tokens=10, max_tokens=100_000))
        while not server.in_flight:
            await asyncio.sleep(0.01)
        running.cancel()
        async with asyncio.timeout(5):
            while server.in_flight:
                await asyncio.sleep(0.01)


async def test_no_request_is_lost_when_a_replica_is_killed_or_drained_under_load() -> None:
    clock = LoopClock(FACTOR)
    fleet = EmulatedFleet(clock, MODEL, 4, 2.0, 0.2, random.Random(1))
    queue = FrontQueue(clock, fleet, "default", "chat", clock.now())
    await fleet.start()
    await queue.start()
    fleet.scale_to(3)
    requests = [asyncio.create_task(queue.submit(300, 60)) for _ in range(60)]
    while len(fleet.ready()) < 3:
        await asyncio.sleep(0.01)
    await clock.sleep(0.5)
    victim = fleet.ready()[0]
    assert victim.in_flight
    fleet.servers.remove(victim)
    fleet.past.append(victim)
    await victim.kill()
    fleet.scale_to(1)
    served = await asyncio.wait_for(asyncio.gather(*requests), 30)
    assert all(one.finish_s is not None for one in served)
    assert queue.held == queue.running == 0
    await queue.stop()
    await fleet.stop()
