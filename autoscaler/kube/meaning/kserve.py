"""Who owns a scale target, and on which of KServe's paths it is.

Facts were measured on KServe's real controllers (docs/kserve.md says which hold and which fight). Nothing is read from,
and nothing may be written to, annotations of ours on an InferenceService: any of them rolls every pod.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.kserve_bases import whole_spec
from autoscaler.kube.meaning.objects import (
    DEPLOYMENT,
    DISAGGREGATED_SET,
    INFERENCE_SERVICE,
    LEADER_WORKER_SET,
    LLM_INFERENCE_SERVICE,
    Kind,
    Objects,
)
from autoscaler.kube.meaning.raw import NOTHING, Raw
from autoscaler.kube.meaning.workload import SET_NAME, Workload, role_of_scaler

ISVC_LABEL = "serving.kserve.io/inferenceservice"
CLASS = "serving.kserve.io/autoscalerClass"
DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"
STOP = "serving.kserve.io/stop"
LLM_ROLE = "llm-d.ai/role"
KNATIVE_MODES = frozenset({"Knative", "Serverless"})
KNATIVE_GROUP = "serving.knative.dev"
ROLES = frozenset({"prefill", "decode"})


class Path(Enum):
    """How a target came to be scaled; the value is what the docs and `doctor` call it."""

    BARE = "workload"
    ISVC_EXTERNAL = "InferenceService, class external"
    ISVC_KEDA = "InferenceService, class keda"
    ISVC_HPA = "InferenceService, class hpa or none set"
    ISVC_NONE = "InferenceService, class none"
    ISVC_MULTI_NODE = "InferenceService, multi-node"
    ISVC_KNATIVE = "InferenceService, Knative mode"
    LLM_OWN = "LLMInferenceService, own ScaledObject"
    LLM_SCALING = "LLMInferenceService, scaling.keda"
    LLM_WVA = "LLMInferenceService, scaling.wva"
    LLM_STATIC = "LLMInferenceService, static replicas"
    DISAGGREGATED_SET = "DisaggregatedSet"

    @property
    def made_by_kserve(self) -> bool:
        """Whether KServe writes the ScaledObject and puts back what others change in it."""
        return self in (Path.ISVC_KEDA, Path.LLM_SCALING)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who a scale target serves for."""

    kind: Kind | None  # None: a bare workload
    name: str
    service: str  # the service its target belongs to
    role: str  # "", "prefill" or "decode"
    path: Path
    stopped: bool = False  # its stop annotation is set
    known: bool = True  # False: a bare workload only because its owner could not be read
    raw: Raw = field(default_factory=dict)
    template: Raw = field(default_factory=dict)  # of the pods it asks for, as far as it says: for what is not there yet

    def about(self, namespace: str) -> str:
        """How findings name it."""
        return f"{self.kind.kind if self.kind else 'service'} {namespace}/{self.name}"


def owner_of(objects: Objects, workload: Workload, scaled_object: Raw) -> Owner:
    """The InferenceService, LLMInferenceService or DisaggregatedSet behind a scale target, or the target itself.

    Read off the workload's owner and labels; a workload that is gone is known by its ScaledObject's owner or by the
    names that KServe gives, so that a stopped service keeps its identity.
    """
    namespace = workload.namespace
    name = _isvc_name(objects, workload, scaled_object)
    if name:
        return _isvc(objects, namespace, name, workload)
    name = _llm_name(objects, workload, scaled_object)
    if name:
        return _llm(objects, namespace, name, workload, scaled_object)
    name = _owned_by(workload.raw, DISAGGREGATED_SET) or read.labels_of(workload.raw).get(SET_NAME, "")
    if name:
        role = role_of_scaler(workload.raw)
        if role in ROLES:
            return Owner(DISAGGREGATED_SET, name, name, role, Path.DISAGGREGATED_SET)
        return Owner(DISAGGREGATED_SET, name, workload.name, "", Path.DISAGGREGATED_SET)
    hidden = workload.found is not True and not all(
        objects.reading(kind, namespace).complete for kind in (INFERENCE_SERVICE, LLM_INFERENCE_SERVICE)
    )
    return Owner(None, workload.name, workload.name, "", Path.BARE, known=not hidden)


def _owned_by(raw: Raw, kind: Kind) -> str:
    return next((one.name for one in read.owners(raw) if (one.group, one.kind) == (kind.group, kind.kind)), "")


# --- InferenceService -------------------------------------------------------------------------------------------------


def _isvc_name(objects: Objects, workload: Workload, scaled_object: Raw) -> str:
    for raw in (workload.raw, scaled_object):
        name = _owned_by(raw, INFERENCE_SERVICE)
        if name:
            return name
    if workload.raw:
        return read.labels_of(workload.raw).get(ISVC_LABEL, "")
    # <isvc>-predictor, or <isvc>-<predictor.name>-predictor: the longest name that fits.
    if workload.kind != DEPLOYMENT or not workload.name.endswith("-predictor"):
        return ""
    names = (read.name(one) for one in objects.find(INFERENCE_SERVICE, workload.namespace))
    return max((name for name in names if workload.name.startswith(f"{name}-")), key=len, default="")


def _isvc(objects: Objects, namespace: str, name: str, workload: Workload) -> Owner:
    raw = objects.get(INFERENCE_SERVICE, namespace, name) or NOTHING
    stopped = read.annotations_of(raw).get(STOP, "").lower() == "true"
    # A canary or a transformer is a service of its own: it takes other traffic and starts in another time.
    service = name if workload.name == f"{name}-predictor" else workload.name
    predictor = read.mapping(raw, "spec", "predictor")
    # `model` is a container without a name; its runtime says the rest.
    spec = predictor if "containers" in predictor else {"containers": [read.mapping(predictor, "model")]}
    labels = {**read.labels_of(raw), ISVC_LABEL: name}
    template = {"metadata": {"labels": labels, "annotations": read.annotations_of(raw)}, "spec": spec}
    return Owner(INFERENCE_SERVICE, name, service, "", _isvc_path(raw, workload), stopped, True, raw, template)


def _isvc_path(raw: Raw, workload: Workload) -> Path:
    # The Deployment carries the InferenceService's annotations, so the path is known without reading KServe's objects.
    annotations = read.annotations_of(raw) if raw else read.annotations_of(workload.raw)
    mode = annotations.get(DEPLOYMENT_MODE) or read.text(raw, "status", "deploymentMode")
    knative = any(one.group == KNATIVE_GROUP for one in read.owners(workload.raw))
    if mode in KNATIVE_MODES or knative or workload.kind.group == KNATIVE_GROUP:
        return Path.ISVC_KNATIVE
    if read.at(raw, "spec", "predictor", "workerSpec") is not None:
        return Path.ISVC_MULTI_NODE
    classes = {"external": Path.ISVC_EXTERNAL, "keda": Path.ISVC_KEDA, "none": Path.ISVC_NONE}
    return classes.get(annotations.get(CLASS, "hpa"), Path.ISVC_HPA)


# --- LLMInferenceService ----------------------------------------------------------------------------------------------


def llm_workloads(raw: Raw) -> Iterator[tuple[Kind, str, str]]:
    """(kind, name, role) of the workloads that an LLMInferenceService has: as its status says, else by convention."""
    split = read.at(raw, "spec", "prefill") is not None
    for key, role, suffix in (("primary", "decode" if split else "", ""), ("prefill", "prefill", "-prefill")):
        if key == "prefill" and not split:
            continue
        told = read.mapping(raw, "status", "workloads", key)
        part = read.mapping(raw, "spec") if key == "primary" else read.mapping(raw, "spec", "prefill")
        if read.text(told, "name"):
            yield Kind(read.text(told, "apiGroup") or "apps", read.text(told, "kind")), read.text(told, "name"), role
        elif read.at(part, "worker") is not None:
            yield LEADER_WORKER_SET, f"{read.name(raw)}-kserve-mn{suffix}", role
        else:
            yield DEPLOYMENT, f"{read.name(raw)}-kserve{suffix}", role


def _llm_name(objects: Objects, workload: Workload, scaled_object: Raw) -> str:
    for raw in (workload.raw, scaled_object):
        name = _owned_by(raw, LLM_INFERENCE_SERVICE)
        if name:
            return name
    labels = read.labels_of(workload.raw)
    if labels.get("app.kubernetes.io/part-of") == "llminferenceservice":
        return labels.get("app.kubernetes.io/name", "")
    if workload.raw:
        return ""
    for raw in objects.find(LLM_INFERENCE_SERVICE, workload.namespace):
        if any((kind, name) == (workload.kind, workload.name) for kind, name, _ in llm_workloads(raw)):
            return read.name(raw)
    return ""


def _llm(objects: Objects, namespace: str, name: str, workload: Workload, scaled_object: Raw) -> Owner:
    raw = whole_spec(objects, objects.get(LLM_INFERENCE_SERVICE, namespace, name) or NOTHING)
    stopped = read.annotations_of(raw).get(STOP, "").lower() == "true"
    role = _llm_role(raw, name, workload)
    part = read.mapping(raw, "spec", "prefill") if role == "prefill" else read.mapping(raw, "spec")
    if read.at(part, "scaling", "keda") is not None or _owned_by(scaled_object, LLM_INFERENCE_SERVICE):
        path = Path.LLM_SCALING
    elif read.at(part, "scaling") is not None:
        path = Path.LLM_WVA
    elif read.at(part, "replicas") is not None:
        path = Path.LLM_STATIC
    else:
        path = Path.LLM_OWN
    several = read.at(part, "worker") is not None
    labels = {LLM_ROLE: role or "both"}
    template = NOTHING if several else {"metadata": {"labels": labels}, "spec": read.mapping(part, "template")}
    return Owner(LLM_INFERENCE_SERVICE, name, name, role, path, stopped, True, raw, template)


def _llm_role(raw: Raw, name: str, workload: Workload) -> str:
    """The role by the pod template's label, else by what the owner says of its workloads, else by the name."""
    label = read.strings(workload.template, "metadata", "labels").get(LLM_ROLE, "")
    if label:
        return label if label in ROLES else ""
    if raw:
        return next((role for _, known, role in llm_workloads(raw) if known == workload.name), "")
    return "prefill" if workload.name in (f"{name}-kserve-prefill", f"{name}-kserve-mn-prefill") else ""
