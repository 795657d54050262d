"""kill -9 of `autoscaler serve` under load, with a caller that does what KEDA and the HPA do; wall clock."""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from autoscaler.clock import LoopClock
from autoscaler.lab.fleet import EmulatedFleet
from autoscaler.lab.gateway import FrontQueue
from autoscaler.lab.keda import KedaCaller, ScaledObject
from autoscaler.simulation.engines import LLAMA_70B_A100X4
from autoscaler.simulation.hpa import exact
from tests.service.test_serve import free_port

START_S = 0.5
MOST = 3  # below what the load needs, so that fewer is never right
PRIOR_LEAD_S = 500.0  # far from the truth, so that what was learned shows


@dataclass(slots=True)
class World:
    """A fleet under load, a front queue, and KEDA on a scaler that the test starts and kills."""

    clock: LoopClock
    fleet: EmulatedFleet
    queue: FrontQueue
    grpc: int
    http: int
    folder: Path
    steps: list[tuple[float, int, int]] = field(default_factory=list)

    def stepped(self, before: int, after: int, _by: str) -> None:
        self.steps.append((self.clock.now(), before, after))

    async def serve(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from autoscaler.cli import main; main()", "serve"),
            *("--targets", str(self.folder / "targets.yaml"), "--log-level", "error"),
            *("--grpc", f"127.0.0.1:{self.grpc}", "--http", f"127.0.0.1:{self.http}"),
            *("--state-dir", str(self.folder / "state")),
        )

    async def lead_time_s(self) -> float:
        """As `/v1/services` tells; waits until something was decided."""
        async with asyncio.timeout(25), aiohttp.ClientSession() as session:
            while True:
                with suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{self.http}/v1/services/default/chat") as answer:
                        decision = await answer.json()
                    if decision and decision.get("estimates"):
                        return float(decision["estimates"][0]["lead_time_s"])
                await asyncio.sleep(0.05)

    async def until_saved(self) -> None:
        """Waits until the state file holds a start-up: a decision is published before it is saved."""
        async with asyncio.timeout(15):
            while not self._has_saved_a_start():
                await asyncio.sleep(0.05)

    def _has_saved_a_start(self) -> bool:
        with closing(sqlite3.connect(self.folder / "state" / "state.sqlite", timeout=5)) as connection:
            rows = connection.execute("SELECT snapshot FROM snapshots").fetchall()
        return any(re.search(rb'"starts_s":\[[0-9]', snapshot) for (snapshot,) in rows)

    async def until_replicas(self, least: int) -> None:
        async with asyncio.timeout(25):
            while len(self.fleet.ready()) < least:
                await asyncio.sleep(0.05)

    async def load(self, rps: float) -> None:
        rng, running = random.Random(3), set[asyncio.Task[object]]()
        while True:
            task: asyncio.Task[object] = asyncio.create_task(self.queue.submit(1200, 200))
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(rng.expovariate(rps))


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    clock = LoopClock()
    fleet = EmulatedFleet(clock, LLAMA_70B_A100X4, 4, START_S, 0.1, random.Random(1))
    queue = FrontQueue(clock, fleet, "default", "chat", clock.now())
    one = World(clock, fleet, queue, free_port(), free_port(), folder)
    await fleet.start()
    await queue.start()
    service = {
        "name": "chat",
        "maxReplicas": MOST,
        "leadTimeSeconds": PRIOR_LEAD_S,
        "prior": "llama-3.1-70b/a100x4",
        "wakeSource": "gateway",
        "replicas": {"http": fleet.list_url, "refreshSeconds": 0.5},
    }
    gateway = {"name": "gateway", "url": queue.url, "kind": "llm-autoscaler"}
    # JSON is YAML.
    (folder / "targets.yaml").write_text(json.dumps({"wakeSources": [gateway], "services": [service]}))
    address = f"127.0.0.1:{one.grpc}"
    params = exact(MOST)._replace(polling_interval_s=1.0, cooldown_s=3.0, sync_s=1.0)
    scaled = ScaledObject("default", "chat", (("scalerAddress", address),), params)
    keda = asyncio.create_task(KedaCaller(address, scaled, fleet, clock, one.stepped).run())
    load = asyncio.create_task(one.load(6.0))
    try:
        yield one
    finally:
        for task in (load, keda):
            task.cancel()
        await asyncio.gather(load, keda, return_exceptions=True)
        await queue.stop()
        await fleet.stop()


async def test_a_kill_9_under_load_takes_no_replica_and_what_was_learned_comes_back(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        process = await one.serve()
        try:
            await one.until_replicas(MOST)
            async with asyncio.timeout(15):
                while await one.lead_time_s() > 60.0:  # the starts seen stand in for the prior
                    await asyncio.sleep(0.1)
            learned_s = await one.lead_time_s()
            await one.until_saved()
            process.send_signal(signal.SIGKILL)
            await process.wait()
            killed_at_s, there = one.clock.now(), one.fleet.spec_replicas
            await asyncio.sleep(2.0)
            process = await one.serve()
            assert await one.lead_time_s() <= max(10.0, 2.0 * learned_s)
            await asyncio.sleep(4.0)
            fallen = [step for step in one.steps if step[0] >= killed_at_s and step[2] < there]
            assert not fallen, f"{there} replicas at the kill, then {fallen}"
            assert one.fleet.spec_replicas == there == MOST
        finally:
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 30) == 0
