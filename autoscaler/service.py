"""The composition root: the only module that knows everybody."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from autoscaler.clock import LoopClock
from autoscaler.collect.fetching import Fetcher
from autoscaler.config.records import TargetsFile
from autoscaler.config.server import ServeSettings, WriterSettings
from autoscaler.config.targets import load_targets, without_file
from autoscaler.control.board import Board
from autoscaler.control.directories import Directories
from autoscaler.control.directory import Directory
from autoscaler.control.duty import Alone, Duty
from autoscaler.control.keeping import keeping
from autoscaler.control.loop import Place
from autoscaler.control.relay import Kind, Relay, Topic
from autoscaler.control.triggers import HeardTriggers, TriggerKey
from autoscaler.core.errors import ClusterError, ConfigError, Problem
from autoscaler.core.records import ServiceId, Wake
from autoscaler.history.memory import MemoryStore
from autoscaler.history.sqlite import SqliteStore
from autoscaler.kube.client import KubeClient
from autoscaler.kube.cluster import Cluster
from autoscaler.kube.connection import Connection, find
from autoscaler.kube.discovery import KubeDiscovery
from autoscaler.kube.election import Election
from autoscaler.kube.informer import Pace
from autoscaler.owning import Owning, Tasks
from autoscaler.ports import Clock, Ownership, Past, StateStore
from autoscaler.remembering import Remembered
from autoscaler.scaler.following import Following
from autoscaler.scaler.replicas import ReplicasServicer, Shared
from autoscaler.scaler.server import GrpcSettings, ScalerServer, dial
from autoscaler.telemetry.logs import set_up
from autoscaler.telemetry.metrics import Metrics
from autoscaler.telemetry.recorder import Recorder
from autoscaler.telemetry.shadow import ShadowLog
from autoscaler.warm.warming import WarmStart, Where
from autoscaler.web.server import Views, WebServer
from autoscaler.web.tokens import TokenFile
from autoscaler.web.wakes import Wakes
from autoscaler.writing import Writing, writing

# A replica that has just started and knows nothing lets those who follow already take a Lease that is free: they try
# every 2 s (client-go's retry period). Alone it waits in vain this long. Measured without it: 11 replicas asked for
# became 4 when a rolling restart's newcomer was the fastest.
PATIENCE_S = 5.0
DRAIN_S = 1.0  # what followers get to take the last of what an owner that stops has to say

_log = structlog.get_logger(__name__)


async def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class ClusterWiring:
    """The cluster in which targets are found."""

    client: KubeClient  # entered
    namespaces: tuple[str, ...] = ()  # none: all of them
    pace: Pace | None = None
    writers: WriterSettings = field(default_factory=WriterSettings)


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
    cluster: ClusterWiring | None = None
    metrics: Metrics = field(default_factory=Metrics)


class Service:
    """Everything that runs for one targets file; use as an async context manager.

    The replica that owns plans; the others answer with its last decisions, and any of them goes on where it stopped.
    """

    def __init__(self, file: TargetsFile, wiring: Wiring, web: Callable[[Views, Wakes], WebServer]) -> None:
        self._file = file
        self._wiring = wiring
        self.metrics = wiring.metrics
        self.board = Board()
        # Jitter of retries and repeats: nothing secret.
        self._rng = random.Random(wiring.seed)  # noqa: S311 -- see above
        self._cluster = _cluster(wiring, self._rng)
        sources = [source.name for source in file.wake_sources]
        self._found = (
            KubeDiscovery(self._cluster, wiring.clock, sources, defaults=file.defaults)
            if self._cluster is not None
            else None
        )
        self._writing = _writing(wiring, self._cluster, self._found, self._rng)
        self.directory = Directories(Directory(file.services, _warn), self._found)
        self._relay = Relay(self.board, self._topics)
        self._triggers = HeardTriggers(self.directory, wiring.clock, self._heard)
        self._wakes = Wakes(self._admit, wiring.store)
        self._stack = contextlib.AsyncExitStack()
        self._tasks = Tasks()
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
        self._was_ready = False
        self.grpc_port = 0
        self.http_port = 0

    def unready(self) -> list[str]:
        """Services that nothing was decided for yet, here or by the owner; once there are none, never again.

        A service that is found later is answered as not known until it is decided, which is no reason to take this
        replica out of our Service and away from all others.
        """
        if self._was_ready:
            return []
        found = [f"first decision of {one}" for one in self.directory.services() if self.board.decision(one) is None]
        # With services of the file too, those must not wait for a cluster that cannot be read.
        waits = self._found.waiting_for() if self._found is not None and not self._file.services else None
        found += [waits] if waits is not None else []
        self._was_ready = not found
        return found

    def fit(self) -> bool:
        """Whether this replica should try to own: it knows what the last owner knew, or nobody is there to tell."""
        knows = not self.unready() and (self._found is None or self._found.waiting_for() is None)
        return knows or self._wiring.clock.now() - self._began_s >= PATIENCE_S

    def heard_s(self) -> float:
        """When another replica that plans was last heard."""
        return self._following.heard_s

    async def __aenter__(self) -> Service:
        try:
            await self._wakes.load(self._wiring.clock.now())
        except ClusterError as error:
            _warn(f"{error}; wakes accepted before this start are not known")
        fetcher = await self._stack.enter_async_context(Fetcher(self._file.access))
        self.grpc_port = await self._scaler.start()
        self._stack.push_async_callback(self._scaler.stop)
        self.http_port = await self._web.start()
        self._stack.push_async_callback(self._web.stop)
        self._stack.push_async_callback(self._hand_over)
        self._stack.push_async_callback(self._tasks.end)
        owning = self._owning(fetcher)
        if self._cluster is not None and self._found is not None:
            self._tasks.keep(self._cluster.run)
            self._tasks.keep(self._found.run)
        for run in self._writing.runs:
            self._tasks.keep(run)
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
            self._found,
            fetcher,
            self.metrics,
            self._wakes,
            (self.board, self._relay, self.metrics, ShadowLog(), *self._writing.sinks),
            wiring.recorder,
            wiring.store,
            Place(wiring.ownership, self.board, self._relay),
            wiring.clock,
            self._rng,
            self._owns,
            self._forgets,
            self._past(),
        )

    def _past(self) -> Past | None:
        where = self._file.warm_start
        if where is None:
            return None
        store = WarmStart(
            Where(where.url, Path(where.token_file) if where.token_file else None, where.hours), self._wiring.clock.now
        )
        return Remembered(store, self.directory, self._found)

    def _owns(self, owner: bool) -> None:
        self.metrics.owns(owner)
        self._writing.owns(owner)

    def _forgets(self, service: ServiceId) -> None:
        self.metrics.forgets(service)
        self._writing.forgets(service)

    async def _follow(self) -> None:
        """Follow the owner, and keep what it tells of learned state and wishes as if they were our own."""
        wiring = self._wiring
        async with keeping(self._relay, wiring.store, self._wakes, self.directory.services, wiring.clock):
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
        await self._wakes.keep(service)

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


def _cluster(wiring: Wiring, rng: random.Random) -> Cluster | None:
    where = wiring.cluster
    if where is None:
        return None
    return Cluster(where.client, where.namespaces, wiring.clock, rng=rng, metrics=wiring.metrics, pace=where.pace)


def _writing(wiring: Wiring, cluster: Cluster | None, found: KubeDiscovery | None, rng: random.Random) -> Writing:
    where = wiring.cluster
    if where is None or cluster is None or found is None:
        return Writing()
    return writing(where.writers, where.client, cluster, found, wiring.ownership, wiring.clock, rng, wiring.metrics)


def _nobody(_: str) -> bool:
    return False


def _warn(text: str) -> None:
    _log.warning(text)


async def serve_until_stopped(settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT, then end cleanly. Raises ConfigError (file, addresses, certificates)."""
    set_up(settings.log_format, settings.log_level)
    file = load_targets(settings.targets) if settings.targets is not None else without_file()
    if not file.services and not settings.kube.on:  # with Kubernetes the file may name wake sources and access alone
        problem = Problem("services", "nothing, and Kubernetes is off", "services, or --kube on")
        raise ConfigError(str(settings.targets), (problem,))
    if settings.warm_start is not None:
        file = replace(file, warm_start=settings.warm_start)
    clock = LoopClock()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    recorder = _recorder(settings)
    try:
        async with contextlib.AsyncExitStack() as stack:
            client = await _client(settings, stack)
            wiring, election = _wiring(settings, clock, recorder, client)

            def web(views: Views, wakes: Wakes) -> WebServer:
                return WebServer(settings.http.host, settings.http.port, views, wakes, clock, settings.wake_token_file)

            service = Service(file, wiring, web)
            if election is not None:
                election.fit, election.heard_s = service.fit, service.heard_s
                election.start()
            async with service:
                _log.info("serving", grpc=str(settings.grpc), http=str(settings.http), services=len(file.services))
                await stopped.wait()
                _log.info("stopping", ready=not service.unready())
    finally:
        if recorder is not None:
            recorder.close()


async def _client(settings: ServeSettings, stack: contextlib.AsyncExitStack) -> KubeClient | None:
    """The API server's client if anything needs one. Raises ConfigError (it is asked for and there is no cluster)."""
    if not settings.kube.on and settings.lease is None:
        return None
    connection: Connection | None = find(settings.kube.kubeconfig)
    if connection is None:
        problem = Problem("--kube, --lease", "no cluster", "a pod, or --kubeconfig PATH")
        raise ConfigError("command line", (problem,))
    return await stack.enter_async_context(KubeClient(connection))


def _wiring(
    settings: ServeSettings, clock: Clock, recorder: Recorder | None, client: KubeClient | None
) -> tuple[Wiring, Election | None]:
    grpc = GrpcSettings(
        str(settings.grpc),
        settings.tls_cert,
        settings.tls_key,
        settings.tls_client_ca,
        grace_s=settings.grace_s,
        peer_name=settings.peer_name,
    )
    wiring = Wiring(
        clock=clock,
        store=_store(settings),
        grpc=grpc,
        recorder=recorder,
        wake_token_file=settings.wake_token_file,
        cluster=(
            ClusterWiring(client, settings.kube.namespaces, writers=settings.writers)
            if client is not None and settings.kube.on
            else None
        ),
    )
    lease = settings.lease
    if lease is None or client is None:
        return wiring, None
    address = str(lease.advertise)
    election = Election(
        client,
        lease.namespace,
        lease.name,
        lease.pod,
        address,
        clock,
        rng=random.Random(),  # noqa: S311 -- tells processes apart, nothing secret
        problem=wiring.metrics.lease_problem,
        alone=wiring.metrics.plans_without_lease,
    )
    return replace(wiring, ownership=election, address=address, release=election.release), election


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
