"""The price of deleting a pod, from the tokens it has in flight, so that a ReplicaSet removes the emptiest one.

Without it a ReplicaSet removes, of the pods that are ready, the newest. The annotation's documentation warns of updates
by a metric, for each is a write of a pod: so only the pods that should go are written, only when a decrease is decided,
only if another order would come of what stands there, and no order is made anew within a minute (Karpenter's pace too).
https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost

A price that somebody else set (Karpenter does, by its nodes) is left alone and told once; ours bears a mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

import structlog

from autoscaler.config.annotations import PREFIX
from autoscaler.core.records import Decision, Mode, ReplicaPhase, RoleObservation, Sample, ServiceMode, TargetId
from autoscaler.kube.apply import COST_LIMIT, POD_DELETION_COST, Outcome, WriteMetrics, write_deletion_cost
from autoscaler.kube.client import KubeClient
from autoscaler.kube.errors import Conflict, NotFound
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.objects import DEPLOYMENT, POD, Objects
from autoscaler.kube.meaning.raw import Raw
from autoscaler.kube.meaning.replicas import Memo
from autoscaler.kube.meaning.resolve import Target, look
from autoscaler.kube.writing.turns import Turns
from autoscaler.ports import Clock, Ownership

MARK = f"{PREFIX}pod-deletion-cost"
RENEW_S = 60.0
# In one turn; the ReplicaSet controller itself deletes in slow-start batches.
MOST_WRITES = 20

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Priced:
    """A pod that is ready, with its price and its load."""

    name: str
    version: str
    cost: int  # as the ReplicaSet reads it: 0 where none is written
    ours: bool  # no price, or one that we wrote
    marked: bool  # one that we wrote
    tokens: float | None  # in flight; None: not known, which is not empty


@dataclass(frozen=True, slots=True)
class Price:
    """One write: a price for a pod, None takes ours away."""

    pod: str
    version: str
    cost: int | None


def in_flight_tokens(sample: Sample | None, mean_tokens: float | None) -> float | None:
    """Tokens that are lost, and computed again, with a pod: those in its KV cache, else requests x their mean size.

    None where the page does not say.
    """
    if sample is None:
        return None
    waiting = sample.waiting or 0.0
    if sample.kv_usage is not None and sample.kv_capacity_tokens is not None:
        return sample.kv_usage * sample.kv_capacity_tokens + waiting * (mean_tokens or 0.0)
    if sample.running is None:
        return None
    return (sample.running + waiting) * (mean_tokens or 1.0)


def prices(pods: Sequence[Priced], leave: int, mean_tokens: float = 1.0) -> tuple[Price, ...]:
    """The writes that make the ReplicaSet remove the `leave` emptiest of these pods; none where nothing is won.

    Between equal prices it may take the fullest; what that would cost less than one mean request is not worth a write.
    """
    first = [one for one in pods if not one.ours and one.cost < 0]  # somebody else wants these gone, before any of ours
    rest = [one for one in pods if one not in first]
    leave -= len(first)
    known = sorted((one for one in rest if one.ours and one.tokens is not None), key=lambda one: (_lost(one), one.name))
    goers = known[: max(0, leave)]
    if not goers or len(goers) < leave or leave >= len(rest):
        return ()  # unknown is not empty; and where all go there is no order
    would_go = sorted(rest, key=lambda one: (one.cost, -_lost(one)))[:leave]
    if sum(map(_lost, would_go)) - sum(map(_lost, goers)) < mean_tokens:
        return ()
    names = {one.name for one in goers}
    cleared = [Price(one.name, one.version, None) for one in rest if one.marked and one.name not in names]
    return (*cleared, *(Price(one.name, one.version, _price(_lost(one))) for one in goers if not one.marked))


def _lost(pod: Priced) -> float:
    return inf if pod.tokens is None else pod.tokens


def leftovers(pods: Iterable[Priced]) -> tuple[Price, ...]:
    """Takes back every price of ours: nothing is to go any more."""
    return tuple(Price(one.name, one.version, None) for one in pods if one.marked)


def _price(tokens: float) -> int:
    """Below every pod without a price, the emptiest lowest."""
    return min(-1, round(tokens) - COST_LIMIT)


def _priced(raw: Raw, tokens: float | None) -> Priced:
    annotations = read.annotations_of(raw)
    written, mark = annotations.get(POD_DELETION_COST), annotations.get(MARK)
    try:
        cost = int(written) if written is not None else 0
    except ValueError:
        cost = 0  # the ReplicaSet controller reads it so too
    marked = written is not None and written == mark
    version = read.text(raw, "metadata", "resourceVersion")
    return Priced(read.name(raw), version, cost, marked or written is None, marked, tokens)


class DeletionCost:
    """Writes prices (see the module); `run` does the writing."""

    def __init__(
        self, client: KubeClient, ownership: Ownership, clock: Clock, metrics: WriteMetrics | None = None
    ) -> None:
        self.written = 0
        self.turns = Turns("podDeletionCost", clock, metrics)
        self._client = client
        self._ownership = ownership
        self._clock = clock
        self._again_s: dict[TargetId, float] = {}
        self._priced: set[TargetId] = set()  # may bear prices of ours; after a restart every one may
        self._known: set[TargetId] = set()
        self._told: set[TargetId] = set()
        self._memos: dict[TargetId, Memo] = {}  # of targets that fall, which are looked at with each decision

    def offer(self, decision: Decision, target: Target, objects: Objects, observed: RoleObservation) -> None:
        """Take a decision with what it was made from."""
        key = target.target
        role = decision.role(key.role)
        acts = target.mode is ServiceMode.ACT and target.pause is None and not target.stopped
        if decision.mode is not Mode.NORMAL or role is None or not acts or target.workload.kind != DEPLOYMENT:
            return
        present = observed.spec_replicas
        if present is None or not self._ownership.is_owner():
            return
        falls = decision.active and 0 < role.replicas < present
        if not falls and key in self._known and key not in self._priced:
            self._memos.pop(key, None)
            return
        now = self._clock.now()
        if now < self._again_s.get(key, 0.0):
            return
        mean = _mean_tokens(decision, key.role)
        pods = self._pods(target, objects, observed, mean)
        if pods is None:
            return
        self._known.add(key)
        if not any(one.marked for one in pods):
            self._priced.discard(key)
        # Pods that are not ready go first, whatever their price.
        leave = present - role.replicas - max(0, present - len(pods))
        writes = prices(pods, leave, mean or 1.0) if falls and leave > 0 else () if falls else leftovers(pods)
        if writes:
            self._again_s[key] = now + RENEW_S
            self._priced.add(key)
            self.turns.offer(key, lambda: self._write(key.service.namespace, writes[:MOST_WRITES]))

    def forget(self, target: TargetId) -> None:
        """The target is no longer there."""
        self._again_s.pop(target, None)
        self._memos.pop(target, None)
        for known in (self._priced, self._known, self._told):
            known.discard(target)

    async def run(self) -> None:
        """Write what was offered; ends by cancellation only."""
        await self.turns.run()

    def _pods(
        self, target: Target, objects: Objects, observed: RoleObservation, mean: float | None
    ) -> list[Priced] | None:
        sight = look(objects, target, self._memos.setdefault(target.target, {}))
        if sight.replicas is None or observed.replicas is None:
            return None
        samples = {one.replica_id: one.sample for one in observed.replicas}
        namespace = target.target.service.namespace
        found = []
        for one in sight.replicas:
            raw = objects.get(POD, namespace, one.pod)
            if raw is not None and one.phase is ReplicaPhase.READY:
                found.append(_priced(raw, in_flight_tokens(samples.get(one.replica_id), mean)))
        foreign = [one.name for one in found if not one.ours]
        if foreign and target.target not in self._told:
            self._told.add(target.target)
            _log.warning(
                "pods bear a deletion cost that somebody else set: it is left alone, and they are not chosen by load",
                target=str(target.target),
                pods=foreign[:5],
            )
        return found

    async def _write(self, namespace: str, writes: Sequence[Price]) -> None:
        for one in writes:
            if not self._ownership.is_owner():
                return
            try:
                await write_deletion_cost(self._client, namespace, one.pod, one.cost, mark=MARK, version=one.version)
            except Conflict:
                # The pod changed since it was looked at: the next turn looks again.
                self.turns.count(namespace, Outcome.CONFLICT)
            except NotFound:
                continue
            else:
                self.written += 1
                self.turns.count(namespace, Outcome.WRITTEN)


def _mean_tokens(decision: Decision, role: str) -> float | None:
    for one in decision.estimates:
        if one.role == role and (one.prompt_tokens_mean is not None or one.output_tokens_mean is not None):
            return (one.prompt_tokens_mean or 0.0) + (one.output_tokens_mean or 0.0)
    return None
