"""The composition root: the only module that knows everybody."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from autoscaler.clock import LoopClock
from autoscaler.collect.fetching import Fetcher
from autoscaler.collect.held import HeldReadings, WakePage
from autoscaler.collect.lists import ReplicaListing
from autoscaler.collect.scrape import Scraper
from autoscaler.config.records import ServiceSettings, TargetsFile
from autoscaler.config.server import ServeSettings
from autoscaler.config.targets import load_targets
from autoscaler.control.board import Board
from autoscaler.control.directory import Directory
from autoscaler.control.loop import ServiceLoop, Sources
from autoscaler.core.errors import ClusterError
from autoscaler.core.records import Decision, Observation
from autoscaler.history.memory import MemoryStore
from autoscaler.history.sqlite import SqliteStore
from autoscaler.ports import Clock, DecisionSink, StateStore
from autoscaler.scaler.server import GrpcSettings, ScalerServer
from autoscaler.telemetry.logs import set_up
from autoscaler.telemetry.metrics import Metrics
from autoscaler.telemetry.recorder import Recorder
from autoscaler.web.server import Views, WebServer
from autoscaler.web.wakes import Wakes

RESTART_AFTER_S = 1.0

_log = structlog.get_logger(__name__)


class Fan:
    """Gives every decision to several sinks."""

    def __init__(self, sinks: Sequence[DecisionSink]) -> None:
        self._sinks = tuple(sinks)

    def publish(self, observation: Observation, decision: Decision, took_s: float) -> None:
        """Pass it on."""
        for sink in self._sinks:
            sink.publish(observation, decision, took_s)


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a service is put together from: the demo gives its own clock and store."""

    clock: Clock
    store: StateStore
    grpc: GrpcSettings
    recorder: Recorder | None = None
    seed: int | None = None


class Service:
    """Everything that runs for one targets file; use as an async context manager."""

    def __init__(self, file: TargetsFile, wiring: Wiring, web: Callable[[Views, Wakes], WebServer]) -> None:
        self._file = file
        self._wiring = wiring
        self.metrics = Metrics()
        self.board = Board()
        self.directory = Directory(file.services, _warn)
        self._wakes = Wakes()
        self._stack = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        # Jitter of retries and repeats: nothing secret.
        rng = random.Random(wiring.seed)  # noqa: S311
        self._rng = rng
        self._web = web(
            Views(self.metrics.render, self.unready, self.directory.services, self.board.decision), self._wakes
        )
        self._scaler = ScalerServer(self.board, self.directory, wiring.clock, wiring.grpc, self.metrics, rng)
        self.grpc_port = 0
        self.http_port = 0

    def unready(self) -> list[str]:
        """Services that nothing was decided for yet."""
        services = self.directory.services()
        return [f"first decision of {service}" for service in services if self.board.decision(service) is None]

    async def __aenter__(self) -> Service:
        wiring, file = self._wiring, self._file
        fetcher = await self._stack.enter_async_context(Fetcher(file.access))
        scraper = Scraper(fetcher, wiring.clock, self.metrics, self._rng, file.scrape_interval_s, file.scrape_timeout_s)
        self._stack.push_async_callback(scraper.close)
        pages = [WakePage(source, file.services, fetcher, wiring.clock, _warn) for source in file.wake_sources]
        held = HeldReadings(pages)
        self.grpc_port = await self._scaler.start()
        self._stack.push_async_callback(self._scaler.stop)
        self.http_port = await self._web.start()
        self._stack.push_async_callback(self._web.stop)
        self._stack.push_async_callback(self._end_tasks)
        for page in pages:
            self._keep(page.run)
        for settings in file.services:
            await self._plan(settings, fetcher, scraper, held)
        self._keep(self.metrics.probe_lag)
        self._keep(self._watch_ready)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def _plan(self, settings: ServiceSettings, fetcher: Fetcher, scraper: Scraper, held: HeldReadings) -> None:
        wiring = self._wiring
        listings = {target.role: ReplicaListing(target, fetcher, wiring.clock) for target in settings.targets}
        for listing in listings.values():
            self._keep(listing.run)
        service = settings.spec.service
        sinks: list[DecisionSink] = [self.board, self.metrics]
        if wiring.recorder is not None:
            sinks.append(wiring.recorder)
        loop = ServiceLoop(
            settings,
            lambda: self.directory.spec(service),
            Sources(listings, scraper, held, self._wakes),
            Fan(sinks),
            wiring.store,
            wiring.clock,
            _warn,
        )
        snapshot = await loop.restore()
        if wiring.recorder is not None:
            wiring.recorder.begin(service, snapshot, wiring.clock.now())
        self._keep(loop.run)

    async def _watch_ready(self) -> None:
        while self.unready():  # noqa: ASYNC110 -- readiness has many parts, and this ends after the first decisions
            await asyncio.sleep(0.05)
        await self._scaler.set_ready(True)

    def _keep(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run an eternal task; its death is loud and it is started again: the board holds meanwhile."""

        async def eternal() -> None:
            while True:
                try:
                    await run()
                    return
                except Exception:  # noqa: BLE001 -- whatever it was, the others must go on and this one must come back
                    _log.exception("a task died and is started again", task=getattr(run, "__qualname__", str(run)))
                await asyncio.sleep(RESTART_AFTER_S)

        self._tasks.append(asyncio.create_task(eternal()))

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _warn(text: str) -> None:
    _log.warning(text)


async def serve_until_stopped(settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT, then end cleanly. Raises ConfigError (file, addresses, certificates)."""
    set_up(settings.log_format, settings.log_level)
    file = load_targets(settings.targets)
    clock = LoopClock()
    recorder = _recorder(settings)
    wiring = Wiring(
        clock=clock,
        store=_store(settings),
        grpc=GrpcSettings(
            str(settings.grpc),
            settings.tls_cert,
            settings.tls_key,
            settings.tls_client_ca,
            grace_s=settings.grace_s,
        ),
        recorder=recorder,
    )

    def web(views: Views, wakes: Wakes) -> WebServer:
        return WebServer(settings.http.host, settings.http.port, views, wakes, clock, settings.wake_token_file)

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        async with Service(file, wiring, web) as service:
            _log.info("serving", grpc=str(settings.grpc), http=str(settings.http), services=len(file.services))
            await stopped.wait()
            _log.info("stopping", ready=not service.unready())
    finally:
        if recorder is not None:
            recorder.close()


def _store(settings: ServeSettings) -> StateStore:
    store = SqliteStore(settings.state_dir / "state.sqlite", _warn)
    try:
        store.open()
    except ClusterError as error:
        _warn(f"{error}; learned state will not survive a restart")
        return MemoryStore()
    return store


def _recorder(settings: ServeSettings) -> Recorder | None:
    if settings.flight_record_bytes == 0:
        return None
    try:
        return Recorder(settings.state_dir / "flight", settings.flight_record_bytes, _warn)
    except ClusterError as error:
        _warn(f"{error}; no flight record is kept")
        return None
