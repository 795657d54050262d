"""What KServe's controllers make of an InferenceService and an LLMInferenceService in Standard mode, to be replayed.

Names, labels, selectors, annotations, ports and owners as KServe 0.20-rc0 (commit aaac4e294) was seen to write them;
its controllers and webhooks do not run here.
"""

from __future__ import annotations

import copy
from typing import Any

from tests.e2e.api import Object
from tests.e2e.manifests import readme_scaled_object

EXTERNAL = {"serving.kserve.io/deploymentMode": "Standard", "serving.kserve.io/autoscalerClass": "external"}
KEDA_CLASS = {"serving.kserve.io/deploymentMode": "Standard", "serving.kserve.io/autoscalerClass": "keda"}
LLM_LABELS = {"app.kubernetes.io/part-of": "llminferenceservice", "kserve.io/component": "workload"}


def inference_service(namespace: str, name: str, annotations: dict[str, str], predictor: Object) -> Object:
    """An InferenceService with a container of the user's own."""
    container = {
        "name": "kserve-container",
        "image": "emulated",
        "ports": [{"containerPort": 8000, "name": "http1", "protocol": "TCP"}],
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {"predictor": {"containers": [container], **predictor}},
    }


def predictor_deployment(owner: Object) -> Object:
    """The Deployment of an InferenceService's predictor: no `replicas`, so that the API server makes it 1."""
    metadata, predictor = owner["metadata"], owner["spec"]["predictor"]
    name = f"{metadata['name']}-predictor"
    labels = {
        "app": f"isvc.{name}",
        "component": "predictor",
        "serving.kserve.io/inferenceservice": metadata["name"],
    }
    containers = copy.deepcopy(predictor["containers"])
    containers[0]["env"] = [{"name": "INFERENCE_SERVICE_NAME", "value": metadata["name"]}]
    return _deployment(
        owner, name, {"app": labels["app"]}, labels, metadata.get("annotations", {}), {"containers": containers}
    )


def llm_inference_service(namespace: str, name: str, scaling: Object | None) -> Object:
    """An LLMInferenceService with prefill and decode apart; without `scaling` its counts are nobody's but ours."""
    part = {"template": {"containers": [{"name": "main", "image": "emulated"}]}}
    extra = {} if scaling is None else {"scaling": scaling}
    return {
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": {"name": name, "namespace": namespace, "annotations": {"prometheus.io/port": "8000"}},
        "spec": {
            "model": {"uri": "hf://Qwen/Qwen2.5-0.5B", "name": "qwen"},
            "storageInitializer": {"enabled": False},
            **part,
            **extra,
            "prefill": {**copy.deepcopy(part), **copy.deepcopy(extra)},
        },
    }


def llm_deployments(owner: Object) -> tuple[Object, Object]:
    """The Deployments of an LLMInferenceService: decode (the main workload), and prefill."""
    name = owner["metadata"]["name"]
    made = []
    for role, suffix, port in (("decode", "", 8001), ("prefill", "-prefill", 8000)):
        labels = {
            **LLM_LABELS,
            "app.kubernetes.io/name": name,
            "app.kubernetes.io/component": f"llminferenceservice-workload{suffix}",
            "llm-d.ai/role": role,
        }
        container = {"name": "main", "image": "emulated", "ports": [{"containerPort": port, "protocol": "TCP"}]}
        spec = {"containers": [container], "terminationGracePeriodSeconds": 60}
        made.append(_deployment(owner, f"{name}-kserve{suffix}", labels, labels, {"prometheus.io/port": "8000"}, spec))
    return made[0], made[1]


def keda_scaling(triggers: list[Object], most: int) -> Object:
    """`spec.scaling` that KServe turns into a ScaledObject: no HPA behavior can be written there."""
    keda = {"pollingInterval": 5, "cooldownPeriod": 5, "idleReplicaCount": 0, "triggers": triggers}
    return {"minReplicas": 1, "maxReplicas": most, "keda": keda}


def kserves_scaled_object(owner: Object, target: str, scaling: Object) -> Object:
    """The ScaledObject that KServe makes from `scaling.keda`; its labels are the same for both roles."""
    keda = scaling["keda"]
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {
            "name": f"{target}-keda",
            "namespace": owner["metadata"]["namespace"],
            "labels": {
                "app.kubernetes.io/component": "llminferenceservice-workload",
                "app.kubernetes.io/name": owner["metadata"]["name"],
                "app.kubernetes.io/part-of": "llminferenceservice",
            },
            "ownerReferences": [_owner(owner)],
        },
        "spec": {
            "pollingInterval": keda["pollingInterval"],
            "cooldownPeriod": keda["cooldownPeriod"],
            "idleReplicaCount": keda["idleReplicaCount"],
            "minReplicaCount": scaling["minReplicas"],
            "maxReplicaCount": scaling["maxReplicas"],
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "triggers": keda["triggers"],
        },
    }


def pod_metric_scaled_object(owner: Object, address: str, most: int) -> Object:
    """What KServe makes for class `keda` and a PodMetric: type `external`, no push, KEDA's defaults."""
    metadata = owner["metadata"]
    name = f"{metadata['name']}-predictor"
    query = f'sum(vllm:num_requests_running{{namespace="{metadata["namespace"]}", deployment="{name}"}})'
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 0}, "scaleUp": {"stabilizationWindowSeconds": 0}}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "annotations": KEDA_CLASS,
            "ownerReferences": [_owner(owner)],
        },
        "spec": {
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}, "scalingModifiers": {}},
            "minReplicaCount": 1,
            "maxReplicaCount": most,
            "scaleTargetRef": {"name": name},
            "triggers": [
                {
                    "type": "external",
                    "metadata": {"scalerAddress": address, "targetValue": "1", "metricQuery": query},
                }
            ],
        },
    }


def our_scaled_object(namespace: str, name: str, target: str, trigger: dict[str, str], **changes: Any) -> Object:
    """The README's ScaledObject for a Deployment of KServe's."""
    one = copy.deepcopy(readme_scaled_object())
    one["metadata"] = {"name": name, "namespace": namespace}
    one["spec"] |= {"scaleTargetRef": {"name": target}, "pollingInterval": 5, "cooldownPeriod": 5, **changes}
    one["spec"]["triggers"][0]["metadata"] = trigger
    return one


def _deployment(
    owner: Object, name: str, selector: Object, labels: Object, annotations: dict[str, str], pod: Object
) -> Object:
    namespace = owner["metadata"]["namespace"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [_owner(owner)],
        },
        "spec": {
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
        },
    }


def _owner(one: Object) -> Object:
    return {
        "apiVersion": one["apiVersion"],
        "kind": one["kind"],
        "name": one["metadata"]["name"],
        "uid": one["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
