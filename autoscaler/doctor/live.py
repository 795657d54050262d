"""A live cluster, read once: every kind that the checks look at, and how far our clock is from the API server's.

A kind that is forbidden or not installed is said to be so and stops nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from autoscaler.core.errors import ClusterError
from autoscaler.doctor.look import Facts
from autoscaler.kube import resources as api
from autoscaler.kube.client import KubeClient, Selection
from autoscaler.kube.connection import find
from autoscaler.kube.decoding import Json, keep, without_bookkeeping
from autoscaler.kube.errors import ApiError, Forbidden, Gone, MissingKind, Unauthorized, Unreachable
from autoscaler.kube.meaning import objects as kinds
from autoscaler.kube.meaning.needed import FIELDS
from autoscaler.kube.meaning.objects import Kind, Objects, ObjectSet, Reading
from autoscaler.kube.resources import Resource

Connect = Callable[[str | None], tuple[Objects, Facts]]

PAGE = 500  # objects; what kubectl asks for
# A list whose pages expire (5 minutes, by etcd's compaction) is begun again.
TRIES = 3


def _versions(resource: Resource, *older: str) -> tuple[Resource, ...]:
    return (resource, *(replace(resource, version=one) for one in older))


# Each kind in the versions that servers have, the newest first: what is read of them did not change between them.
READ: Mapping[Kind, tuple[Resource, ...]] = {
    kinds.SCALED_OBJECT: (api.SCALED_OBJECTS,),
    kinds.POD: (api.PODS,),
    kinds.NODE: (api.NODES,),
    kinds.RESOURCE_QUOTA: (api.RESOURCE_QUOTAS,),
    kinds.DEPLOYMENT: (api.DEPLOYMENTS,),
    kinds.STATEFUL_SET: (api.STATEFUL_SETS,),
    kinds.HPA: (api.HORIZONTAL_POD_AUTOSCALERS,),
    kinds.PDB: (api.POD_DISRUPTION_BUDGETS,),
    kinds.INFERENCE_SERVICE: (api.INFERENCE_SERVICES,),
    kinds.LLM_INFERENCE_SERVICE: _versions(api.LLM_INFERENCE_SERVICES, "v1alpha1"),
    kinds.LLM_CONFIG: _versions(api.LLM_INFERENCE_SERVICE_CONFIGS, "v1alpha1"),
    kinds.LOCAL_MODEL_CACHE: (api.LOCAL_MODEL_CACHES,),
    kinds.LEADER_WORKER_SET: (api.LEADER_WORKER_SETS,),
    kinds.DISAGGREGATED_SET: (api.DISAGGREGATED_SETS,),
    kinds.ROLE_SCALER: (api.DISAGGREGATED_SET_ROLE_SCALERS,),
    kinds.LOCAL_QUEUE: _versions(api.LOCAL_QUEUES, "v1beta1"),
    kinds.CLUSTER_QUEUE: _versions(api.CLUSTER_QUEUES, "v1beta1"),
    kinds.CLAIM_TEMPLATE: _versions(api.RESOURCE_CLAIM_TEMPLATES, "v1beta2", "v1beta1"),
    kinds.NODE_POOL: (api.NODE_POOLS,),
}


def connect(namespace: str | None) -> tuple[Objects, Facts]:
    """The objects of a cluster (of one namespace, or None: all) as listed once, and what else is known.

    The cluster is that of the pod's ServiceAccount, or the one that kubectl would use. Raises ClusterError: there is
    none, or it cannot be reached.
    """
    connection = find()
    if connection is None:
        raise ClusterError(
            "there is no cluster to look at: no pod's ServiceAccount and no kubeconfig was found; set KUBECONFIG, or "
            "give manifests with --files, for instance\n"
            "  kubectl get scaledobjects,hpa,deployments,statefulsets,pods -A -o yaml | autoscaler doctor --files -"
        )

    async def look() -> tuple[Objects, Facts]:
        async with KubeClient(connection) as client:
            return await read_cluster(client, namespace)

    return asyncio.run(look())


async def read_cluster(
    client: KubeClient, namespace: str | None, now: Callable[[], float] = time.time
) -> tuple[ObjectSet, Facts]:
    """Every kind that the checks look at, page by page, and the skew of our clock; `now` is Unix time.

    Raises ClusterError: the cluster cannot be reached, or does not accept our credentials.
    """
    raws: list[Json] = []
    readings: dict[Kind, Reading] = {}
    skew_s: float | None = None
    for kind, versions in READ.items():
        asked_s = now()
        readings[kind] = await _read(client, kind, versions, namespace, raws)
        if skew_s is None and client.answered_date_s is not None:
            # The header has whole seconds, so the server's time was half a second more, on average; the answer of one
            # list is slow enough to be taken at its middle.
            skew_s = (asked_s + now()) / 2.0 - (client.answered_date_s + 0.5)
    return ObjectSet(raws, readings), Facts(clock_skew_s=skew_s)


async def _read(
    client: KubeClient, kind: Kind, versions: tuple[Resource, ...], namespace: str | None, raws: list[Json]
) -> Reading:
    for resource in versions:
        try:
            raws += await _all(client, kind, resource, namespace)
        except MissingKind:
            continue
        except Forbidden:
            return Reading.FORBIDDEN
        except (Unreachable, Unauthorized):
            raise
        except ApiError:
            return Reading.PARTIAL  # the server cannot tell us now: others may be there
        return Reading.READ
    return Reading.ABSENT


async def _all(client: KubeClient, kind: Kind, resource: Resource, namespace: str | None) -> list[Json]:
    """Every object of a kind. Raises what `KubeClient.list_page` does."""
    trim = keep(*FIELDS[kind]) if kind in FIELDS else without_bookkeeping
    selection = Selection(resource, namespace if resource.namespaced else None)
    for last in (*(False,) * (TRIES - 1), True):
        found: list[Json] = []

        def take(item: Json, found: list[Json] = found) -> None:
            # Objects of a list do not carry their own kind.
            found.append({**trim(item), "apiVersion": resource.api_version, "kind": resource.kind})

        try:
            page = await client.list_page(selection, take, limit=PAGE)
            while page.next_page:
                page = await client.list_page(selection, take, limit=PAGE, page=page.next_page)
        except Gone:
            if last:
                raise
        else:
            return found
    raise AssertionError("unreachable")
