"""What a ScaledObject says: its triggers and which are ours, bounds, pauses, and how the HPA may step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.config.metadata import FOREIGN, KEYS, OPERATOR_ONLY, normalise
from autoscaler.config.vocabulary import nearest
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.raw import Raw

# KEDA's defaults (its ScaledObject types and scale loop).
MAX_REPLICAS, POLLING_S, COOLDOWN_S = 100, 30, 300
EXTERNAL = frozenset({"external", "external-push"})
PAUSES = (
    "autoscaling.keda.sh/paused",
    "autoscaling.keda.sh/paused-replicas",
    "autoscaling.keda.sh/paused-scale-in",
    "autoscaling.keda.sh/paused-scale-out",
)
CHART = "llm-autoscaler"  # part of the host that the chart's Service has


@dataclass(frozen=True, slots=True)
class KedaTrigger:
    """One trigger as written."""

    index: int
    type: str
    metric_type: str  # AverageValue where none is written
    metadata: Mapping[str, str]
    cached: bool  # useCachedMetrics
    name: str = ""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Replica bounds as KEDA acts on them."""

    min_replicas: int = 0
    max_replicas: int = MAX_REPLICAS
    idle_replicas: int | None = None

    @property
    def reaches_zero(self) -> bool:
        """Whether KEDA may take the target to zero."""
        return self.min_replicas == 0 or self.idle_replicas == 0

    @property
    def least(self) -> int:
        """Fewest replicas that may be asked for: in idle mode `min` holds only while active."""
        return 0 if self.reaches_zero else self.min_replicas


@dataclass(frozen=True, slots=True)
class Pause:
    """How KEDA's annotations hold the target; what is decided meanwhile does not act."""

    annotation: str
    value: str


def triggers(scaled_object: Raw) -> tuple[KedaTrigger, ...]:
    """Its triggers in order."""
    return tuple(
        KedaTrigger(
            index,
            read.text(one, "type"),
            read.text(one, "metricType") or "AverageValue",
            read.strings(one, "metadata"),
            read.at(one, "useCachedMetrics") is True,
            read.text(one, "name"),
        )
        for index, one in enumerate(read.items(scaled_object, "spec", "triggers"))
    )


def is_ours(trigger: KedaTrigger, addresses: frozenset[str] = frozenset()) -> bool:
    """Whether a trigger calls us: by address where ours are known, else by what its metadata looks like.

    Other external scalers carry keys of their own (`httpScaledObject`, `interceptorRoute`); a key that is only
    misspelt is one of ours.
    """
    if trigger.type not in EXTERNAL:
        return False
    address = trigger.metadata.get("scalerAddress", "")
    if addresses:
        return address in addresses
    known = KEYS | FOREIGN | OPERATOR_ONLY
    return CHART in address or all(key in known or nearest(key, KEYS) for key in trigger.metadata)


def our_triggers(scaled_object: Raw, addresses: frozenset[str] = frozenset()) -> tuple[KedaTrigger, ...]:
    """The triggers that call us."""
    return tuple(one for one in triggers(scaled_object) if is_ours(one, addresses))


def triggers_with(scaled_object: Raw, metadata: Mapping[str, str]) -> tuple[KedaTrigger, ...]:
    """The external triggers with this metadata: what KEDA calls us with does not say which one it is."""
    called = normalise(metadata)
    found = (one for one in triggers(scaled_object) if one.type in EXTERNAL)
    return tuple(one for one in found if normalise(one.metadata) == called)


def bounds(scaled_object: Raw) -> Bounds:
    """Its replica bounds, with KEDA's defaults."""
    least = read.whole(scaled_object, "spec", "minReplicaCount")
    most = read.whole(scaled_object, "spec", "maxReplicaCount")
    return Bounds(
        least if least is not None else 0,
        most if most is not None else MAX_REPLICAS,
        read.whole(scaled_object, "spec", "idleReplicaCount"),
    )


def pause(scaled_object: Raw) -> Pause | None:
    """The pause that is on, None if there is none; an annotation set to false is no pause."""
    found = read.annotations_of(scaled_object)
    for key in PAUSES:
        if key in found and found[key].lower() != "false":
            return Pause(key, found[key])
    return None


def behavior(scaled_object: Raw, direction: str) -> Raw:
    """What it says of the HPA's `scaleUp` or `scaleDown`; empty where nothing is said."""
    return read.mapping(scaled_object, "spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", direction)


def tolerance(scaled_object: Raw, direction: str) -> float | None:
    """The HPA's tolerance in a direction; None where the cluster's default (0.1) holds."""
    written = read.text(behavior(scaled_object, direction), "tolerance")
    try:
        return float(written.removesuffix("m")) / (1000.0 if written.endswith("m") else 1.0) if written else None
    except ValueError:
        return None


def cooldown_s(scaled_object: Raw) -> int:
    """Seconds from the last activity to zero."""
    found = read.whole(scaled_object, "spec", "cooldownPeriod")
    return COOLDOWN_S if found is None else found


def about(scaled_object: Raw) -> str:
    """How findings name it."""
    return f"ScaledObject {read.namespace(scaled_object) or 'default'}/{read.name(scaled_object)}"
