"""What the checks look at: objects, the targets among them, and what was measured elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median

from autoscaler.core.records import ReplicaPhase, ServiceId, ServiceSpec, TargetId
from autoscaler.kube.meaning.findings import Finding, Severity
from autoscaler.kube.meaning.objects import Objects
from autoscaler.kube.meaning.raw import Raw
from autoscaler.kube.meaning.resolve import Surveyed, Target, look, survey
from autoscaler.kube.meaning.scaledobject import KedaTrigger, about, our_triggers

DEFAULT_PRICE = ServiceSpec(ServiceId("", "")).gpu_price_per_hour


@dataclass(frozen=True, slots=True)
class Measured:
    """What the running service has measured of a target; None: not known."""

    cold_start_s: float | None = None
    generation_p99_s: float | None = None  # from the first token to the last


@dataclass(frozen=True, slots=True)
class Facts:
    """What no object tells."""

    clock_skew_s: float | None = None  # ours minus the API server's
    measured: Mapping[TargetId, Measured] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Look:
    """Everything the checks may look at."""

    objects: Objects
    surveyed: tuple[Surveyed, ...]
    facts: Facts = Facts()
    namespace: str | None = None  # None: all of them
    addresses: frozenset[str] = frozenset()

    def ours(self, scaled_object: Raw) -> tuple[KedaTrigger, ...]:
        """The triggers of a ScaledObject that call us."""
        return our_triggers(scaled_object, self.addresses)

    def targets(self) -> Iterator[tuple[Raw, Target]]:
        """Every ScaledObject that could be read, with its target."""
        for one in self.surveyed:
            if one.target is not None:
                yield one.scaled_object, one.target

    def cold_start_s(self, target: Target) -> float | None:
        """Creation to ready: as the service measured it, else the median of the pods that run."""
        told = self.facts.measured.get(target.target, Measured()).cold_start_s
        if told is not None:
            return told
        starts_s = [
            one.ready_at_s - one.created_at_s
            for one in look(self.objects, target).replicas or ()
            if one.phase is ReplicaPhase.READY and not one.restarts and one.ready_at_s and one.created_at_s
        ]
        return median(starts_s) if starts_s else None


def look_at(
    objects: Objects,
    namespace: str | None = None,
    facts: Facts = Facts(),
    addresses: frozenset[str] = frozenset(),
) -> Look:
    """Survey the objects; `addresses` are those that triggers know us by, empty: told by their look."""
    return Look(objects, survey(objects, namespace, addresses), facts, namespace, addresses)


Run = Callable[[Look], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: the name its findings carry, what it asks, and how."""

    name: str
    asks: str
    run: Run


def of_scaled_object(
    check: str, severity: Severity, scaled_object: Raw, cause: str, evidence: tuple[str, ...], fix: str
) -> Finding:
    """A finding about a ScaledObject."""
    return Finding(check, severity, about(scaled_object), cause, evidence, fix)


def price_per_hour(target: Target) -> float:
    """Of one GPU, as set or assumed."""
    return target.overrides.gpu_price_per_hour or DEFAULT_PRICE
