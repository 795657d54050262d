"""A CapacityBuffer for each target: nodes boot before replicas are asked for.

A node takes minutes and a pod on a node that is there seconds to a minute, so what is predicted beyond what is there is
held as placeholder pods of the serving workload's own shape, by whoever makes nodes (cluster-autoscaler, Karpenter).
Zero when nothing is predicted; never made for a target that never needed one; it belongs to the ScaledObject and goes
with it. https://github.com/kubernetes/autoscaler/tree/master/cluster-autoscaler/apis/capacitybuffer
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from autoscaler.core.errors import ClusterError
from autoscaler.core.records import Decision, Mode, ServiceMode, TargetId
from autoscaler.kube.apply import FIELD_MANAGER, Outcome, WriteMetrics, apply
from autoscaler.kube.client import KubeClient
from autoscaler.kube.decoding import Json
from autoscaler.kube.errors import Conflict, NotFound
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.objects import SCALED_OBJECT, Objects
from autoscaler.kube.meaning.resolve import Target
from autoscaler.kube.resources import CAPACITY_BUFFERS, SCALED_OBJECTS
from autoscaler.kube.writing.turns import OFF_S, Turns
from autoscaler.ports import Clock, Ownership

ACTIVE_CAPACITY = "buffer.x-k8s.io/active-capacity"
MANAGED_BY = "app.kubernetes.io/managed-by"
SUFFIX = "-predicted"
NAME_LIMIT = 253
# Nodes that a buffer lets go take minutes to come back; cluster-autoscaler itself waits 10 minutes until it takes away
# a node that nobody needs (--scale-down-unneeded-time).
FALL_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Buffer:
    """What is written of one."""

    name: str
    namespace: str
    scaled_object: str
    uid: str  # of the ScaledObject
    group: str
    kind: str
    workload: str
    replicas: int

    def document(self) -> Json:
        """As applied."""
        owner = {
            "apiVersion": SCALED_OBJECTS.api_version,
            "kind": SCALED_OBJECTS.kind,
            "name": self.scaled_object,
            "uid": self.uid,
        }
        return {
            "metadata": {"labels": {MANAGED_BY: FIELD_MANAGER}, "ownerReferences": [owner]},
            "spec": {
                "provisioningStrategy": ACTIVE_CAPACITY,
                "scalableRef": {"apiGroup": self.group, "kind": self.kind, "name": self.workload},
                "replicas": self.replicas,
            },
        }


def predicted(decision: Decision, role: str) -> int:
    """Replicas predicted at the horizon, and no fewer than are asked for now."""
    asked = decision.role(role)
    now = asked.replicas if asked is not None and decision.active else 0
    ahead = [one.forecast_replicas for one in decision.estimates if one.role == role]
    return max(now, *(ceil(one - 1e-6) for one in ahead if one is not None), 0)


def buffer_of(objects: Objects, target: Target, ahead: int, present: int) -> Buffer | None:
    """The buffer for `ahead` replicas predicted where `present` are asked for; None: its ScaledObject is not known."""
    namespace = target.target.service.namespace
    raw = objects.get(SCALED_OBJECT, namespace, target.scaled_object)
    uid = read.text(raw, "metadata", "uid")
    if not uid:
        return None
    comes = target.pause is None and not target.stopped and target.mode is ServiceMode.ACT
    missing = min(ahead, target.bounds.max_replicas) - present
    name = f"{target.scaled_object[: NAME_LIMIT - len(SUFFIX)]}{SUFFIX}"
    kind = target.workload.kind
    replicas = max(0, missing) if comes else 0
    return Buffer(name, namespace, target.scaled_object, uid, kind.group, kind.kind, target.workload.name, replicas)


@dataclass(slots=True)
class _Kept:
    written: Buffer | None = None
    seen: bool = False  # whether the API server was asked what is there
    fall_at_s: float | None = None
    blocked_until_s: float = 0.0  # somebody else owns what stands there


class Buffers:
    """Writes buffers (see the module); `run` does the writing."""

    def __init__(
        self, client: KubeClient, ownership: Ownership, clock: Clock, metrics: WriteMetrics | None = None
    ) -> None:
        self.written = 0
        self.turns = Turns("capacityBuffer", clock, metrics)
        self._client = client
        self._ownership = ownership
        self._clock = clock
        self._kept: dict[TargetId, _Kept] = {}

    def offer(
        self, decision: Decision, target: Target, objects: Objects, present: int | None, ahead: int | None = None
    ) -> None:
        """Take a decision; `present` is spec.replicas, `ahead` the replicas at the nodes' own lead time if known."""
        key = target.target
        if decision.mode is not Mode.NORMAL or present is None or not self._ownership.is_owner():
            self.turns.drop(key)
            return
        wanted = buffer_of(objects, target, predicted(decision, key.role) if ahead is None else ahead, present)
        if wanted is None:
            return
        kept = self._kept.setdefault(key, _Kept())
        if self._due(kept, wanted):
            self.turns.offer(key, lambda: self._write(kept, wanted))

    def forget(self, target: TargetId) -> None:
        """The target is no longer there; its buffer goes with the ScaledObject."""
        self._kept.pop(target, None)

    async def run(self) -> None:
        """Write what was offered; ends by cancellation only."""
        await self.turns.run()

    def _due(self, kept: _Kept, wanted: Buffer) -> bool:
        """Rises at once, falls after a while of being lower; never again what stands there."""
        now = self._clock.now()
        if now < kept.blocked_until_s:
            return False
        before = kept.written
        if before == wanted or (before is None and kept.seen and wanted.replicas == 0):
            kept.fall_at_s = None
            return False
        if before is None or wanted.replicas > before.replicas or wanted.uid != before.uid:
            kept.fall_at_s = None
            return True
        if kept.fall_at_s is None:
            kept.fall_at_s = now + FALL_AFTER_S
        return now >= kept.fall_at_s

    async def _write(self, kept: _Kept, wanted: Buffer) -> None:
        if not kept.seen:
            found = await self._found(kept, wanted)
            kept.seen = True
            if found is None and wanted.replicas == 0:
                return
        if not self._ownership.is_owner():
            return
        try:
            await apply(self._client, CAPACITY_BUFFERS, wanted.namespace, wanted.name, wanted.document())
        except Conflict as conflict:
            raise self._blocked(kept, str(conflict)) from None
        kept.written = wanted
        kept.fall_at_s = None
        self.written += 1
        self.turns.count(wanted.namespace, Outcome.WRITTEN)

    async def _found(self, kept: _Kept, wanted: Buffer) -> Json | None:
        """What stands there under the name; raises ClusterError where it is not ours."""
        try:
            found = await self._client.get(CAPACITY_BUFFERS, wanted.namespace, wanted.name)
        except NotFound:
            return None
        if read.labels_of(found).get(MANAGED_BY) != FIELD_MANAGER:
            where = f"CapacityBuffer {wanted.namespace}/{wanted.name}"
            raise self._blocked(kept, f"{where} is not labelled {MANAGED_BY}: {FIELD_MANAGER}; rename or delete it")
        return found

    def _blocked(self, kept: _Kept, why: str) -> ClusterError:
        """Somebody else's: left alone, and looked at again slowly."""
        kept.blocked_until_s = self._clock.now() + OFF_S
        return ClusterError(why)
