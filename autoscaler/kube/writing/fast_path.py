"""The fast path: spec.replicas written by ourselves where KEDA and the HPA are slow, or never come, to the same N.

Three occasions, all with the N that KEDA is told:
- the activation edge: KEDA writes 1, and the HPA comes to N at its next sync (12 s measured);
- the dead band: asked 13 at 12, within its tolerance of 0.1, the HPA stays at 12 for good;
- the ramp: with its default policies it adds max(4 pods, 100 %) in 15 s, so 1 -> 12 takes it 46 s.

Upwards only, unless the HPA would not write a decrease back: with its default window of 300 s it does, and GPU pods
load anew. What was measured beside the real KEDA and HPA: a raise written while, or 2 s before, the metric says the
same N is kept. Everything else is theirs, zero above all.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import ceil

from autoscaler.core.records import Decision, Mode, ServiceMode, TargetId
from autoscaler.kube.apply import Outcome, Scale, WriteMetrics, read_scale, write_scale
from autoscaler.kube.client import KubeClient
from autoscaler.kube.errors import Conflict
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning import scaledobject as keda
from autoscaler.kube.meaning.findings import Severity
from autoscaler.kube.meaning.objects import (
    DEPLOYMENT,
    HPA,
    LEADER_WORKER_SET,
    ROLE_SCALER,
    SCALED_OBJECT,
    STATEFUL_SET,
    Kind,
    Objects,
    Reading,
)
from autoscaler.kube.meaning.raw import Raw
from autoscaler.kube.meaning.resolve import Target
from autoscaler.kube.resources import (
    DEPLOYMENTS,
    DISAGGREGATED_SET_ROLE_SCALERS,
    LEADER_WORKER_SETS,
    STATEFUL_SETS,
    Resource,
)
from autoscaler.kube.writing.turns import Turns
from autoscaler.ports import Clock, Ownership

# Kinds whose scale we may patch: the chart's rules name the same.
SCALABLE: dict[Kind, Resource] = {
    DEPLOYMENT: DEPLOYMENTS,
    STATEFUL_SET: STATEFUL_SETS,
    LEADER_WORKER_SET: LEADER_WORKER_SETS,
    ROLE_SCALER: DISAGGREGATED_SET_ROLE_SCALERS,
}
# The HPA's defaults. https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#default-behavior
TOLERANCE = 0.1
RAMP_PODS, RAMP_TIMES = 4, 2
SYNC_S = 15.0
# KEDA's own write of 1 may come after ours and over it (it reads zero, then writes); by the HPA's second sync N is up
# to the HPA alone.
EDGE_S = 2 * SYNC_S
# At the edge KEDA reads zero, then the scale, then writes 1 over whatever that says: a write of ours in between would
# be lost, and its pods with it. By push it wrote after 6 to 57 ms as measured; where it polls it is not waited for.
KEDA_S, LOOK_S = 0.3, 0.03
# Somebody wrote between our look and our write: mostly a controller, its status. Looked at and judged anew, at once.
TRIES = 4
# Writes at once, then one for each sync of the HPA: whoever writes more is fighting with somebody.
BURST = 3


class Occasion(Enum):
    """Why we may write instead of the HPA."""

    EDGE = "edge"
    DEAD_BAND = "dead_band"
    RAMP = "ramp"


@dataclass(frozen=True, slots=True)
class Aim:
    """What a scale may be set to, as the ScaledObject says."""

    target: TargetId
    resource: Resource
    name: str
    bounds: keda.Bounds
    tolerance_up: float = TOLERANCE
    tolerance_down: float = TOLERANCE
    up: Raw | None = None  # behavior.scaleUp where its policies are written; None: the default ones hold
    downwards: bool = False  # the HPA does not write a decrease back

    def goal(self, decision: Decision) -> int | None:
        """N as KEDA is told it and within KEDA's bounds; None: nothing of this decision is ours to write."""
        role = decision.role(self.target.role)
        if decision.mode is not Mode.NORMAL or not decision.active or role is None:
            return None
        return min(max(1, role.replicas, self.bounds.min_replicas), self.bounds.max_replicas)


def aim_of(objects: Objects, target: Target) -> Aim | None:
    """What may be written for a target; None where it may not be: the HPA would not come to the same N by itself.

    So with a pause, a shadow, a fight, a stopped target, bounds that may be old, a formula or another way of counting.
    """
    namespace = target.target.service.namespace
    raw = objects.get(SCALED_OBJECT, namespace, target.scaled_object)
    resource = SCALABLE.get(target.workload.kind)
    if raw is None or resource is None or objects.reading(SCALED_OBJECT, namespace) is not Reading.READ:
        return None
    fights = any(one.severity is Severity.ERROR for one in target.findings)
    held = target.stopped or keda.pause(raw) is not None or target.mode is not ServiceMode.ACT
    if fights or held or _counted_otherwise(raw):
        return None
    up = keda.behavior(raw, "scaleUp")
    if read.text(up, "selectPolicy") == "Disabled" or read.whole(up, "stabilizationWindowSeconds"):
        return None  # somebody wants rises late, or never
    return Aim(
        target.target,
        resource,
        target.workload.name,
        keda.bounds(raw),
        _tolerance(objects, raw, "scaleUp"),
        _tolerance(objects, raw, "scaleDown"),
        up if read.items(up, "policies") else None,
        downwards=len(keda.triggers(raw)) == 1 and _falls_at_once(keda.behavior(raw, "scaleDown")),
    )


def _counted_otherwise(raw: Raw) -> bool:
    """Whether what the HPA makes of our value is not our value."""
    formula = read.text(raw, "spec", "advanced", "scalingModifiers", "formula")
    external = [one for one in keda.triggers(raw) if one.type in keda.EXTERNAL]
    at_once = _falls_at_once(keda.behavior(raw, "scaleDown"))
    return bool(formula) or any(one.metric_type != "AverageValue" or (one.cached and at_once) for one in external)


def _falls_at_once(down: Raw) -> bool:
    """No window, and all in one step: KEDA's HPA then takes a lower count as it is."""
    whole = all(
        read.text(one, "type") == "Percent" and (read.whole(one, "value") or 0) >= 100
        for one in read.items(down, "policies")
    )
    window_s = read.whole(down, "stabilizationWindowSeconds")
    return window_s == 0 and whole and read.text(down, "selectPolicy") != "Disabled"


def _tolerance(objects: Objects, raw: Raw, direction: str) -> float:
    """As the HPA has it: API servers without HPAConfigurableTolerance (off before 1.35) drop what is written."""
    said = keda.tolerance(raw, direction)
    made = read.text(raw, "spec", "advanced", "horizontalPodAutoscalerConfig", "name") or f"keda-hpa-{read.name(raw)}"
    hpa = objects.get(HPA, read.namespace(raw) or "default", made)
    dropped = hpa is not None and not read.text(hpa, "spec", "behavior", direction, "tolerance")
    return TOLERANCE if said is None or dropped else said


def occasion(aim: Aim, scale: Scale, goal: int, *, edge: bool) -> Occasion | None:
    """Why a scale may be set to `goal` by us; None: KEDA and the HPA do it, or it is there."""
    present = scale.replicas
    rises = goal > present
    if goal == present or not (rises or aim.downwards):
        return None
    if aim.up is not None and goal > _reach(aim.up, max(1, present)):
        return None  # steps that somebody set
    if edge and rises:
        return Occasion.EDGE
    tolerance = aim.tolerance_up if rises else aim.tolerance_down
    # The HPA compares with the pods that are there; while they are not as many as asked for, its ratio is another.
    # To wake from a zero whose edge we did not see is KEDA's.
    if scale.current == present > 0 and abs(goal / present - 1.0) <= tolerance:
        return Occasion.DEAD_BAND
    ramps = aim.up is None and present > 0 and goal > max(present + RAMP_PODS, present * RAMP_TIMES)
    return Occasion.RAMP if ramps else None


def _reach(up: Raw, present: int) -> int:
    """As far as written policies let the HPA rise from `present` in one of their periods."""
    steps = []
    for one in read.items(up, "policies"):
        value = read.whole(one, "value") or 0
        steps.append(present + value if read.text(one, "type") == "Pods" else ceil(present * (1.0 + value / 100.0)))
    return min(steps) if read.text(up, "selectPolicy") == "Min" else max(steps)


@dataclass(slots=True)
class _Seen:
    """What is remembered of one target."""

    aim: Aim | None = None
    goal: int | None = None  # of the newest decision; None: nothing of it is ours to write
    idle: bool = False
    edge_until_s: float = 0.0
    tokens: float = BURST
    at_s: float = 0.0


class FastPath:
    """Writes counts of replicas (see the module); `run` does the writing."""

    def __init__(
        self, client: KubeClient, ownership: Ownership, clock: Clock, metrics: WriteMetrics | None = None
    ) -> None:
        self.written: dict[Occasion, int] = dict.fromkeys(Occasion, 0)
        self.limited = 0  # writes left out by the rate limit
        self.turns = Turns("fastPath", clock, metrics)
        self._client = client
        self._ownership = ownership
        self._clock = clock
        self._seen: dict[TargetId, _Seen] = {}

    def offer(self, decision: Decision, aim: Aim | None, target: TargetId, present: int | None) -> None:
        """Take a decision that KEDA is told already; `present` is spec.replicas as observed, None: not known."""
        now = self._clock.now()
        seen = self._seen.setdefault(target, _Seen(at_s=now))
        seen.aim = aim
        seen.goal = aim.goal(decision) if aim is not None else None
        if decision.mode is Mode.NORMAL:
            if decision.active and (seen.idle or present == 0):
                seen.edge_until_s = now + EDGE_S
            elif not decision.active:
                seen.edge_until_s = 0.0
            seen.idle = not decision.active
        edge = now < seen.edge_until_s
        if aim is None or seen.goal is None or present is None or not self._ownership.is_owner():
            self.turns.drop(target)
        elif occasion(aim, Scale(present, present, "", ""), seen.goal, edge=edge) is not None:
            self.turns.offer(target, lambda: self._write(aim, seen))

    def forget(self, target: TargetId) -> None:
        """The target is no longer there."""
        self._seen.pop(target, None)

    async def run(self) -> None:
        """Write what was offered; ends by cancellation only."""
        await self.turns.run()

    async def _write(self, aim: Aim, seen: _Seen) -> None:
        for left in reversed(range(TRIES)):
            try:
                return await self._try(aim, seen)
            except Conflict:
                seen.tokens += 1.0  # nothing was written
                if not left:
                    raise
                self.turns.count(aim.target.service.namespace, Outcome.CONFLICT)
        return None

    async def _try(self, aim: Aim, seen: _Seen) -> None:
        namespace = aim.target.service.namespace
        scale = await read_scale(self._client, aim.resource, namespace, aim.name)
        until_s = self._clock.now() + KEDA_S
        while scale.replicas == 0 and self._clock.now() < until_s:
            await self._clock.sleep(LOOK_S)
            scale = await read_scale(self._client, aim.resource, namespace, aim.name)
        now = self._clock.now()
        goal = seen.goal if seen.aim == aim else None  # a decision that came meanwhile counts, not the one before
        found = occasion(aim, scale, goal, edge=now < seen.edge_until_s) if goal is not None else None
        if goal is None or found is None:
            return
        seen.tokens = min(float(BURST), seen.tokens + (now - seen.at_s) / SYNC_S)
        seen.at_s = now
        if seen.tokens < 1.0:
            self.limited += 1
            self.turns.count(namespace, Outcome.LIMITED)
            return
        if not self._ownership.is_owner():
            return
        seen.tokens -= 1.0
        await write_scale(self._client, aim.resource, namespace, aim.name, goal, version=scale.version)
        self.written[found] += 1
        self.turns.count(namespace, Outcome.WRITTEN)
