"""Kinds of the Kubernetes API, their paths, and the rule that a call on them needs."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind, as its path spells it: group ("" for core), version, plural."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As `apiVersion` of an object spells it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Path under the API server's address; no namespace: the whole cluster."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/" + "/".join(quote(part, safe="") for part in parts)

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True, slots=True)
class ApiGroup(Resource):
    """A document of the API itself: which versions a group is served in or, with a version, which kinds that has."""

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:  # noqa: ARG002
        """Path under the API server's address."""
        return "/" + "/".join(quote(part, safe="") for part in ("apis", self.group, self.version) if part)


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as RBAC sees it."""

    verb: str  # get, list, watch, create, update, patch, delete
    resource: Resource
    namespace: str | None = None
    name: str | None = None
    subresource: str | None = None

    def rule(self) -> str:
        """The rule that allows it, ready to paste into a Role (a ClusterRole when no namespace is named)."""
        plural = f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural
        role = f"Role in {self.namespace}" if self.namespace and self.resource.namespaced else "ClusterRole"
        return f'{{apiGroups: ["{self.resource.group}"], resources: ["{plural}"], verbs: ["{self.verb}"]}} ({role})'

    def __str__(self) -> str:
        what = f"{self.resource}/{self.subresource}" if self.subresource else str(self.resource)
        place = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.verb} {what} {place or 'in all namespaces'}"


PODS = Resource("", "v1", "pods", "Pod")
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet")
HORIZONTAL_POD_AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
SCALED_OBJECTS = Resource("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject")
INFERENCE_SERVICES = Resource("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService")
LLM_INFERENCE_SERVICES = Resource("serving.kserve.io", "v1alpha2", "llminferenceservices", "LLMInferenceService")
LEADER_WORKER_SETS = Resource("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet")
DISAGGREGATED_SET_ROLE_SCALERS = Resource(
    "disaggregatedset.x-k8s.io", "v1", "disaggregatedsetrolescalers", "DisaggregatedSetRoleScaler"
)
DISAGGREGATED_SETS = Resource("disaggregatedset.x-k8s.io", "v1", "disaggregatedsets", "DisaggregatedSet")
LLM_INFERENCE_SERVICE_CONFIGS = Resource(
    "serving.kserve.io", "v1alpha2", "llminferenceserviceconfigs", "LLMInferenceServiceConfig"
)
CAPACITY_BUFFERS = Resource("autoscaling.x-k8s.io", "v1beta1", "capacitybuffers", "CapacityBuffer")

# What `doctor` alone reads.
RESOURCE_QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
POD_DISRUPTION_BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
LOCAL_MODEL_CACHES = Resource("serving.kserve.io", "v1alpha1", "localmodelcaches", "LocalModelCache", namespaced=False)
LOCAL_QUEUES = Resource("kueue.x-k8s.io", "v1beta2", "localqueues", "LocalQueue")
CLUSTER_QUEUES = Resource("kueue.x-k8s.io", "v1beta2", "clusterqueues", "ClusterQueue", namespaced=False)
RESOURCE_CLAIM_TEMPLATES = Resource("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
NODE_POOLS = Resource("karpenter.sh", "v1", "nodepools", "NodePool", namespaced=False)
