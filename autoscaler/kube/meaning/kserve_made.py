"""What KServe will make of its objects: ScaledObjects, and LLMInferenceServices with their base configurations.

Needed where KServe has not acted yet: in files, before they are applied. Names and fields are those that its
controllers write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.kserve import CLASS, llm_workloads
from autoscaler.kube.meaning.kserve_bases import with_bases
from autoscaler.kube.meaning.objects import (
    INFERENCE_SERVICE,
    LLM_CONFIG,
    LLM_INFERENCE_SERVICE,
    SCALED_OBJECT,
    ObjectSet,
    Reading,
    kind_of,
)
from autoscaler.kube.meaning.raw import Raw

# Its own types' defaults.
MIN_REPLICAS, MAX_REPLICAS = 1, 1


def with_made(raws: Iterable[Raw]) -> tuple[Raw, ...]:
    """The objects, LLMInferenceServices with their base configurations laid under, and what KServe will make of all."""
    given = tuple(raws)
    configs = {read.name(one): one for one in given if kind_of(one) == LLM_CONFIG}
    complete = tuple(with_bases(one, configs) if kind_of(one) == LLM_INFERENCE_SERVICE else one for one in given)
    there = {(read.namespace(one), read.name(one)) for one in complete if kind_of(one) == SCALED_OBJECT}
    made = [one for raw in complete for one in made_of(raw) if (read.namespace(one), read.name(one)) not in there]
    return (*complete, *made)


def made_of(raw: Raw) -> Iterator[Raw]:
    """The ScaledObjects that KServe makes for one of its objects."""
    if kind_of(raw) == LLM_INFERENCE_SERVICE:
        yield from _of_llm(raw)
    elif kind_of(raw) == INFERENCE_SERVICE and read.annotations_of(raw).get(CLASS) == "keda":
        yield _of_isvc(raw)


def _of_llm(raw: Raw) -> Iterator[Raw]:
    for kind, name, role in llm_workloads(raw):
        prefill = role == "prefill"
        scaling = read.mapping(raw, "spec", "prefill", "scaling") if prefill else read.mapping(raw, "spec", "scaling")
        keda = read.mapping(scaling, "keda")
        if not keda:
            continue
        version = "apps/v1" if kind.group == "apps" else f"{kind.group}/v1"
        copied = ("pollingInterval", "cooldownPeriod", "initialCooldownPeriod", "idleReplicaCount", "fallback")
        yield _scaled_object(
            raw,
            f"{read.name(raw)}-kserve{'-prefill' if prefill else ''}-keda",
            {
                **{key: keda[key] for key in copied if key in keda},
                "scaleTargetRef": {"apiVersion": version, "kind": kind.kind, "name": name},
                "minReplicaCount": read.whole(scaling, "minReplicas") or MIN_REPLICAS,
                "maxReplicaCount": read.whole(scaling, "maxReplicas") or MAX_REPLICAS,
                "triggers": list(read.items(keda, "triggers")),
            },
        )


def _of_isvc(raw: Raw) -> Raw:
    predictor = read.mapping(raw, "spec", "predictor")
    least = read.whole(predictor, "minReplicas")
    workload = f"{read.name(raw)}-predictor"
    triggers = [_trigger(one, raw, workload) for one in read.items(predictor, "autoScaling", "metrics")]
    spec = {
        "scaleTargetRef": {"name": workload},
        "minReplicaCount": MIN_REPLICAS if least is None else least,
        "maxReplicaCount": read.whole(predictor, "maxReplicas") or MAX_REPLICAS,
        "triggers": [one for one in triggers if one],
    }
    return _scaled_object(raw, workload, spec)


def _trigger(metric: Raw, raw: Raw, workload: str) -> Raw:
    kind = read.text(metric, "type")
    pod, external = read.mapping(metric, "podmetric"), read.mapping(metric, "external")
    if kind == "PodMetric":
        inside = f'{{namespace="{read.namespace(raw) or "default"}", deployment="{workload}"}}'
        metadata = {
            "scalerAddress": read.text(pod, "metric", "serverAddress"),
            "metricQuery": f"sum({read.text(pod, 'metric', 'query')}{inside})",
            "targetValue": read.text(pod, "target", "value"),
        }
        return {"type": "external", "metadata": metadata}
    if kind == "External":
        metadata = {"serverAddress": read.text(external, "metric", "serverAddress")}
        metadata |= {
            "query": read.text(external, "metric", "query"),
            "threshold": read.text(external, "target", "value"),
        }
        return {"type": read.text(external, "metric", "backend"), "metadata": metadata}
    target = read.mapping(metric, "resource", "target")
    value = read.text(target, "averageUtilization")
    return {"type": read.text(metric, "resource", "name"), "metricType": "Utilization", "metadata": {"value": value}}


def _scaled_object(raw: Raw, name: str, spec: Raw) -> Raw:
    kind = kind_of(raw)
    owner = {"apiVersion": read.text(raw, "apiVersion"), "kind": kind.kind, "name": read.name(raw), "controller": True}
    metadata = {"name": name, "namespace": read.namespace(raw) or "default", "ownerReferences": [owner]}
    return {"apiVersion": "keda.sh/v1alpha1", "kind": SCALED_OBJECT.kind, "metadata": metadata, "spec": spec}


def files_set(raws: Iterable[Raw]) -> ObjectSet:
    """The objects of files as `Objects`: what is not among them may be in the cluster."""
    return ObjectSet(with_made(raws), default=Reading.PARTIAL)
