"""What this package reads from: raw objects by kind, namespace and name, and whether a kind can be read at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.raw import Raw
from autoscaler.kube.meaning.selectors import Selector


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind in any of its versions: what is read of it did not change between those that are served."""

    group: str  # "" for the core group
    kind: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind


POD = Kind("", "Pod")
NODE = Kind("", "Node")
RESOURCE_QUOTA = Kind("", "ResourceQuota")
DEPLOYMENT = Kind("apps", "Deployment")
STATEFUL_SET = Kind("apps", "StatefulSet")
HPA = Kind("autoscaling", "HorizontalPodAutoscaler")
PDB = Kind("policy", "PodDisruptionBudget")
SCALED_OBJECT = Kind("keda.sh", "ScaledObject")
INFERENCE_SERVICE = Kind("serving.kserve.io", "InferenceService")
LLM_INFERENCE_SERVICE = Kind("serving.kserve.io", "LLMInferenceService")
LLM_CONFIG = Kind("serving.kserve.io", "LLMInferenceServiceConfig")
LOCAL_MODEL_CACHE = Kind("serving.kserve.io", "LocalModelCache")
LEADER_WORKER_SET = Kind("leaderworkerset.x-k8s.io", "LeaderWorkerSet")
DISAGGREGATED_SET = Kind("disaggregatedset.x-k8s.io", "DisaggregatedSet")
ROLE_SCALER = Kind("disaggregatedset.x-k8s.io", "DisaggregatedSetRoleScaler")
LOCAL_QUEUE = Kind("kueue.x-k8s.io", "LocalQueue")
CLUSTER_QUEUE = Kind("kueue.x-k8s.io", "ClusterQueue")
CLAIM_TEMPLATE = Kind("resource.k8s.io", "ResourceClaimTemplate")
NODE_POOL = Kind("karpenter.sh", "NodePool")

ALL_KINDS = tuple(value for value in list(globals().values()) if isinstance(value, Kind))
CLUSTER_SCOPED = frozenset({NODE, LOCAL_MODEL_CACHE, CLUSTER_QUEUE, NODE_POOL})


class Reading(Enum):
    """How well a kind is known."""

    READ = "read"  # everything there is: what is not found is not there
    ABSENT = "absent"  # no such CRD: there are none
    PARTIAL = "partial"  # some objects were given (files): others may be there
    FORBIDDEN = "forbidden"
    STALE = "stale"  # read once; the watch is broken, and what is known may be old
    UNWATCHED = "unwatched"  # nobody looks at this kind

    @property
    def complete(self) -> bool:
        """Whether an object that is not found is known not to be there."""
        return self in (Reading.READ, Reading.ABSENT)


class Objects(Protocol):
    """Raw objects as last read; lookups are from memory and never wait."""

    def get(self, kind: Kind, namespace: str, name: str) -> Raw | None:
        """One object; None if it is not known. `namespace` is "" for cluster-scoped kinds."""
        ...

    def find(self, kind: Kind, namespace: str | None = None, selector: Selector | None = None) -> Sequence[Raw]:
        """The objects of a kind, of one namespace (None: all of them), that a selector matches (None: all)."""
        ...

    def scalers(self, kind: Kind, namespace: str, target: str) -> Sequence[Raw]:
        """The objects of a kind (HPAs, ScaledObjects) in a namespace whose `scaleTargetRef` has this name."""
        ...

    def reading(self, kind: Kind, namespace: str | None = None) -> Reading:
        """How well a kind is known there."""
        ...


def scales(raw: Raw) -> str:
    """The name of what an HPA or a ScaledObject scales; empty for other objects."""
    return read.text(raw, "spec", "scaleTargetRef", "name")


def kind_of(raw: Raw) -> Kind:
    """The kind of an object that carries its own apiVersion and kind."""
    return Kind(read.group_of(read.text(raw, "apiVersion")), read.text(raw, "kind"))


class ObjectSet:
    """Objects that were given (an `Objects`): recorded ones, or those of files."""

    def __init__(
        self, raws: Iterable[Raw], readings: Mapping[Kind, Reading] | None = None, default: Reading = Reading.READ
    ) -> None:
        """`default` is the reading of every kind that `readings` does not name."""
        self._readings = dict(readings or {})
        self._default = default
        self._by_kind: dict[Kind, dict[tuple[str, str], Raw]] = {}
        for raw in raws:
            kind = kind_of(raw)
            namespace = "" if kind in CLUSTER_SCOPED else read.namespace(raw) or "default"
            self._by_kind.setdefault(kind, {})[namespace, read.name(raw)] = raw

    def get(self, kind: Kind, namespace: str, name: str) -> Raw | None:
        """One object; None if it was not given."""
        return self._by_kind.get(kind, {}).get((namespace, name))

    def find(self, kind: Kind, namespace: str | None = None, selector: Selector | None = None) -> Sequence[Raw]:
        """The objects of a kind, in the order in which they were given."""
        return [
            raw
            for (where, _), raw in self._by_kind.get(kind, {}).items()
            if (namespace is None or where == namespace)
            and (selector is None or selector.matches(read.mapping(raw, "metadata", "labels")))
        ]

    def scalers(self, kind: Kind, namespace: str, target: str) -> Sequence[Raw]:
        """The objects of a kind that scale a target of this name."""
        return [one for one in self.find(kind, namespace) if scales(one) == target]

    def reading(self, kind: Kind, namespace: str | None = None) -> Reading:  # noqa: ARG002
        """How well a kind is known."""
        return self._readings.get(kind, self._default)
