"""Writes: server-side apply under our own field manager, the scale subresource, the price of deleting a pod.

Each is one request; who may write, and when, is decided elsewhere (the owner only, design 5.7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from autoscaler.kube.client import APPLY_PATCH, KubeClient
from autoscaler.kube.decoding import Json
from autoscaler.kube.resources import PODS, Resource

FIELD_MANAGER = "llm-autoscaler"
# Read by the ReplicaSet controller on scale-down: lower is deleted first, within 32 bits.
# https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost
POD_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
COST_LIMIT = 2**31 - 1


class Outcome(Enum):
    """What became of something that a writer wanted to write."""

    WRITTEN = "written"
    CONFLICT = "conflict"  # somebody else wrote first: left to the next decision
    REFUSED = "refused"  # a rule or a CRD is missing
    FAILED = "failed"  # by whatever else
    LIMITED = "limited"  # held back by ourselves


class WriteMetrics(Protocol):
    """What writers report; telemetry implements it."""

    def wrote(self, writer: str, namespace: str, outcome: str) -> None:
        """One write, or one that did not come to be; `outcome` is an Outcome's value."""
        ...


@dataclass(frozen=True, slots=True)
class Scale:
    """A scale subresource as read: asked for, there, which pods, and the version to write against."""

    replicas: int  # spec: asked for
    current: int  # status: there
    selector: str
    version: str


async def apply(
    client: KubeClient,
    resource: Resource,
    namespace: str | None,
    name: str,
    fields: Mapping[str, object],
    *,
    force: bool = False,
) -> Json:
    """Own exactly these fields of an object, made if need be; what we owned before and no longer name is removed.

    Raises Conflict where another manager owns one of them and `force` is false.
    """
    metadata = dict(_mapping(fields.get("metadata"))) | {"name": name}
    if namespace and resource.namespaced:
        metadata["namespace"] = namespace
    document = {**fields, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
    query = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"}
    return await client.patch(resource, namespace, name, document, content_type=APPLY_PATCH, query=query)


async def read_scale(client: KubeClient, resource: Resource, namespace: str, name: str) -> Scale:
    """The scale of a workload. Raises MissingKind (it has none), NotFound, Forbidden."""
    return _scale(await client.get(resource, namespace, name, "scale"))


async def write_scale(
    client: KubeClient, resource: Resource, namespace: str, name: str, replicas: int, *, version: str | None = None
) -> Scale:
    """Set the replicas asked for; with the version that was read it fails as Conflict if anybody wrote since."""
    document: Json = {"spec": {"replicas": replicas}}
    if version:
        document["metadata"] = {"resourceVersion": version}
    query = {"fieldManager": FIELD_MANAGER}
    return _scale(await client.patch(resource, namespace, name, document, subresource="scale", query=query))


async def write_deletion_cost(
    client: KubeClient, namespace: str, pod: str, cost: int | None, *, mark: str = "", version: str | None = None
) -> None:
    """Set the price of deleting a pod, within 32 bits; None removes it. Raises NotFound where the pod is gone.

    `mark` is an annotation that takes the same value, so that ours can be told from others'; with the version that was
    read it fails as Conflict if anybody wrote the pod since.
    """
    value = None if cost is None else str(max(-COST_LIMIT, min(COST_LIMIT, cost)))
    metadata: Json = {"annotations": {POD_DELETION_COST: value} | ({mark: value} if mark else {})}
    if version:
        metadata["resourceVersion"] = version
    await client.patch(PODS, namespace, pod, {"metadata": metadata}, query={"fieldManager": FIELD_MANAGER})


def _scale(document: Json) -> Scale:
    status = document.get("status") or {}
    return Scale(
        replicas=int((document.get("spec") or {}).get("replicas") or 0),
        current=int(status.get("replicas") or 0),
        selector=str(status.get("selector") or ""),
        version=str((document.get("metadata") or {}).get("resourceVersion") or ""),
    )


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
