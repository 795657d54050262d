"""200 replicas of 50 kB read every second on one core: `python -m loadtests.scrape_load`.

The pages are served by a process of its own on loopback (a real vLLM page, padded with further series to the asked
size, its counters moving). Printed: pages a second, lag of the event loop that reads them, CPU time of that process.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import resource
import time
from multiprocessing.connection import Connection

from aiohttp import web
from rich.console import Console

from autoscaler.clock import LoopClock
from autoscaler.collect.fetching import Fetcher
from autoscaler.collect.scrape import Scraper
from autoscaler.ports import Endpoint
from loadtests.exposition_bench import PAGES
from loadtests.grpc_load import percentile

PROBE_S = 0.005


class Counting:
    """A ScrapeObserver that counts."""

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}
        self.took_s: list[float] = []

    def scraped(self, outcome: str, took_s: float) -> None:
        """Count one scrape."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.took_s.append(took_s)


def padded(size_bytes: int) -> list[str]:
    """A real page in several versions of about `size_bytes`, each with other values."""
    page = (PAGES / "vllm-0.32.0-busy.txt").read_text()
    lines = page.splitlines()
    extra = 0
    while sum(map(len, lines)) + len(lines) < size_bytes:
        lines.append(f'vllm:lora_requests_info{{adapter="a{extra}",engine="0"}} {1.7e9 + extra}')
        extra += 1
    text = "\n".join(lines) + "\n"
    return [text.replace(" 1.0\n", f" {1 + i}.0\n") for i in range(8)]


async def _serve(pipe: Connection, size_bytes: int) -> None:
    pages = [page.encode() for page in padded(size_bytes)]
    served = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal served
        served += 1
        return web.Response(body=pages[served % len(pages)], content_type="text/plain")

    application = web.Application()
    application.router.add_get("/{replica}/metrics", answer)
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    pipe.send((runner.addresses[0][1], len(pages[0])))
    await asyncio.to_thread(pipe.recv)
    await runner.cleanup()


def _process(pipe: Connection, size_bytes: int) -> None:
    asyncio.run(_serve(pipe, size_bytes))


async def _lag(into: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + PROBE_S
        await asyncio.sleep(PROBE_S)
        into.append(max(0.0, loop.time() - due_s))


async def measure(port: int, replicas: int, for_s: float) -> tuple[Counting, list[float], float]:
    """Scrape for a while; gives outcomes, loop lags and CPU seconds."""
    counting, lags = Counting(), list[float]()
    async with Fetcher() as fetcher:
        scraper = Scraper(fetcher, LoopClock(), counting, random.Random(1))
        urls = (f"http://127.0.0.1:{port}/{i}/metrics" for i in range(replicas))
        scraper.watch("load", [Endpoint(url, url, group="load") for url in urls])
        await asyncio.sleep(3.0)
        counting.outcomes.clear()
        counting.took_s.clear()
        probe = asyncio.create_task(_lag(lags))
        before = resource.getrusage(resource.RUSAGE_SELF)
        await asyncio.sleep(for_s)
        after = resource.getrusage(resource.RUSAGE_SELF)
        probe.cancel()
        await scraper.close()
    return counting, lags, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=200)
    parser.add_argument("--bytes", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    chosen = parser.parse_args()
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_process, args=(there, chosen.bytes))
    process.start()
    port, size_bytes = here.recv()
    started_s = time.perf_counter()
    counting, lags, cpu_s = asyncio.run(measure(port, chosen.replicas, chosen.seconds))
    wall_s = time.perf_counter() - started_s
    here.send("stop")
    process.join(10)
    console = Console(highlight=False)
    read = counting.outcomes.get("ok", 0)
    console.print(
        f"{read} pages of {size_bytes} bytes in {chosen.seconds:.0f} s ({read / chosen.seconds:.0f}/s); ", end=""
    )
    console.print(f"failed {sum(counting.outcomes.values()) - read}; CPU {cpu_s / chosen.seconds:.0%} of a core")
    row = [1e3 * percentile(lags, share) for share in (0.5, 0.99, 1.0)]
    console.print(f"event-loop lag: p50 {row[0]:.1f} ms, p99 {row[1]:.1f} ms, most {row[2]:.1f} ms ({wall_s:.0f} s)")
    row = [1e3 * percentile(counting.took_s, share) for share in (0.5, 0.99)]
    console.print(f"one scrape: p50 {row[0]:.1f} ms, p99 {row[1]:.1f} ms")


if __name__ == "__main__":
    main()
