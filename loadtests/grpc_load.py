"""Push streams and polls at once on one connection: `python -m loadtests.grpc_load`.

The server runs in a process of its own, as `autoscaler serve` would beside KEDA; its board is decided anew for every
target once a period. Each stream must bring exactly one `true` for every edge of its target to active: active spells
are shorter than the slow repeats, so every message is an edge.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import grpc
from rich.console import Console

from autoscaler.clock import LoopClock
from autoscaler.config.records import ListKind, ReplicaList, ServiceSettings, TargetSettings
from autoscaler.control.board import Board
from autoscaler.control.directory import Directory
from autoscaler.core.records import Decision, Mode, Observation, RoleDecision, RoleObservation, ServiceId, ServiceSpec
from autoscaler.scaler.server import GrpcSettings, ScalerServer
from autoscaler.scaler.servicer import Silent
from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc

PERIOD_S = 2.0
ACTIVE_S = 4.0  # below the shortest repeat of a push stream, 15 s
NAMESPACE = "load"


@dataclass(slots=True)
class Seen:
    """What the client measured."""

    latencies_s: list[float] = field(default_factory=list)
    pushes: list[list[float]] = field(default_factory=list)  # by target, wall times
    failures: int = 0


def percentile(values: list[float], share: float) -> float:
    """A percentile of a list, nan when it is empty."""
    ordered = sorted(values)
    return ordered[int(share * (len(ordered) - 1))] if ordered else float("nan")


def _decision(service: ServiceId, replicas: int, now: float) -> tuple[Observation, Decision]:
    observation = Observation(ServiceSpec(service), (RoleObservation("", ()),))
    return observation, Decision(service, now, Mode.NORMAL, replicas > 0, (RoleDecision("", replicas),))


async def _flip(board: Board, services: list[ServiceId], clock: LoopClock, for_s: float) -> list[list[float]]:
    """Every target goes active once in each of its turns, and is decided anew every period; gives the edges' times."""
    edges: list[list[float]] = [[] for _ in services]
    started_s = time.time()
    turn_s = 2.0 * ACTIVE_S
    active = [False] * len(services)
    slices = 50
    while (elapsed_s := time.time() - started_s) < for_s:
        part = int(elapsed_s / PERIOD_S * slices) % slices
        for i in range(part, len(services), slices):
            phase_s = (elapsed_s + turn_s * i / len(services)) % turn_s
            wanted = phase_s < ACTIVE_S and elapsed_s < for_s - 2.0
            if wanted and not active[i]:
                edges[i].append(time.time())
            active[i] = wanted
            board.publish(*_decision(services[i], 1 + i % 9 if wanted else 0, clock.now()), 0.0)
        await asyncio.sleep(PERIOD_S / slices)
    return edges


async def _serve(pipe: Connection, streams: int, for_s: float) -> None:
    board, clock = Board(), LoopClock()
    services = [ServiceId(NAMESPACE, f"s{i}") for i in range(streams)]
    settings = [ServiceSettings(ServiceSpec(s), (TargetSettings("", ReplicaList(ListKind.STATIC)),)) for s in services]
    server = ScalerServer(
        board, Directory(settings), clock, GrpcSettings("127.0.0.1:0", grace_s=5.0), Silent(), random.Random(1)
    )
    for service in services:
        board.publish(*_decision(service, 0, clock.now()), 0.0)
    pipe.send(await server.start())
    await asyncio.to_thread(pipe.recv)
    edges = await _flip(board, services, clock, for_s)
    await asyncio.sleep(1.0)
    await server.stop()
    pipe.send(edges)


def _process(pipe: Connection, streams: int, for_s: float) -> None:
    asyncio.run(_serve(pipe, streams, for_s))


async def _stream(stub: rpc.ExternalScalerAsyncStub, ref: pb.ScaledObjectRef, into: list[float]) -> None:
    async for _ in stub.StreamIsActive(ref):
        into.append(time.time())  # noqa: PERF401 -- the times are read while the stream goes on


async def _poll(stub: rpc.ExternalScalerAsyncStub, refs: list[pb.ScaledObjectRef], rps: float, seen: Seen) -> None:
    """One poll after another at a fixed rate, whatever became of the others."""
    rng, running = random.Random(2), set[asyncio.Task[None]]()
    started_s, count = time.perf_counter(), 0
    while True:
        count += 1
        await asyncio.sleep(max(0.0, started_s + count / rps - time.perf_counter()))
        task = asyncio.create_task(_call(stub, rng.choice(refs), count, seen))
        running.add(task)
        task.add_done_callback(running.discard)


async def _call(stub: rpc.ExternalScalerAsyncStub, ref: pb.ScaledObjectRef, count: int, seen: Seen) -> None:
    before = time.perf_counter()
    try:
        match count % 3:
            case 0:
                await stub.GetMetricSpec(ref)
            case 1:
                await stub.GetMetrics(pb.GetMetricsRequest(scaledObjectRef=ref, metricName="replicas"))
            case _:
                await stub.IsActive(ref)
    except grpc.aio.AioRpcError:
        seen.failures += 1
        return
    seen.latencies_s.append(time.perf_counter() - before)


async def measure(streams: int, rps: float, for_s: float) -> tuple[Seen, list[list[float]]]:
    """Run server and client; gives what was seen, and when each target went active."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_process, args=(there, streams, for_s))
    process.start()
    port = await asyncio.to_thread(here.recv)
    seen = Seen(pushes=[[] for _ in range(streams)])
    refs = [
        pb.ScaledObjectRef(name=f"s{i}", namespace=NAMESPACE, scalerMetadata={"scalerAddress": "x:6000"})
        for i in range(streams)
    ]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: rpc.ExternalScalerAsyncStub = rpc.ExternalScalerStub(channel)  # type: ignore[assignment]
        pushes = [asyncio.create_task(_stream(stub, ref, into)) for ref, into in zip(refs, seen.pushes, strict=True)]
        await asyncio.sleep(3.0)
        here.send("go")
        polls = asyncio.create_task(_poll(stub, refs, rps, seen))
        await asyncio.sleep(for_s)
        polls.cancel()
        edges = await asyncio.to_thread(here.recv)
        await asyncio.wait(pushes, timeout=10.0)
        ended = sum(push.done() and push.exception() is None for push in pushes)
        if ended < streams:
            seen.failures += streams - ended
    process.join(10)
    return seen, edges


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--rps", type=float, default=300.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    chosen = parser.parse_args()
    seen, edges = asyncio.run(measure(chosen.streams, chosen.rps, chosen.seconds))
    lost = sum(max(0, len(e) - len(p)) for e, p in zip(edges, seen.pushes, strict=True))
    extra = sum(max(0, len(p) - len(e)) for e, p in zip(edges, seen.pushes, strict=True))
    late_s = [p - e for one, got in zip(edges, seen.pushes, strict=True) for e, p in zip(one, got, strict=False)]
    console = Console(highlight=False)
    console.print(f"{chosen.streams} push streams on one connection, {len(seen.latencies_s)} unary calls in ", end="")
    console.print(f"{chosen.seconds:.0f} s ({len(seen.latencies_s) / chosen.seconds:.0f}/s), {seen.failures} failed")
    row = [1e3 * percentile(seen.latencies_s, share) for share in (0.5, 0.99, 0.999)]
    console.print(f"unary: p50 {row[0]:.1f} ms, p99 {row[1]:.1f} ms, p99.9 {row[2]:.1f} ms")
    row = [1e3 * percentile(late_s, share) for share in (0.5, 0.99)]
    console.print(
        f"edges: {sum(map(len, edges))}, lost {lost}, extra {extra}; p50 {row[0]:.1f} ms, p99 {row[1]:.1f} ms"
    )


if __name__ == "__main__":
    main()
