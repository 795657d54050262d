"""What writes into the cluster, put together from the operator's switches; nothing where none is on."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from autoscaler.config.server import WriterSettings
from autoscaler.core.records import ServiceId
from autoscaler.kube.apply import WriteMetrics
from autoscaler.kube.client import KubeClient
from autoscaler.kube.cluster import Cluster
from autoscaler.kube.discovery import KubeDiscovery
from autoscaler.kube.events import EventRecorder
from autoscaler.kube.writing.buffers import Buffers
from autoscaler.kube.writing.deletion_cost import DeletionCost
from autoscaler.kube.writing.events_of import EventsOf
from autoscaler.kube.writing.fast_path import FastPath
from autoscaler.kube.writing.writers import Writers
from autoscaler.ports import Clock, DecisionSink, Ownership


class SureOwner:
    """The owner, for writers: no where several replicas may own at a time, for what they write would fight."""

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership

    def is_owner(self) -> bool:
        """Whether this replica owns at this instant, and no other can."""
        return self._ownership.is_owner() and not self.others_may_own()

    def owner(self) -> str | None:
        """See `Ownership`."""
        return self._ownership.owner()

    def look(self) -> None:
        """See `Ownership`."""
        self._ownership.look()

    def others_may_own(self) -> bool:
        """See `Ownership`."""
        return self._ownership.others_may_own()


class Writing:
    """The writers that are on: a sink of decisions, to stand after the board, and what must run for it."""

    def __init__(self, writers: Writers | None = None, recorder: EventRecorder | None = None) -> None:
        self._writers = writers
        self.sinks: tuple[DecisionSink, ...] = () if writers is None else (writers,)
        self.runs: tuple[Callable[[], Awaitable[None]], ...] = () if writers is None else (writers.run,)
        if recorder is not None:
            self.runs += (recorder.run,)

    def owns(self, owner: bool) -> None:
        """A term begins or ends: what was remembered of targets is not what the next owner leaves."""
        if self._writers is not None and not owner:
            self._writers.forget_all()

    def forgets(self, service: ServiceId) -> None:
        """A service is planned no more."""
        if self._writers is not None:
            self._writers.forget(service)


def writing(
    on: WriterSettings,
    client: KubeClient,
    cluster: Cluster,
    found: KubeDiscovery,
    ownership: Ownership,
    clock: Clock,
    rng: random.Random,
    metrics: WriteMetrics,
) -> Writing:
    """The writers that are switched on; each asks right before a write whether this replica owns, and no other can."""
    if not (on.fast_path or on.pod_deletion_cost or on.capacity_buffer or on.events):
        return Writing()
    sure = SureOwner(ownership)
    recorder = EventRecorder(client, clock, instance=on.instance, rng=rng, metrics=metrics) if on.events else None
    writers = Writers(
        cluster.objects,
        found.target,
        fast_path=FastPath(client, sure, clock, metrics) if on.fast_path else None,
        deletion_cost=DeletionCost(client, sure, clock, metrics) if on.pod_deletion_cost else None,
        buffers=Buffers(client, sure, clock, metrics) if on.capacity_buffer else None,
        events=EventsOf(recorder, sure, clock) if recorder is not None else None,
        forbidden=cluster.forbidden,
    )
    return Writing(writers, recorder)
