"""The demo: the whole loop on a recorded trace, from zero through the peak and back to zero."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import importlib.resources
import multiprocessing
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from autoscaler.clock import LoopClock
from autoscaler.config.records import (
    ListKind,
    ReplicaList,
    ServiceSettings,
    TargetSettings,
    TargetsFile,
    WakeSourceSettings,
)
from autoscaler.core.records import Decision, Objective, RoleSpec, ServiceId, ServiceSpec, TargetId
from autoscaler.history.memory import MemoryStore
from autoscaler.lab.demo_chart import write_chart
from autoscaler.lab.demo_record import Moment, Run, ScaleStep
from autoscaler.lab.demo_report import Summary, print_summary, write_summary
from autoscaler.lab.demo_view import View, view
from autoscaler.lab.fleet import EmulatedFleet
from autoscaler.lab.gateway import FrontQueue
from autoscaler.lab.keda import KedaCaller, ScaledObject
from autoscaler.scaler.server import GrpcSettings
from autoscaler.service import Service, Wiring
from autoscaler.simulation.constant import fewest_constant_replicas
from autoscaler.simulation.engines import LLAMA_70B_A100X4
from autoscaler.simulation.hpa import exact
from autoscaler.simulation.trace import Trace, read_trace
from autoscaler.web.server import Views, WebServer
from autoscaler.web.wakes import Wakes

CHAT = ServiceId("demo", "chat")
OBJECTIVE = Objective()
GPUS = 4
MAX_REPLICAS = 16
START_S, START_JITTER = 45.0, 0.2
TRACE_S = 2100.0
TAIL_S = 600.0  # at most this long after the trace to reach zero
LOOK_EVERY_S = 5.0
LAG_PROBE_S = 0.005
LAG_SHARE = 0.05  # of the TTFT limit, that lag times factor may take
# The trace and its tail within three minutes on two cores; a slower machine gets a slower clock, not a wrong one.
FASTEST, SLOWEST = 16.0, 11.0


def run_demo(
    *, plain: bool, seed: int, summary_file: Path | None, chart_file: Path, acceleration: float | None
) -> None:
    """Run the demo and print its summary; Ctrl-C ends it with the summary so far."""
    console = Console()
    asyncio.run(_Demo(console, seed, acceleration).run(view(console, plain), summary_file, chart_file))


def demo_trace() -> Trace:
    """The shipped trace: 12,337 recorded requests of 2,100 s."""
    name = "azure2023-conv_min00-35_real.csv.gz"
    with importlib.resources.as_file(importlib.resources.files("autoscaler.lab") / "data" / name) as path:
        return read_trace(path)


class LagProbe:
    """Measures how late the event loop runs a timer, in wall seconds."""

    def __init__(self) -> None:
        self.lags_s: list[float] = []

    async def run(self) -> None:
        """Probe for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + LAG_PROBE_S
            await asyncio.sleep(LAG_PROBE_S)
            self.lags_s.append(max(0.0, loop.time() - due_s))

    def p99_s(self) -> float:
        """The 99th percentile."""
        ordered = sorted(self.lags_s)
        return ordered[int(0.99 * (len(ordered) - 1))] if ordered else 0.0


@dataclass(slots=True)
class _Parts:
    """What runs."""

    clock: LoopClock
    epoch_s: float
    fleet: EmulatedFleet
    queue: FrontQueue
    service: Service


class _Demo:
    def __init__(self, console: Console, seed: int, acceleration: float | None) -> None:
        self._console = console
        self._seed = seed
        self._asked_acceleration = acceleration
        self._trace = demo_trace()
        self._run = Run(OBJECTIVE, TRACE_S, len(self._trace.arrival_s))
        self._stop = asyncio.Event()

    async def run(self, shown: View, summary_file: Path | None, chart_file: Path) -> None:
        """Rehearse for the clock's factor, play the trace, report."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        gc.freeze()
        factor = self._asked_acceleration or await self._rehearse()
        started_s = time.monotonic()
        probe = LagProbe()
        with shown:
            shown.note(f"{self._run.offered:,} recorded requests, {factor:.1f} times faster than life; from zero")
            gpu_hours = await self._play(factor, probe, shown)
        wall_s = time.monotonic() - started_s
        summary = await self._summary(factor, probe, gpu_hours, wall_s)
        write_chart(chart_file, self._run, summary)
        if summary_file is not None:
            write_summary(summary_file, summary)
        print_summary(self._console, self._run, summary, chart_file)

    async def _rehearse(self) -> float:
        """Play the trace's first seconds at full speed with a fleet that is there at once, and choose the factor."""
        probe = LagProbe()
        rehearsal = _Demo(self._console, self._seed, FASTEST)
        rehearsal._stop = self._stop
        self._console.print("measuring how fast this machine can play ...", style="dim")
        await rehearsal._play(FASTEST, probe, None, until_s=60.0, warm=5)
        lag_s = max(1e-4, probe.p99_s())
        # Half of what is allowed: the run is longer than the rehearsal, and machines have neighbours.
        return min(FASTEST, max(SLOWEST, 0.5 * LAG_SHARE * OBJECTIVE.ttft_s / lag_s))

    async def _play(
        self, factor: float, probe: LagProbe, shown: View | None, until_s: float | None = None, warm: int = 0
    ) -> float:
        """Run everything until the trace is over and the fleet at zero; gives GPU-hours over the trace."""
        clock = LoopClock(factor)
        epoch_s = clock.now()
        rng = random.Random(self._seed)
        fleet = EmulatedFleet(clock, LLAMA_70B_A100X4, GPUS, 0.1 if warm else START_S, START_JITTER, rng)
        queue = FrontQueue(clock, fleet, CHAT.namespace, CHAT.name, epoch_s)
        async with contextlib.AsyncExitStack() as stack:
            await fleet.start()
            stack.push_async_callback(fleet.stop)
            await queue.start()
            stack.push_async_callback(queue.stop)
            service = await stack.enter_async_context(_service(clock, fleet.list_url, queue.url, self._seed))
            parts = _Parts(clock, epoch_s, fleet, queue, service)
            background = [asyncio.create_task(probe.run())]
            if warm:
                fleet.scale_to(warm)
                await clock.sleep(2.0)
            else:
                background.append(asyncio.create_task(self._keda(parts).run()))
                await clock.sleep(10.0)
                # The trace begins when the scaler has seen that there is nothing.
                parts.epoch_s = queue.epoch_s = clock.now()
            clients = asyncio.create_task(self._clients(parts, until_s))
            stack.push_async_callback(_cancel, [clients, *background])
            await (clients if warm else self._watch(parts, clients, shown))
            end_s = min(clock.now(), parts.epoch_s + TRACE_S)
            return fleet.gpu_seconds(parts.epoch_s, end_s) / 3600.0

    def _keda(self, parts: _Parts) -> KedaCaller:
        metadata = (("scalerAddress", f"127.0.0.1:{parts.service.grpc_port}"),)
        params = exact(MAX_REPLICAS)._replace(polling_interval_s=15.0, cooldown_s=30.0)
        scaled = ScaledObject(CHAT.namespace, CHAT.name, metadata, params)

        def on_step(before: int, after: int, by: str) -> None:
            decision = parts.service.board.decision(CHAT)
            at_s = parts.clock.now() - parts.epoch_s
            self._run.steps.append(ScaleStep(at_s, before, after, by, why(decision)))

        return KedaCaller(f"127.0.0.1:{parts.service.grpc_port}", scaled, parts.fleet, parts.clock, on_step)

    async def _clients(self, parts: _Parts, until_s: float | None) -> None:
        """Open loop: every request at its recorded time, whatever became of the others."""
        running: set[asyncio.Task[None]] = set()
        trace = self._trace
        for arrival_s, prompt, output in zip(*trace, strict=True):
            if until_s is not None and arrival_s > until_s:
                break
            wait_s = parts.epoch_s + arrival_s - parts.clock.now()
            if wait_s > 0:
                await parts.clock.sleep(wait_s)
            self._run.submitted += 1
            task = asyncio.create_task(self._one(parts, int(prompt), int(output)))
            running.add(task)
            task.add_done_callback(running.discard)
        if until_s is None:
            while running:
                await asyncio.wait(running)
        await _cancel(list(running))

    async def _one(self, parts: _Parts, prompt: int, output: int) -> None:
        self._run.add(await parts.queue.submit(prompt, output))

    async def _watch(self, parts: _Parts, clients: asyncio.Task[None], shown: View | None) -> None:
        arrivals = 0
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), parts.clock.wall_s(LOOK_EVERY_S))
            at_s = parts.clock.now() - parts.epoch_s
            rate_rps = (parts.queue.arrivals - arrivals) / LOOK_EVERY_S
            arrivals = parts.queue.arrivals
            moment = _moment(parts, at_s, rate_rps)
            self._run.moments.append(moment)
            if shown is not None:
                shown.show(self._run, moment)
            if clients.done() and (moment.spec == 0 or at_s > TRACE_S + TAIL_S):
                clients.result()
                return

    async def _summary(self, factor: float, probe: LagProbe, gpu_hours: float, wall_s: float) -> Summary:
        run = self._run
        complete = not self._stop.is_set() and len(run.served) == run.offered
        static = None
        if complete:
            self._console.print("working out the fewest constant replicas that reach the same ...", style="dim")
            static = await _constant(self._trace, run.attainment)
        lag_s = probe.p99_s()
        return Summary(
            attainment=run.attainment,
            attainment_asked=OBJECTIVE.attainment,
            requests=run.submitted,
            lost=run.submitted - len(run.served) + run.lost if complete else run.lost,
            gpu_hours=gpu_hours,
            gpu_hours_static_peak=static[0] * GPUS * TRACE_S / 3600.0 if static else None,
            static_replicas=static[0] if static else None,
            static_attainment=static[1] if static else None,
            reached_zero=run.reached_zero(),
            woke_by_push=run.woke_by_push(),
            max_replicas=max((moment.spec for moment in run.moments), default=0),
            scale_events=len(run.steps),
            acceleration=factor,
            loop_lag_p99_s=lag_s,
            lag_share_of_ttft=lag_s * factor / OBJECTIVE.ttft_s,
            wall_s=wall_s,
            seed=self._seed,
            complete=complete,
        )


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def why(decision: Decision | None) -> str:
    """The reasons of a decision as one sentence."""
    if decision is None:
        return "nothing was decided yet"
    texts = [reason.text for role in decision.roles for reason in role.reasons if reason.code != "assumed_mix"]
    if not decision.active:
        texts = []
    return "; ".join([*texts, *(reason.text for reason in decision.reasons)])


def _moment(parts: _Parts, at_s: float, rate_rps: float) -> Moment:
    decision = parts.service.board.decision(CHAT)
    answer = parts.service.board.answer(TargetId(CHAT), parts.clock.now())
    return Moment(
        at_s,
        answer.replicas if answer else 0,
        parts.fleet.spec_replicas,
        len(parts.fleet.ready()),
        rate_rps,
        parts.queue.held,
        parts.queue.running,
        decision.mode.value if decision else "",
        why(decision),
    )


def _service(clock: LoopClock, list_url: str, gateway_url: str, seed: int) -> Service:
    """The real service, for one target behind the emulated fleet."""
    role = RoleSpec("", 0, MAX_REPLICAS, GPUS, "llama-3.1-70b/a100x4", 2048)
    spec = ServiceSpec(CHAT, (role,), OBJECTIVE, has_wake_source=True, lead_time_prior_s=START_S)
    replicas = ReplicaList(ListKind.HTTP, url=list_url, refresh_s=1.0)
    file = TargetsFile(
        services=(ServiceSettings(spec, (TargetSettings("", replicas),), "front-queue"),),
        wake_sources=(WakeSourceSettings("front-queue", gateway_url, "llm-autoscaler"),),
        scrape_timeout_s=5.0,
    )
    wiring = Wiring(clock, MemoryStore(), GrpcSettings("127.0.0.1:0", grace_s=0.5), seed=seed)

    def web(views: Views, wakes: Wakes) -> WebServer:
        return WebServer("127.0.0.1", 0, views, wakes, clock, None)

    return Service(file, wiring, web)


async def _constant(trace: Trace, attainment: float) -> tuple[int, float] | None:
    """The fewest constant replicas, worked out in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return await asyncio.get_running_loop().run_in_executor(
            pool, fewest_constant_replicas, trace, LLAMA_70B_A100X4, OBJECTIVE, attainment, MAX_REPLICAS
        )
