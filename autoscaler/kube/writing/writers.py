"""The writers that are turned on, as one sink of decisions, to stand after the board that KEDA is answered from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from autoscaler.core.records import Decision, Observation, RoleObservation, ServiceId, ServiceMode, TargetId
from autoscaler.kube.errors import Forbidden
from autoscaler.kube.events import ObjectRef
from autoscaler.kube.meaning.findings import Severity
from autoscaler.kube.meaning.objects import HPA, POD, SCALED_OBJECT, Kind, Objects
from autoscaler.kube.meaning.resolve import Target
from autoscaler.kube.writing.buffers import Buffers
from autoscaler.kube.writing.deletion_cost import DeletionCost
from autoscaler.kube.writing.events_of import EventsOf, reference
from autoscaler.kube.writing.fast_path import FastPath, aim_of

_log = structlog.get_logger(__name__)


def _nothing(_: Kind, __: str) -> Forbidden | None:
    return None


class Writers:
    """A `DecisionSink` that offers each decision to the writers; `run` does their writing. None: that one is off."""

    def __init__(
        self,
        objects: Objects,
        target_of: Callable[[TargetId], Target | None],
        *,
        fast_path: FastPath | None = None,
        deletion_cost: DeletionCost | None = None,
        buffers: Buffers | None = None,
        events: EventsOf | None = None,
        forbidden: Callable[[Kind, str], Forbidden | None] = _nothing,
    ) -> None:
        """`target_of` gives a target as it is resolved now; None: it is not known, and nothing is written for it.

        `forbidden` says which rule is missing to read a kind in a namespace.
        """
        self._objects = objects
        self._target_of = target_of
        self._fast_path = fast_path
        self._deletion_cost = deletion_cost
        self._buffers = buffers
        self._events = events
        self._forbidden = forbidden
        self._targets: dict[ServiceId, frozenset[TargetId]] = {}  # that something is remembered of
        self._on = [one for one in (fast_path, deletion_cost, buffers) if one is not None]
        self._said: set[type[Exception]] = set()

    def publish(self, observation: Observation, decision: Decision, took_s: float) -> None:  # noqa: ARG002
        """Take one decision with the observation that led to it; never waits, never raises."""
        if observation.spec.mode is ServiceMode.SHADOW:  # also where it is blind, and its decision says so
            self.forget(decision.service)
            return
        try:
            self._keep(decision.service, frozenset(TargetId(decision.service, one.role) for one in observation.roles))
            about: dict[str, ObjectRef] = {}
            for role in observation.roles:
                target = self._target_of(TargetId(decision.service, role.role))
                if target is not None:
                    self._offer(decision, target, role, about)
            if self._events is not None:
                self._events.offer(decision, about)
        except Exception as error:  # noqa: BLE001 -- a surprise here must not end the loop that scales
            if type(error) not in self._said:
                self._said.add(type(error))
                _log.exception("a decision was not offered to the writers", service=str(decision.service))

    def forget(self, service: ServiceId) -> None:
        """The service is no longer there, or no longer ours to decide: what others do meanwhile is not known here."""
        self._keep(service, frozenset())
        self._targets.pop(service, None)
        if self._events is not None:
            self._events.forget(service)

    def forget_all(self) -> None:
        """Another replica of ours decides from now on."""
        for service in list(self._targets):
            self.forget(service)

    def _keep(self, service: ServiceId, targets: frozenset[TargetId]) -> None:
        for gone in self._targets.get(service, frozenset()) - targets:
            for one in self._on:
                one.turns.drop(gone)
                one.forget(gone)
        self._targets[service] = targets

    async def run(self) -> None:
        """Write what was offered; ends by cancellation only."""
        async with asyncio.TaskGroup() as tasks:
            for one in self._on:
                tasks.create_task(one.run())

    def _offer(self, decision: Decision, target: Target, role: RoleObservation, about: dict[str, ObjectRef]) -> None:
        present = role.spec_replicas
        if self._fast_path is not None:
            self._fast_path.offer(decision, aim_of(self._objects, target), target.target, present)
        if self._deletion_cost is not None:
            self._deletion_cost.offer(decision, target, self._objects, role)
        if self._buffers is not None:
            self._buffers.offer(decision, target, self._objects, present)
        namespace = target.target.service.namespace
        raw = self._objects.get(SCALED_OBJECT, namespace, target.scaled_object)
        if self._events is None or raw is None:
            return
        ref = reference(raw)
        if not any(one.severity is Severity.ERROR for one in target.findings):  # or KEDA is refused: no step is asked
            about[role.role] = ref
        self._events.found(ref, target.findings)
        for one in self._on:
            self._events.missing(ref, one.turns.what, one.turns.refused.get(namespace))
        for kind in (POD, HPA, target.workload.kind):
            self._events.missing(ref, f"reading {kind.kind}s", self._forbidden(kind, namespace))
