"""What the control loop needs from the outside, as protocols; implementations live in collect, history, telemetry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from autoscaler.config.records import ServiceSettings
from autoscaler.core.errors import AutoscalerError
from autoscaler.core.records import (
    Decision,
    HeldReading,
    Observation,
    RoleObservation,
    Sample,
    ServiceId,
    ServiceSpec,
    TargetId,
    Wake,
)


class Clock(Protocol):
    """Time, as an object: see `autoscaler.clock.LoopClock`."""

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Sleep for `delay_s` seconds of this clock."""
        ...

    def wall_s(self, delay_s: float) -> float:
        """Seconds of the event loop that `delay_s` seconds of this clock take."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One page to scrape: whose it is, where it is, how to get in."""

    replica_id: str
    url: str  # of the metrics page
    server: str = "auto"  # profile name, or auto
    access: str = ""  # name of an access entry in the operator's file; "": none needed
    # Replicas of one deployment print the same series: they share one parser dictionary by this key.
    group: str = ""


@dataclass(frozen=True, slots=True)
class ScrapeState:
    """The newest that one endpoint said, and how its last attempt went."""

    sample: Sample | None = None
    failure: str | None = None  # one sentence: who is at fault, found, expected; None: the last attempt succeeded
    refused: bool = False  # nothing listens, or 503: what a server that loads its model looks like
    attempts: int = 0
    failures_in_a_row: int = 0


class SampleSource(Protocol):
    """Scrapes endpoints in the background."""

    def watch(self, owner: str, endpoints: Iterable[Endpoint]) -> None:
        """Replace the endpoints that `owner` wants scraped; an empty set ends them."""
        ...

    def state(self, replica_id: str) -> ScrapeState:
        """The newest state of one endpoint; an empty state before the first attempt."""
        ...


@dataclass(frozen=True, slots=True)
class ListedReplica:
    """One replica that a list names."""

    replica_id: str
    metrics_url: str
    created_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The replicas of one target as last read, and how old that is."""

    replicas: tuple[ListedReplica, ...] | None  # None: never read successfully
    at_s: float | None  # when it was last read successfully
    failure: str | None = None  # why the last attempt failed


class RoleSource(Protocol):
    """Tells what one role of a service looks like: its replicas, wherever their list comes from."""

    def endpoints(self) -> tuple[Endpoint, ...] | None:
        """The pages to scrape now; None: what replicas there are was never read."""
        ...

    def observe(self, samples: SampleSource, now: float) -> RoleObservation:
        """The role as known at `now`; `endpoints` is called just before."""
        ...

    def resume(self, role: RoleObservation) -> None:
        """Take up what another replica of ours saw last."""
        ...


class ReplicaSource(Protocol):
    """Names the replicas of one target; kept fresh in the background."""

    def listing(self) -> Listing:
        """The newest listing; the last good one stays after a failure."""
        ...


class HeldSource(Protocol):
    """Reads what gateways hold for services; kept fresh in the background."""

    def readings(self, service: ServiceId) -> tuple[HeldReading, ...]:
        """The newest reading of every wake source that speaks for the service."""
        ...


class WakeSource(Protocol):
    """Calls of the wake API that have not expired."""

    def wakes(self, service: ServiceId, now: float) -> tuple[Wake, ...]:
        """Live wakes of the service."""
        ...

    def watch(self, service: ServiceId) -> AbstractContextManager[asyncio.Event]:
        """An event that is set when wakes of the service come in; the watcher clears it."""
        ...


class WakeBook(WakeSource, Protocol):
    """The same, with what the wake API and other replicas write into it."""

    def add(self, service: ServiceId, wake: Wake) -> None:
        """Take a wish."""
        ...

    def replace(self, service: ServiceId, wakes: Iterable[Wake]) -> None:
        """Put the owner's wishes for a service in place of those known here."""
        ...

    async def keep(self, service: ServiceId) -> None:
        """Write the wishes of a service where they outlive this process."""
        ...

    async def keep_changed(self) -> None:
        """The same for every service whose wishes are not written as they are."""
        ...


@dataclass(frozen=True, slots=True)
class Saved:
    """A planner's snapshot and when it was taken."""

    at_s: float
    snapshot: bytes


class StateStore(Protocol):
    """Keeps planner snapshots, and wakes that were accepted, across restarts."""

    async def load(self, service: ServiceId) -> Saved | None:
        """The newest snapshot of the service, None if there is none."""
        ...

    async def save(self, service: ServiceId, snapshot: bytes, at_s: float) -> None:
        """Keep a snapshot; replaces the former one."""
        ...

    async def load_wakes(self, now: float) -> Mapping[ServiceId, tuple[Wake, ...]]:
        """Wakes of every service that have not expired; drops the others."""
        ...

    async def save_wakes(self, service: ServiceId, wakes: tuple[Wake, ...]) -> None:
        """Keep the wakes of a service; replaces the former ones."""
        ...


class Past(Protocol):
    """What was recorded of a service before this service of ours watched it."""

    async def learn(self, service: ServiceId, spec: ServiceSpec, listed: Mapping[str, int]) -> bytes | None:
        """A planner's snapshot that lived through it; None where there is no use in it; `listed`: replicas by role."""
        ...


class DecisionSink(Protocol):
    """Takes every decision: the board KEDA is answered from, metrics, the flight recorder."""

    def publish(self, observation: Observation, decision: Decision, took_s: float) -> None:
        """Take one decision with the observation that led to it; must not block."""
        ...


class Ownership(Protocol):
    """Says which replica of ours plans: the holder of a Lease, or the only one there is.

    An implementation answers from memory, and must say no before any other replica may say yes: it counts on its own
    monotonic time from before it last renewed, so that an owner that is cut off stops by itself. It should not try for
    a Lease while `Service.fit` says no: a newcomer must not win against those who know.
    """

    def is_owner(self) -> bool:
        """Whether this replica may decide at this instant."""
        ...

    def owner(self) -> str | None:
        """host:port of the owner's gRPC server as last known, None if it is not."""
        ...

    def look(self) -> None:
        """The owner that was followed is heard no more: find out now what is known of it."""
        ...

    def others_may_own(self) -> bool:
        """Whether another replica may say at this instant that it is the owner too: nobody of us may use the Lease."""
        ...


class RefusedError(AutoscalerError):
    """A trigger is refused with an answer that never scales anything; the text says why and what to do."""


class ShadowError(RefusedError):
    """A trigger names a service that is only watched."""


class FightError(RefusedError):
    """Somebody else writes the replica count that a trigger asks for, or its numbers would act on another target."""


class UnknownTarget(AutoscalerError):  # noqa: N818 -- a state of knowledge, not a fault
    """What a trigger means cannot be told yet: KEDA should keep what is there and ask again."""


class TargetDirectory(Protocol):
    """Knows which target a KEDA call means."""

    def resolve(self, namespace: str, name: str, metadata: Mapping[str, str]) -> TargetId:
        """The target of a ScaledObject's trigger; applies what its metadata sets.

        Raises ConfigError (the trigger names no target of ours, another namespace, or a malformed value),
        RefusedError (the service is only watched, or somebody else scales it), and UnknownTarget (not told yet).
        """
        ...


class Discovery(TargetDirectory, Protocol):
    """Services that nobody wrote into a file: found, and kept current in the background."""

    def services(self) -> tuple[ServiceId, ...]:
        """Every service known now."""
        ...

    def settings(self, service: ServiceId) -> ServiceSettings:
        """What is set for a service now; raises KeyError for one that is not known."""
        ...

    def roles(self, service: ServiceId) -> Mapping[str, RoleSource]:
        """New sources of a service's roles; raises KeyError for one that is not known."""
        ...

    def workloads(self, service: ServiceId) -> Mapping[str, str]:
        """The name of what each role scales; raises KeyError for a service that is not known."""
        ...

    def waiting_for(self) -> str | None:
        """What is not known yet of which services there are; None: all of it is."""
        ...

    async def changed(self) -> None:
        """Wait until services or their roles are others than at the last call."""
        ...
