"""Configurations in which somebody else also writes the replica count: each with who, by which field, and the fix.

Every fight was seen on the real controllers (docs/kserve.md); none of them shows an error on the InferenceService.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autoscaler.config.annotations import PREFIX
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning import scaledobject as keda
from autoscaler.kube.meaning.findings import Finding, Severity
from autoscaler.kube.meaning.kserve import CLASS, DEPLOYMENT_MODE, Owner, Path
from autoscaler.kube.meaning.objects import HPA, INFERENCE_SERVICE, SCALED_OBJECT, Objects
from autoscaler.kube.meaning.raw import Raw
from autoscaler.kube.meaning.workload import Workload, scale_target


@dataclass(frozen=True, slots=True)
class Scaled:
    """One ScaledObject with what it scales and for whom."""

    objects: Objects
    namespace: str
    scaled_object: Raw
    workload: Workload
    owner: Owner
    ours: bool  # one of its triggers calls us
    shadow: bool = False  # its annotations say `mode: shadow`
    role: str = ""  # as the trigger or the annotations say

    @property
    def about(self) -> str:
        """How findings name the owner."""
        return self.owner.about(self.namespace)


def fights(scaled: Scaled) -> tuple[Finding, ...]:
    """Every fight of one ScaledObject."""
    return tuple(finding for fight in FIGHTS for finding in fight(scaled))


def _class_external(scaled: Scaled) -> str:
    """KServe copies annotations of an InferenceService to its pods."""
    return (
        "# This rolls every pod of the InferenceService once: choose the time, or set it in its manifest.\n"
        f"kubectl -n {scaled.namespace} annotate inferenceservice {scaled.owner.name} --overwrite {CLASS}=external"
    )


def _class_none(scaled: Scaled) -> Iterator[Finding]:
    if scaled.owner.path is not Path.ISVC_NONE:
        return
    least = read.text(scaled.owner.raw, "spec", "predictor", "minReplicas") or "1 (not set)"
    yield Finding(
        "isvc-class-none",
        Severity.ERROR,
        scaled.about,
        "KServe writes minReplicas back 30 to 40 ms after every step of the HPA, every 15 s.",
        (f"{CLASS}: none", f"spec.predictor.minReplicas: {least}"),
        _class_external(scaled),
    )


def _class_hpa(scaled: Scaled) -> Iterator[Finding]:
    if scaled.owner.path is not Path.ISVC_HPA:
        return
    said = read.annotations_of(scaled.owner.raw or scaled.workload.raw).get(CLASS)
    hpas = [read.name(one) for one in _hpas(scaled) if _is_kserves(one)]
    yield Finding(
        "isvc-class-hpa",
        Severity.ERROR,
        scaled.about,
        "KServe makes an HPA of its own beside KEDA's: both go AmbiguousSelector and the replica count sticks.",
        (f"{CLASS}: {said or 'not set, which means hpa'}", *(f"HorizontalPodAutoscaler {name}" for name in hpas)),
        _class_external(scaled),
    )


def _knative(scaled: Scaled) -> Iterator[Finding]:
    if scaled.owner.path is not Path.ISVC_KNATIVE:
        return
    yield Finding(
        "isvc-knative",
        Severity.ERROR,
        scaled.about,
        "In Knative mode Knative's own autoscaler owns the replica count; KEDA works in Standard mode only.",
        (f"{DEPLOYMENT_MODE}: {_mode(scaled)}",),
        f"# The mode of a service cannot be changed in place: create it anew with\nmetadata:\n  annotations:\n"
        f"    {DEPLOYMENT_MODE}: Standard\n    {CLASS}: external",
    )


def _mode(scaled: Scaled) -> str:
    written = read.annotations_of(scaled.owner.raw).get(DEPLOYMENT_MODE)
    return written or read.text(scaled.owner.raw, "status", "deploymentMode") or "owned by a Knative Revision"


def _multi_node(scaled: Scaled) -> Iterator[Finding]:
    if scaled.owner.path is not Path.ISVC_MULTI_NODE:
        return
    yield Finding(
        "isvc-multi-node",
        Severity.ERROR,
        scaled.about,
        "A multi-node InferenceService must have class none, so KServe owns its replica count.",
        ("spec.predictor.workerSpec is set",),
        "# Several nodes a replica scale as an LLMInferenceService with a worker (a LeaderWorkerSet):\n"
        "apiVersion: serving.kserve.io/v1alpha2\nkind: LLMInferenceService\n"
        "spec: {worker: {}, parallelism: {pipeline: 2}}  # neither replicas nor scaling",
    )


def _static_replicas(scaled: Scaled) -> Iterator[Finding]:
    if scaled.owner.path is not Path.LLM_STATIC:
        return
    path = "spec.prefill.replicas" if scaled.owner.role == "prefill" else "spec.replicas"
    value = read.text(scaled.owner.raw, *path.split("."))
    pointer = "/" + path.replace(".", "/")
    yield Finding(
        "llm-static-replicas",
        Severity.ERROR,
        scaled.about,
        "KServe writes its static replicas back within 1.3 s of every step of the HPA.",
        (f"{path}: {value}",),
        f"# The count stays where it is and is handed over:\n"
        f"kubectl -n {scaled.namespace} patch llminferenceservice {scaled.owner.name} --type=json "
        f'-p \'[{{"op": "remove", "path": "{pointer}"}}]\'',
    )


def _variant_autoscaler(scaled: Scaled) -> Iterator[Finding]:
    if scaled.owner.path is not Path.LLM_WVA:
        return
    part = "spec.prefill.scaling" if scaled.owner.role == "prefill" else "spec.scaling"
    pointer = "/" + part.replace(".", "/")
    yield Finding(
        "llm-scaling-wva",
        Severity.ERROR,
        scaled.about,
        "KServe has the variant autoscaler size this workload, through an HPA or a ScaledObject of its own.",
        (f"{part} is set, without keda",),
        f"kubectl -n {scaled.namespace} patch llminferenceservice {scaled.owner.name} --type=json "
        f'-p \'[{{"op": "remove", "path": "{pointer}"}}]\'',
    )


# --- others beside us ------------------------------------------------------------------------------------------------


def _hpas(scaled: Scaled) -> list[Raw]:
    """HPAs on the same target that are not the one KEDA made for this ScaledObject."""
    name = read.name(scaled.scaled_object)
    own = {read.text(scaled.scaled_object, "status", "hpaName"), _hpa_name(scaled.scaled_object)}
    found = []
    for one in scaled.objects.scalers(HPA, scaled.namespace, scaled.workload.name):
        ref = read.mapping(one, "spec", "scaleTargetRef")
        same = (read.text(ref, "kind"), read.text(ref, "name")) == (scaled.workload.kind.kind, scaled.workload.name)
        made = any(owner.kind == SCALED_OBJECT.kind and owner.name == name for owner in read.owners(one))
        if same and not made and read.name(one) not in own:
            found.append(one)
    return found


def _hpa_name(scaled_object: Raw) -> str:
    given = read.text(scaled_object, "spec", "advanced", "horizontalPodAutoscalerConfig", "name")
    return given or f"keda-hpa-{read.name(scaled_object)}"


def _is_kserves(raw: Raw) -> bool:
    return any(owner.group == INFERENCE_SERVICE.group for owner in read.owners(raw))


def _second_scaler(scaled: Scaled) -> Iterator[Finding]:
    others = [
        ("HorizontalPodAutoscaler", one)
        for one in _hpas(scaled)
        if not (scaled.owner.path is Path.ISVC_HPA and _is_kserves(one)) and not _made_by_keda(one)
    ]
    others += [
        ("ScaledObject", one)
        for one in scaled.objects.scalers(SCALED_OBJECT, scaled.namespace, scaled.workload.name)
        if read.name(one) != read.name(scaled.scaled_object)
        and scale_target(one) == (scaled.workload.kind, scaled.workload.name)
    ]
    if not others:
        return
    kserve = next((one for _, one in others if _is_kserves(one)), None)
    kind, other = ("ScaledObject", kserve) if kserve is not None else others[0]
    yield Finding(
        "second-scaler",
        Severity.ERROR,
        keda.about(scaled.scaled_object),
        f"Two scalers on {scaled.workload}: both HPAs go AmbiguousSelector or write over one another.",
        tuple(f"{kind} {scaled.namespace}/{read.name(one)}{_owned(one)}" for kind, one in others),
        f"# Keep one of them, for instance:\nkubectl -n {scaled.namespace} delete {kind.lower()} {read.name(other)}"
        if kserve is None
        else f"# KServe makes one itself: keep that one, or take `scaling` and class `keda` out of its owner.\n"
        f"kubectl -n {scaled.namespace} delete scaledobject {read.name(scaled.scaled_object)}",
    )


def _made_by_keda(hpa: Raw) -> bool:
    """HPAs that follow a ScaledObject count once, with it."""
    return any(owner.kind == SCALED_OBJECT.kind for owner in read.owners(hpa))


def _owned(raw: Raw) -> str:
    owner = next(iter(read.owners(raw)), None)
    return f", owned by {owner.kind} {owner.name}" if owner else ", made by hand"


def _ambiguous_selector(scaled: Scaled) -> Iterator[Finding]:
    mine = scaled.objects.get(HPA, scaled.namespace, read.text(scaled.scaled_object, "status", "hpaName"))
    mine = mine or scaled.objects.get(HPA, scaled.namespace, _hpa_name(scaled.scaled_object))
    active = read.condition(mine, "ScalingActive")
    if read.text(active, "reason") != "AmbiguousSelector":
        return
    yield Finding(
        "ambiguous-selector",
        Severity.ERROR,
        f"HorizontalPodAutoscaler {scaled.namespace}/{read.name(mine)}",
        "Several HPAs select these pods: none of them acts and the replica count sticks.",
        (f"ScalingActive=False, AmbiguousSelector: {read.text(active, 'message')}",),
        f"# Keep one HPA for pods with {scaled.workload.selector}:\n"
        f"kubectl -n {scaled.namespace} get hpa -o custom-columns="
        "NAME:.metadata.name,KIND:.spec.scaleTargetRef.kind,TARGET:.spec.scaleTargetRef.name,"
        "OWNER:.metadata.ownerReferences[*].kind",
    )


def _shadow_trigger(scaled: Scaled) -> Iterator[Finding]:
    if not (scaled.shadow and scaled.ours):
        return
    yield Finding(
        "shadow-trigger",
        Severity.ERROR,
        keda.about(scaled.scaled_object),
        "A trigger acts: the HPA takes the largest of all metrics, so a shadow trigger holds the others up.",
        (f"{PREFIX}mode: shadow", "a trigger calls this autoscaler"),
        "# Shadow needs no trigger: take it out and keep the annotation, or let it act:\n"
        f"kubectl -n {scaled.namespace} annotate scaledobject {read.name(scaled.scaled_object)} {PREFIX}mode-",
    )


def _wrong_role(scaled: Scaled) -> Iterator[Finding]:
    """Sizes of prefill would act on decode."""
    if not scaled.role or scaled.role == scaled.owner.role or scaled.owner.path is Path.BARE:
        return
    is_of = scaled.owner.role or "both, so without a role"
    yield Finding(
        "wrong-role",
        Severity.ERROR,
        keda.about(scaled.scaled_object),
        f"The role that is set is not the one of {scaled.workload}: the numbers of one role act on the other.",
        (f"role: {scaled.role}", f"the workload's role: {is_of}"),
        "# Leave `role` out: it is read off the workload.",
    )


def _annotated_service(scaled: Scaled) -> Iterator[Finding]:
    keys = [key for key in read.annotations_of(scaled.owner.raw) if key.startswith(PREFIX)]
    if not keys or scaled.owner.kind != INFERENCE_SERVICE:
        return
    yield Finding(
        "isvc-annotated",
        Severity.WARNING,
        scaled.about,
        "Annotations of an InferenceService go into its pod template: each edit restarts every pod, and none is read.",
        tuple(keys),
        f"# Put them on the ScaledObject:\nkubectl -n {scaled.namespace} annotate scaledobject "
        f"{read.name(scaled.scaled_object)} {' '.join(_assigned(scaled.owner.raw, keys))}",
    )


def _assigned(raw: Raw, keys: list[str]) -> list[str]:
    found = read.annotations_of(raw)
    return [f"{key}={found[key]}" for key in keys]


def _paused_by_annotation(scaled: Scaled) -> Iterator[Finding]:
    pause = keda.pause(scaled.scaled_object)
    if pause is None or not scaled.owner.path.made_by_kserve:
        return
    llm = scaled.owner.path is Path.LLM_SCALING
    yield Finding(
        "kserve-pause",
        Severity.WARNING,
        keda.about(scaled.scaled_object),
        "KServe strips annotations from this ScaledObject within 0.2 s, after KEDA has already acted on them."
        if llm
        else "KServe removes this annotation at the next change of the InferenceService, and the count jumps.",
        (f"{pause.annotation}: {pause.value}",),
        "# Hold the count by its bounds on the service (minReplicas and maxReplicas), or own the ScaledObject.",
    )


FIGHTS: tuple[Callable[[Scaled], Iterator[Finding]], ...] = (
    _class_none,
    _class_hpa,
    _knative,
    _multi_node,
    _static_replicas,
    _variant_autoscaler,
    _second_scaler,
    _ambiguous_selector,
    _shadow_trigger,
    _wrong_role,
    _annotated_service,
    _paused_by_annotation,
)
