"""Resident memory and the event loop with a cluster full of targets: `python -m loadtests.kube_memory`.

The real `autoscaler serve` in a process of its own finds N services of M pods each on the tests' fake API server, and
reads their pages (a real vLLM page) every few seconds; both are served by another process, each pod under an address of
its own. `--learned-hours 4` begins with all that a service remembers, as after a restart. Printed: resident memory when
nothing is there and at the end, CPU as a share of a core, lag of the loop, and decisions and scrapes made of those due.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from aiohttp import web
from rich.console import Console

from autoscaler.core.records import ServiceId
from autoscaler.history.sqlite import SqliteStore
from autoscaler.kube.resources import DEPLOYMENTS, PODS, SCALED_OBJECTS
from loadtests.exposition_bench import PAGES
from loadtests.learned_state import learned

NAMESPACE = "models"
TRIGGER = {
    "type": "external-push",
    "metadata": {"scalerAddress": "llm-autoscaler.keda.svc:6000", "prior": "llama-3.1-70b/a100x4"},
}
CREATED = "2026-01-01T00:00:00Z"
TICKS_S = os.sysconf("SC_CLK_TCK")
COUNTERS = (  # of the page, and how much a request adds to each
    ("vllm:time_to_first_token_seconds_count", 1.0),
    ("vllm:prompt_tokens_total", 1200.0),
    ("vllm:generation_tokens_total", 200.0),
)


def objects(services: int, pods: int, port: int) -> list[tuple[Any, dict[str, Any]]]:
    """ScaledObjects, Deployments and pods, as small as real ones are after their managedFields are gone."""
    found: list[tuple[Any, dict[str, Any]]] = []
    for number in range(services):
        name = f"model-{number:04d}"
        labels = {"app": name, "pod-template-hash": "6d9f7c5b8"}
        container = {
            "name": "main",
            "image": "vllm/vllm-openai:v0.11",
            "args": ["--model", "meta-llama/Llama-3.1-70B-Instruct", "--tensor-parallel-size", "4"],
            "ports": [{"containerPort": port, "name": "http"}],
            "resources": {"limits": {"nvidia.com/gpu": "4"}, "requests": {"cpu": "8", "memory": "64Gi"}},
        }
        spec = {"minReplicaCount": 1, "maxReplicaCount": 40, "scaleTargetRef": {"name": name}, "triggers": [TRIGGER]}
        meta = {"name": name, "namespace": NAMESPACE}
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
        workload = {"replicas": pods, "selector": {"matchLabels": {"app": name}}, "template": template}
        found.append((SCALED_OBJECTS, {"metadata": meta, "spec": spec}))
        found.append((DEPLOYMENTS, {"metadata": meta, "spec": workload, "status": {"replicas": pods}}))
        for pod in range(pods):
            serial = number * pods + pod
            address = f"127.{1 + serial // 62_500}.{serial // 250 % 250}.{1 + serial % 250}"
            conditions = [
                {"type": kind, "status": "True", "lastTransitionTime": CREATED} for kind in ("PodScheduled", "Ready")
            ]
            statuses = [{"name": "main", "restartCount": 0, "state": {"running": {"startedAt": CREATED}}}]
            found.append(
                (
                    PODS,
                    {
                        "metadata": {
                            "name": f"{name}-6d9f7c5b8-{pod:05d}",
                            "namespace": NAMESPACE,
                            "labels": labels,
                            "creationTimestamp": CREATED,
                        },
                        "spec": {"nodeName": f"node-{serial % 500}", "containers": [container]},
                        "status": {
                            "phase": "Running",
                            "podIP": address,
                            "conditions": conditions,
                            "containerStatuses": statuses,
                        },
                    },
                )
            )
    return found


async def _cluster(pipe: Connection, services: int, pods: int) -> None:
    # Of the tests, and no part of the installed package: imported where it runs.
    from tests.fakes.kube_api import FakeKubeApi  # noqa: PLC0415

    page = (PAGES / "vllm-0.32.0-busy.txt").read_text()
    began_s = time.time()
    kept = [line for line in page.splitlines() if not line.startswith(tuple(f"{name}{{" for name, _ in COUNTERS))]
    still = "\n".join(kept)

    async def answer(_: web.Request) -> web.Response:
        done = (time.time() - began_s) * 0.5
        moving = "\n".join(f'{name}{{model_name="m",engine="0"}} {100.0 + done * each}' for name, each in COUNTERS)
        return web.Response(body=f"{still}\n{moving}\n".encode(), content_type="text/plain")

    application = web.Application()
    application.router.add_get("/metrics", answer)
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0, backlog=4096).start()  # noqa: S104 -- every address of 127/8
    port = int(runner.addresses[0][1])
    async with FakeKubeApi(SCALED_OBJECTS) as api:
        pipe.send((api.url, len(page)))
        await asyncio.to_thread(pipe.recv)
        for resource, document in objects(services, pods, port):
            api.put(resource, document)
        pipe.send("there")
        await asyncio.to_thread(pipe.recv)
    await runner.cleanup()


def _process(pipe: Connection, services: int, pods: int) -> None:
    asyncio.run(_cluster(pipe, services, pods))


def resident_bytes(pid: int, field: str = "VmRSS") -> int:
    """Of a process, by the kernel: VmRSS now, VmHWM at most."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def cpu_s(pid: int) -> float:
    """Processor seconds of a process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def metrics(port: int) -> str:
    """Our own page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def quantile_s(page: str, name: str, share: float) -> float:
    """The upper bound of the bucket in which a share of the observations lies."""
    rows = [(float(bound), float(count)) for bound, count in re.findall(rf'{name}_bucket{{le="([^"]+)"}} (\S+)', page)]
    return next((bound for bound, count in rows if rows and count >= share * rows[-1][1]), float("nan"))


def total(page: str, name: str) -> float:
    """The sum over a metric's series."""
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE))


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(folder: Path, url: str, http: int, scrape_s: float) -> subprocess.Popen[bytes]:
    """The real service."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "scaler"}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "u"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(config))
    (folder / "targets.yaml").write_text(f"scrapeIntervalSeconds: {scrape_s}\nscrapeTimeoutSeconds: 5\n")
    return subprocess.Popen(
        [
            *(sys.executable, "-c", "from autoscaler.cli import main; main()", "serve"),
            *("--kube", "on", "--kubeconfig", str(folder / "kubeconfig"), "--targets", str(folder / "targets.yaml")),
            *("--grpc", f"127.0.0.1:{free_port()}", "--http", f"127.0.0.1:{http}"),
            *("--state-dir", str(folder / "state")),
            *("--log-level", "error", "--no-flight-record"),
        ]
    )


async def keep(path: Path, services: int, snapshot: bytes) -> None:
    """Put what was learned into the service's store, for each of the services."""
    store = SqliteStore(path, lambda text: print(text, file=sys.stderr))
    store.open()
    for number in range(services):
        await store.save(ServiceId(NAMESPACE, f"model-{number:04d}"), snapshot, time.time())
    store.close()


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--scrape-seconds", type=float, default=15.0)
    parser.add_argument("--settle-seconds", type=float, default=60.0)
    parser.add_argument("--learned-hours", type=float, default=0.0, help="of demand that every service begins with")
    chosen = parser.parse_args()
    console = Console(highlight=False)
    here, there = multiprocessing.Pipe()
    cluster = multiprocessing.get_context("spawn").Process(target=_process, args=(there, chosen.services, chosen.pods))
    cluster.start()
    url, size_bytes = here.recv()
    with tempfile.TemporaryDirectory() as folder:
        http = free_port()
        if chosen.learned_hours:
            snapshot = learned(chosen.learned_hours, chosen.pods, time.time())
            asyncio.run(keep(Path(folder) / "state" / "state.sqlite", chosen.services, snapshot))
        process = serve(Path(folder), url, http, chosen.scrape_seconds)
        try:
            time.sleep(8.0)
            empty = resident_bytes(process.pid)
            here.send("fill")
            here.recv()
            time.sleep(chosen.settle_seconds)
            first, cpu_before_s, began_s = metrics(http), cpu_s(process.pid), time.perf_counter()
            time.sleep(chosen.seconds)
            last, used_s = metrics(http), cpu_s(process.pid) - cpu_before_s
            took_s = time.perf_counter() - began_s
            resident, most = resident_bytes(process.pid), resident_bytes(process.pid, "VmHWM")
        finally:
            process.send_signal(signal.SIGTERM)
            stopping_s = time.perf_counter()
            process.wait(120)
            stopping_s = time.perf_counter() - stopping_s
            here.send("stop")
            cluster.join(10)
    mib = 1024.0 * 1024.0
    console.print(
        f"{chosen.services} services x {chosen.pods} pods, pages of {size_bytes / 1000:.0f} kB every "
        f"{chosen.scrape_seconds:g} s: resident {empty / mib:.0f} MiB empty, {resident / mib:.0f} MiB after "
        f"{chosen.settle_seconds + took_s:.0f} s, {most / mib:.0f} MiB at most"
    )
    rate = {
        name: (total(last, f"llm_autoscaler_{name}") - total(first, f"llm_autoscaler_{name}")) / took_s
        for name in ("decisions_total", "scrapes_total")
    }
    asked = chosen.services / 5.0, chosen.services * chosen.pods / chosen.scrape_seconds
    console.print(
        f"{used_s / took_s:.0%} of a core; decisions {rate['decisions_total']:.0f}/s of {asked[0]:.0f}/s, "
        f"scrapes {rate['scrapes_total']:.0f}/s of {asked[1]:.0f}/s"
    )
    lag_ms = 1e3 * quantile_s(last, "llm_autoscaler_loop_lag_seconds", 0.99)
    console.print(f"event-loop lag: p99 up to {lag_ms:.0f} ms; stopped within {stopping_s:.1f} s")


if __name__ == "__main__":
    main()
