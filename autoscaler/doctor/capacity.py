"""Checks of what the cluster has: will the replicas that may be asked for ever start, and do their nodes end."""

from __future__ import annotations

from collections.abc import Iterator

from autoscaler.doctor.look import Check, Look, of_scaled_object
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.findings import Finding, Severity
from autoscaler.kube.meaning.gpus import DEVICES, MIG_PREFIX, SHARED
from autoscaler.kube.meaning.objects import (
    CLUSTER_QUEUE,
    INFERENCE_SERVICE,
    LLM_INFERENCE_SERVICE,
    LOCAL_MODEL_CACHE,
    LOCAL_QUEUE,
    NODE,
    NODE_POOL,
    PDB,
    POD,
    RESOURCE_QUOTA,
)
from autoscaler.kube.meaning.raw import Raw
from autoscaler.kube.meaning.resolve import Target
from autoscaler.kube.meaning.selectors import from_object

QUEUE = "kueue.x-k8s.io/queue-name"
CACHE = "internal.serving.kserve.io/localmodel"
PRODUCT = "nvidia.com/gpu.product"
SKEW_S = 2.0  # half a decision period: older samples than that would read as newer


def devices(target: Target) -> dict[str, float]:
    """Devices of one replica by resource name, those of device plugins only."""
    return {
        name: count
        for name, count in target.gpus.resources
        if name in DEVICES or name == SHARED or name.startswith(MIG_PREFIX)
    }


def amount(written: str) -> float:
    """A count of devices as quotas write it; infinite where it is none."""
    return float(written) if written.isdecimal() else float("inf")


def queue_missing(look: Look) -> Iterator[Finding]:
    """Kueue admits what carries a queue's name, and KServe sets none."""
    for raw, target in look.targets():
        queues = look.objects.find(LOCAL_QUEUE, target.workload.namespace)
        labels = {**read.labels_of(target.workload.raw), **read.strings(target.workload.template, "metadata", "labels")}
        if queues and target.workload.raw and QUEUE not in labels:
            name = read.name(queues[0])
            yield of_scaled_object(
                "kueue-no-queue",
                Severity.WARNING,
                raw,
                "Kueue manages this namespace, and the workload names no queue: its pods are outside every quota, or "
                "are never admitted.",
                (f"LocalQueue {name}", f"{target.workload}: no label {QUEUE}"),
                f"# on the InferenceService, LLMInferenceService or workload:\nlabels: {{{QUEUE}: {name}}}",
            )


def over_queue_quota(look: Look) -> Iterator[Finding]:
    """More than Kueue can ever admit."""
    for raw, target in look.targets():
        labels = {**read.labels_of(target.workload.raw), **read.strings(target.workload.template, "metadata", "labels")}
        local = look.objects.get(LOCAL_QUEUE, target.workload.namespace, labels.get(QUEUE, ""))
        cluster = look.objects.get(CLUSTER_QUEUE, "", read.text(local, "spec", "clusterQueue"))
        if cluster is None:
            continue
        for name, each in devices(target).items():
            flavors = list(_flavors(cluster, name))
            most = target.bounds.max_replicas * each
            if flavors and all(most > limit for _, limit in flavors):
                yield of_scaled_object(
                    "kueue-over-quota",
                    Severity.WARNING,
                    raw,
                    "maxReplicaCount is more than Kueue admits in any flavor: the last replicas stay gated.",
                    (
                        f"{target.bounds.max_replicas} replicas x {each:g} {name} = {most:g}",
                        *(f"flavor {flavor}: {limit:g} with borrowing" for flavor, limit in flavors),
                    ),
                    f"spec:\n  maxReplicaCount: {max(1, int(max(limit for _, limit in flavors) // each))}",
                )


def _flavors(cluster_queue: Raw, resource: str) -> Iterator[tuple[str, float]]:
    """(flavor, nominal quota with what may be borrowed); without a borrowing limit a cohort may lend all it has."""
    cohort = read.text(cluster_queue, "spec", "cohortName") or read.text(cluster_queue, "spec", "cohort")
    for group in read.items(cluster_queue, "spec", "resourceGroups"):
        for flavor in read.items(group, "flavors"):
            for one in read.items(flavor, "resources"):
                if read.text(one, "name") == resource:
                    borrowed = read.text(one, "borrowingLimit")
                    extra = amount(borrowed) if borrowed or cohort else 0.0
                    yield read.text(flavor, "name"), amount(read.text(one, "nominalQuota")) + extra


def over_nodes(look: Look) -> Iterator[Finding]:
    """A pod that fits no node there is, or more than quota and node pools ever give."""
    for raw, target in look.targets():
        pod = _per_pod(target)
        for name, each in devices(target).items():
            most = target.bounds.max_replicas * each
            nodes = [amount(read.text(one, "status", "allocatable", name) or "0") for one in look.objects.find(NODE)]
            pools = [one for one in look.objects.find(NODE_POOL) if read.text(one, "spec", "limits", name)]
            if nodes and max(nodes) < pod.get(name, each) and not look.objects.find(NODE_POOL):
                yield of_scaled_object(
                    "gpus-over-node",
                    Severity.WARNING,
                    raw,
                    "One pod asks for more GPUs than the largest node has: unless an autoscaler brings larger nodes, "
                    "it never starts.",
                    (f"{pod.get(name, each):g} {name} a pod", f"largest node: {max(nodes):g}"),
                    "# Fewer GPUs a pod, a LeaderWorkerSet over several nodes, or nodes with more GPUs.",
                )
            limits = [(f"ResourceQuota {read.name(one)}", _quota(one, name)) for one in _quotas(look, target)]
            if pools:
                total = sum(amount(read.text(one, "spec", "limits", name)) for one in pools)
                limits.append((f"NodePool limits of {', '.join(read.name(one) for one in pools)}", total))
            for where, limit in limits:
                if most > limit:
                    yield of_scaled_object(
                        "gpus-over-limit",
                        Severity.WARNING,
                        raw,
                        "maxReplicaCount needs more GPUs than may exist here: the last replicas never start.",
                        (f"{target.bounds.max_replicas} replicas x {each:g} {name} = {most:g}", f"{where}: {limit:g}"),
                        f"spec:\n  maxReplicaCount: {max(1, int(limit // each))}",
                    )


def _per_pod(target: Target) -> dict[str, float]:
    containers = read.items(target.workload.template, "spec", "containers")
    found: dict[str, float] = {}
    for container in containers:
        for name, count in read.strings(container, "resources", "limits").items():
            if name in DEVICES or name.startswith(MIG_PREFIX):
                found[name] = found.get(name, 0.0) + amount(count)
    return found


def _quotas(look: Look, target: Target) -> list[Raw]:
    return list(look.objects.find(RESOURCE_QUOTA, target.workload.namespace))


def _quota(raw: Raw, resource: str) -> float:
    hard = read.strings(raw, "spec", "hard")
    written = hard.get(f"requests.{resource}") or hard.get(f"limits.{resource}")
    return amount(written) if written else float("inf")


def nodes_kept(look: Look) -> Iterator[Finding]:
    """Zero replicas save money only when their nodes go too."""
    zeroed = next((raw for raw, target in look.targets() if target.bounds.reaches_zero), None)
    if zeroed is None:
        return
    kept = [(read.name(one), _kept_by(one)) for one in look.objects.find(NODE) if _gpu_node(one) and _kept_by(one)]
    if kept:
        name, why = kept[0]
        yield of_scaled_object(
            "nodes-kept",
            Severity.WARNING,
            zeroed,
            "GPU nodes are told to stay, so zero replicas free no money.",
            tuple(f"Node {node}: {by}" for node, by in kept),
            f"kubectl annotate node {name} {why.partition(':')[0]}-",
        )
    yield from _pods_that_stay(look)


def _gpu_node(node: Raw) -> bool:
    return any(name in DEVICES or name.startswith(MIG_PREFIX) for name in read.mapping(node, "status", "allocatable"))


def _kept_by(node: Raw) -> str:
    found = read.annotations_of(node)
    keys = ("karpenter.sh/do-not-disrupt", "cluster-autoscaler.kubernetes.io/scale-down-disabled")
    return next((f"{key}: {found[key]}" for key in keys if found.get(key, "").lower() == "true"), "")


def _pods_that_stay(look: Look) -> Iterator[Finding]:
    """Pods beside the replicas, on GPU nodes, that no autoscaler may move."""
    nodes = {read.name(one) for one in look.objects.find(NODE) if _gpu_node(one)}
    own = [target.workload.selector for _, target in look.targets() if target.workload.selector is not None]
    for pod in look.objects.find(POD):
        if read.text(pod, "spec", "nodeName") not in nodes or any(one.matches(read.labels_of(pod)) for one in own):
            continue
        why = _stays_by(look, pod)
        if why:
            yield Finding(
                "nodes-kept",
                Severity.WARNING,
                f"Pod {read.namespace(pod)}/{read.name(pod)}",
                "This pod keeps a GPU node alive after the last replica is gone.",
                (f"on node {read.text(pod, 'spec', 'nodeName')}", why),
                "# Keep it off GPU nodes (nodeSelector or a taint on them), or let it be moved.",
            )


def _stays_by(look: Look, pod: Raw) -> str:
    found = read.annotations_of(pod)
    if found.get("karpenter.sh/do-not-disrupt", "").lower() == "true":
        return "karpenter.sh/do-not-disrupt: true"
    if found.get("cluster-autoscaler.kubernetes.io/safe-to-evict", "").lower() == "false":
        return "cluster-autoscaler.kubernetes.io/safe-to-evict: false"
    for pdb in look.objects.find(PDB, read.namespace(pod)):
        selector = from_object(pdb, "spec", "selector")
        most, least = read.text(pdb, "spec", "maxUnavailable"), read.text(pdb, "spec", "minAvailable")
        if selector and selector.matches(read.labels_of(pod)) and (most in ("0", "0%") or least == "100%"):
            return f"PodDisruptionBudget {read.name(pdb)} allows no disruption"
    return ""


def price_missing(look: Look) -> Iterator[Finding]:
    """Break-even times are in money; a wrong price keeps replicas too long or too short."""
    products = sorted({read.labels_of(one).get(PRODUCT, "") for one in look.objects.find(NODE)} - {""})
    if not products:
        return
    for raw, target in look.targets():
        if target.overrides.gpu_price_per_hour is None and devices(target):
            yield of_scaled_object(
                "no-price",
                Severity.NOTE,
                raw,
                "No price is set for the GPUs it uses: 2.5 an hour is assumed, unless the targets file has one.",
                (f"{PRODUCT}: {', '.join(products)}", "gpuPricePerHour: not set"),
                f"kubectl -n {target.workload.namespace} annotate scaledobject {read.name(raw)} "
                "llm-autoscaler.io/gpuPricePerHour=3.9",
            )


def clock_skew(look: Look) -> Iterator[Finding]:
    """Pod times and samples are compared: the clocks must agree."""
    skew_s = look.facts.clock_skew_s
    if skew_s is not None and abs(skew_s) > SKEW_S:
        yield Finding(
            "clock-skew",
            Severity.WARNING,
            "API server",
            "This clock and the API server's disagree: measured start times are wrong by as much.",
            (f"{skew_s:+.1f} s",),
            "# Run chrony or another NTP client on the nodes.",
        )


def cache_missing(look: Look) -> Iterator[Finding]:
    """From zero a replica loads its weights from wherever they are."""
    for raw, target in look.targets():
        if not target.bounds.reaches_zero:
            continue
        namespace, service = target.target.service.namespace, target.target.service.name
        owner = look.objects.get(INFERENCE_SERVICE, namespace, service)
        owner = owner or look.objects.get(LLM_INFERENCE_SERVICE, namespace, service)
        labels = {**read.labels_of(target.workload.raw), **read.labels_of(owner)}
        cache = look.objects.get(LOCAL_MODEL_CACHE, "", labels.get(CACHE, ""))
        copies = read.mapping(cache, "status", "copies")
        available, total = read.whole(copies, "available") or 0, read.whole(copies, "total") or 0
        if cache is not None and available < total:
            states = read.strings(cache, "status", "nodeStatus")
            yield of_scaled_object(
                "cache-missing",
                Severity.WARNING,
                raw,
                "The model is not cached on every node of its pool: a wake-up there downloads it first.",
                (
                    f"LocalModelCache {read.name(cache)}: {available} of {total} copies",
                    *(f"node {node}: {state}" for node, state in sorted(states.items()) if state != "NodeDownloaded"),
                ),
                "# Wait for the downloads, or stay above zero until then:\nspec: {minReplicaCount: 1}",
            )


CHECKS: tuple[Check, ...] = (
    Check("kueue-no-queue", "Does Kueue know the workload?", queue_missing),
    Check("kueue-over-quota", "Does Kueue admit as many as may be asked for?", over_queue_quota),
    Check("gpus-over", "Do nodes, quotas and node pools have the GPUs?", over_nodes),
    Check("nodes-kept", "Do GPU nodes go when the last replica goes?", nodes_kept),
    Check("no-price", "Is a price set for the GPUs in use?", price_missing),
    Check("clock-skew", "Do the clocks agree?", clock_skew),
    Check("cache-missing", "Is the model cached where it will start?", cache_missing),
)
