"""The composition root: the only module that knows everybody."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from autoscaler.clock import LoopClock
from autoscaler.collect.fetching import Fetcher
from autoscaler.config.records import TargetsFile
from autoscaler.config.server import ServeSettings
from autoscaler.config.targets import load_targets
from autoscaler.control.board import Board
from autoscaler.control.directory import Directory
from autoscaler.control.duty import Alone, Duty
from autoscaler.control.loop import SAVE_EVERY_S, Place
from autoscaler.control.relay import Kind, Relay, Topic
from autoscaler.control.triggers import HeardTriggers, TriggerKey
from autoscaler.core.errors import ClusterError
from autoscaler.core.records import ServiceId, Wake
from autoscaler.history.memory import MemoryStore
from autoscaler.history.sqlite import SqliteStore
from autoscaler.owning import Owning, Tasks
from autoscaler.ports import Clock, Ownership, StateStore
from autoscaler.scaler.following import Following
from autoscaler.scaler.replicas import ReplicasServicer, Shared
from autoscaler.scaler.server import GrpcSettings, ScalerServer, dial
from autoscaler.telemetry.logs import set_up
from autoscaler.telemetry.metrics import Metrics
from autoscaler.telemetry.recorder import Recorder
from autoscaler.telemetry.shadow import ShadowLog
from autoscaler.web.server import Views, WebServer
from autoscaler.web.tokens import TokenFile
from autoscaler.web.wakes import Wakes

# A replica that has just started and knows nothing lets those who follow already take a Lease that is free: they try
# every 2 s (client-go's retry period). Alone it waits in vain this long. Measured without it: 11 replicas asked for
# became 4 when a rolling restart's newcomer was the fastest.
PATIENCE_S = 5.0
DRAIN_S = 1.0  # what followers get to take the last of what an owner that stops has to say

_log = structlog.get_logger(__name__)


async def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a service is put together from: the demo gives its own clock and store."""

    clock: Clock
    store: StateStore
    grpc: GrpcSettings
    recorder: Recorder | None = None
    seed: int | None = None
    ownership: Ownership = field(default_factory=Alone)
    address: str = ""  # host:port under which our other replicas reach our gRPC server
    wake_token_file: Path | None = None  # lets followers pass wishes on
    # Gives ownership up; called at the end, when nothing is decided any more and followers have what there is.
    release: Callable[[], Awaitable[None]] = _nothing


class Service:
    """Everything that runs for one targets file; use as an async context manager.

    The replica that owns plans; the others answer with its last decisions, and any of them goes on where it stopped.
    """

    def __init__(self, file: TargetsFile, wiring: Wiring, web: Callable[[Views, Wakes], WebServer]) -> None:
        self._file = file
        self._wiring = wiring
        self.metrics = Metrics()
        self.board = Board()
        self.directory = Directory(file.services, _warn)
        self._relay = Relay(self.board, self._topics)
        self._triggers = HeardTriggers(self.directory, wiring.clock, self._heard)
        self._wakes = Wakes(self._admit)
        self._stack = contextlib.AsyncExitStack()
        self._tasks = Tasks()
        # Jitter of retries and repeats: nothing secret.
        self._rng = random.Random(wiring.seed)  # noqa: S311
        self._web = web(
            Views(self.metrics.render, self.unready, self.directory.services, self.board.decision), self._wakes
        )
        shared = Shared(wiring.ownership, self.board, self._relay, self._triggers, self._wakes, wiring.clock)
        token = TokenFile(wiring.wake_token_file) if wiring.wake_token_file is not None else None
        self._replicas = ReplicasServicer(shared, token.admits if token else _nobody, self.metrics.followers)
        self._following = Following(
            shared,
            lambda address: dial(address, wiring.grpc),
            self._rng,
            wiring.address,
            token.token if token else str,
            lambda: self._replicas.addresses,
        )
        self._scaler = ScalerServer(
            self.board, self._triggers, wiring.clock, wiring.grpc, self.metrics, self._rng, self._replicas
        )
        self._began_s = wiring.clock.now()
        self.grpc_port = 0
        self.http_port = 0

    def unready(self) -> list[str]:
        """Services that nothing was decided for yet, here or by the owner."""
        services = self.directory.services()
        return [f"first decision of {service}" for service in services if self.board.decision(service) is None]

    def fit(self) -> bool:
        """Whether this replica should try to own: it knows what the last owner knew, or nobody is there to tell."""
        return not self.unready() or self._wiring.clock.now() - self._began_s >= PATIENCE_S

    async def __aenter__(self) -> Service:
        fetcher = await self._stack.enter_async_context(Fetcher(self._file.access))
        self.grpc_port = await self._scaler.start()
        self._stack.push_async_callback(self._scaler.stop)
        self.http_port = await self._web.start()
        self._stack.push_async_callback(self._web.stop)
        self._stack.push_async_callback(self._hand_over)
        self._stack.push_async_callback(self._tasks.end)
        owning = self._owning(fetcher)
        duty = Duty(self._wiring.ownership, owning.term, self._follow)
        self._tasks.keep(duty.run)
        self._tasks.keep(self.metrics.probe_lag)
        self._tasks.keep(self._watch_ready)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def _owning(self, fetcher: Fetcher) -> Owning:
        wiring = self._wiring
        return Owning(
            self._file,
            self.directory,
            fetcher,
            self.metrics,
            self._wakes,
            (self.board, self._relay, self.metrics, ShadowLog()),
            wiring.recorder,
            wiring.store,
            Place(wiring.ownership, self.board, self._relay),
            wiring.clock,
            self._rng,
            self.metrics.owns,
        )

    async def _follow(self) -> None:
        """Follow the owner, and keep what it tells of learned state as if it were our own."""
        async with _keeping(self._relay, self._wiring.store, self.directory.services(), self._wiring.clock):
            await self._following.run()

    async def _hand_over(self) -> None:
        """Nothing is decided any more: let followers have the rest, then let one of them own."""
        await self._replicas.drain(DRAIN_S)
        await self._wiring.release()

    async def _admit(self, service: ServiceId, wake: Wake) -> None:
        """A wish of the wake API: it counts where the planning is done."""
        if not self._wiring.ownership.is_owner():
            await self._following.wake(service, wake)
            return
        self._wakes.add(service, wake)
        self._relay.tell(Kind.WAKES, service)

    def _heard(self, key: TriggerKey) -> None:
        self._relay.tell(Kind.TRIGGER, key)

    def _topics(self) -> list[Topic]:
        """What a new follower must know first: what triggers and wishes say decides what standings mean."""
        triggers: list[Topic] = [(Kind.TRIGGER, key) for key in self._triggers.keys()]  # noqa: SIM118 -- no mapping
        return triggers + [(Kind.WAKES, service) for service in self.directory.services()]

    async def _watch_ready(self) -> None:
        while self.unready():  # noqa: ASYNC110 -- readiness has many parts, and this ends after the first decisions
            await asyncio.sleep(0.05)
        await self._scaler.set_ready(True)


def _nobody(_: str) -> bool:
    return False


@contextlib.asynccontextmanager
async def _keeping(
    relay: Relay, store: StateStore, services: tuple[ServiceId, ...], clock: Clock
) -> AsyncIterator[None]:
    """Inside, snapshots that the owner tells are put into this replica's own store now and then, and at the end."""
    saved: dict[ServiceId, float] = {}

    async def save() -> None:
        for service in services:
            log = relay.log(service)
            if log is not None and saved.get(service) != log.saved.at_s:
                saved[service] = log.saved.at_s
                await store.save(service, log.saved.snapshot, log.saved.at_s)

    async def now_and_then() -> None:
        while True:
            await clock.sleep(SAVE_EVERY_S)
            await save()

    saving = asyncio.create_task(now_and_then())
    try:
        yield
    finally:
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)
        await save()


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
        wake_token_file=settings.wake_token_file,
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
