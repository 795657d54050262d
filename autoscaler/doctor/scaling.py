"""Checks of ScaledObjects: does KEDA, and the HPA behind it, do what we answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

from autoscaler.doctor.look import Check, Look, of_scaled_object
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning import scaledobject as keda
from autoscaler.kube.meaning.findings import Finding, Severity
from autoscaler.kube.meaning.kserve import Path
from autoscaler.kube.meaning.objects import SCALED_OBJECT
from autoscaler.kube.meaning.raw import Raw
from autoscaler.kube.meaning.resolve import Target

HPA_TOLERANCE = 0.1  # --horizontal-pod-autoscaler-tolerance
LONGEST_NAME = 54  # with "keda-hpa-" before it, an HPA's name ends at 63
_DIRECTION = """
          stabilizationWindowSeconds: 0
          selectPolicy: Max
          tolerance: "0"
          policies: [{type: Pods, value: 1000, periodSeconds: 15}]"""
BEHAVIOR = f"""spec:
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp:{_DIRECTION}
        scaleDown:{_DIRECTION}"""


def tolerance_unset(look: Look) -> Iterator[Finding]:
    """Annex: with a target of 1 the HPA's tolerance swallows single steps from ten replicas on."""
    for raw, target in look.targets():
        if target.path.made_by_kserve:
            continue
        set_to = {one: keda.tolerance(raw, one) for one in ("scaleUp", "scaleDown")}
        most = target.bounds.max_replicas
        bad = {one: t for one, t in set_to.items() if most * (HPA_TOLERANCE if t is None else t) >= 1.0}
        if bad:
            least = min(int(-(-1.0 // (HPA_TOLERANCE if t is None else t))) for t in bad.values())
            yield of_scaled_object(
                "tolerance-unset",
                Severity.WARNING,
                raw,
                f"From {least} replicas on the HPA ignores a step of one: asked 13 at 12, it stays at 12 for good.",
                (
                    f"maxReplicaCount: {most}",
                    *(f"behavior.{one}.tolerance: {'not set, so 0.1' if t is None else t}" for one, t in bad.items()),
                ),
                BEHAVIOR,
            )


def slow_ramp(look: Look) -> Iterator[Finding]:
    """Without policies the HPA doubles, and waits five minutes before it takes one away."""
    for raw, target in look.targets():
        if target.path.made_by_kserve:
            continue
        missing = [
            f"behavior.{one}.policies: not set"
            for one in ("scaleUp", "scaleDown")
            if not read.items(keda.behavior(raw, one), "policies")
        ]
        down = keda.behavior(raw, "scaleDown")
        if read.whole(down, "stabilizationWindowSeconds") is None:
            missing.append("behavior.scaleDown.stabilizationWindowSeconds: not set, so 300")
        if missing:
            cause = (
                "The HPA's own ramp, 1 to 4 to 8 to 12 replicas in 46 s, and its 300 s before a step down, "
                "lie over what is asked."
            )
            yield of_scaled_object("hpa-ramp", Severity.NOTE, raw, cause, tuple(missing), BEHAVIOR)


def no_behavior_possible(look: Look) -> Iterator[Finding]:
    """A ScaledObject that KServe writes cannot carry the HPA's behavior."""
    for raw, target in look.targets():
        if not target.path.made_by_kserve:
            continue
        yield of_scaled_object(
            "kserve-no-behavior",
            Severity.NOTE,
            raw,
            "KServe writes this ScaledObject without policies or tolerance: a 10 % dead band from ten replicas on, "
            "a ramp that doubles every 15 s, 300 s before a step down.",
            (f"path: {target.path.value}", f"maxReplicaCount: {target.bounds.max_replicas}"),
            "# Live with it, turn on fastPath (it repairs the way up), or own the ScaledObject: docs/kserve.md.",
        )


def metric_type_value(look: Look) -> Iterator[Finding]:
    """A count must not be read as a ratio."""
    for raw, _ in look.targets():
        for one in look.ours(raw):
            if one.metric_type != "AverageValue":
                yield of_scaled_object(
                    "metric-type-value",
                    Severity.ERROR,
                    raw,
                    "A replica count read as Value multiplies the ready pods: it compounds while pods start.",
                    (f"spec.triggers[{one.index}].metricType: {one.metric_type}",),
                    f"kubectl -n {read.namespace(raw) or 'default'} patch scaledobject {read.name(raw)} --type=json -p "
                    f'\'[{{"op": "add", "path": "/spec/triggers/{one.index}/metricType", "value": "AverageValue"}}]\'',
                )


_COUNT = re.compile(r"(desired|wanted|num|optimal)_replicas|_replicas\b", re.IGNORECASE)
_MEAN = re.compile(r"^\s*\(*\s*avg\b", re.IGNORECASE)


def query_and_type_disagree(look: Look) -> Iterator[Finding]:
    """Other triggers: a mean over a pool is no sum, and a replica count is no ratio."""
    for raw in look.objects.find(SCALED_OBJECT, look.namespace):
        for one in keda.triggers(raw):
            query = one.metadata.get("query", "")
            where = f"spec.triggers[{one.index}]"
            evidence = (f"{where}.metricType: {one.metric_type}", f"{where}.metadata.query: {query}")
            if _COUNT.search(query) and one.metric_type == "Value":
                yield of_scaled_object(
                    "count-as-value",
                    Severity.ERROR,
                    raw,
                    "The query gives a replica count; Value multiplies the ready pods by it.",
                    evidence,
                    f'# in {where}:\nmetricType: AverageValue\nmetadata: {{threshold: "1"}}',
                )
            elif _MEAN.match(query) and one.metric_type == "AverageValue":
                yield of_scaled_object(
                    "mean-as-average",
                    Severity.WARNING,
                    raw,
                    "The query gives a mean over the pool; AverageValue divides it by the replicas once more.",
                    evidence,
                    f"# in {where}: sum instead of avg, or\nmetricType: Value",
                )


def shape(look: Look) -> Iterator[Finding]:
    """Small traps of KEDA's."""
    for raw, target in look.targets():
        ours = look.ours(raw)
        yield from _triggers(raw, ours)
        if len(read.name(raw)) > LONGEST_NAME:
            cause = f"KEDA names the HPA keda-hpa-{read.name(raw)}, which is longer than the 63 a label may have."
            fix = f"# a name of at most {LONGEST_NAME} letters"
            evidence = (f"{len(read.name(raw))} letters",)
            yield of_scaled_object("name-too-long", Severity.WARNING, raw, cause, evidence, fix)
        if ours and not target.pushed and target.path is not Path.ISVC_KEDA:
            yield of_scaled_object(
                "pull-only",
                Severity.NOTE,
                raw,
                "With type external a wake-up waits for KEDA's next poll; external-push wakes within 0.1 s.",
                (f"pollingInterval: {read.text(raw, 'spec', 'pollingInterval') or keda.POLLING_S} s",),
                f"# spec.triggers[{ours[0].index}]\ntype: external-push",
            )
        if target.pause is not None:
            yield of_scaled_object(
                "paused",
                Severity.NOTE,
                raw,
                "KEDA is told to hold this target: what is decided does not act.",
                (f"{target.pause.annotation}: {target.pause.value}",),
                f"kubectl -n {read.namespace(raw) or 'default'} annotate scaledobject {read.name(raw)} "
                f"{target.pause.annotation}-",
            )


def _triggers(raw: Raw, ours: tuple[keda.KedaTrigger, ...]) -> Iterator[Finding]:
    others = [one for one in keda.triggers(raw) if one.index not in {mine.index for mine in ours}]
    if ours and others:
        yield of_scaled_object(
            "mixed-triggers",
            Severity.WARNING,
            raw,
            "The HPA takes the largest of all triggers, and scales in on the others alone whenever KEDA starts while "
            "this autoscaler is away.",
            tuple(f"spec.triggers[{one.index}].type: {one.type}" for one in others),
            f"# Keep spec.triggers[{ours[0].index}] alone; queues and utilisation are read by this autoscaler itself.",
        )
    for one in ours:
        if one.cached:
            cause = "With useCachedMetrics the HPA reads the count of KEDA's last poll, up to a pollingInterval old."
            where = f"spec.triggers[{one.index}].useCachedMetrics: true"
            yield of_scaled_object("cached-metrics", Severity.WARNING, raw, cause, (where,), "useCachedMetrics: false")


def settings(look: Look) -> Iterator[Finding]:
    """Whether metadata and annotations are our words."""
    for one in look.surveyed:
        if one.error is not None:
            yield of_scaled_object(
                "settings-invalid",
                Severity.ERROR,
                one.scaled_object,
                "KEDA's calls for it are refused as INVALID_ARGUMENT: the settings cannot be read.",
                tuple(f"{problem.path}: {problem.found}" for problem in one.error.problems),
                "\n".join(f"# {problem.path}: {problem.expected}" for problem in one.error.problems),
            )
        elif one.target is not None and one.target.warnings:
            yield of_scaled_object(
                "settings-unknown",
                Severity.WARNING,
                one.scaled_object,
                "Keys that this autoscaler does not know are ignored.",
                one.target.warnings,
                "# The keys: docs/settings.md, trigger metadata.",
            )


def not_ready(look: Look) -> Iterator[Finding]:
    """KEDA's own complaint, and how far it reaches."""
    for raw, target in look.targets():
        ready = read.condition(raw, "Ready")
        if target.stopped or read.text(ready, "status") != "False":
            continue
        reaches = target.path is Path.LLM_SCALING
        yield of_scaled_object(
            "scaledobject-not-ready",
            Severity.ERROR if reaches else Severity.WARNING,
            raw,
            "KEDA cannot scale it, and KServe passes that on: the LLMInferenceService is NotReady, though pods serve."
            if reaches
            else "KEDA cannot scale it.",
            (f"Ready=False, {read.text(ready, 'reason')}: {read.text(ready, 'message')}",),
            f"kubectl -n {read.namespace(raw) or 'default'} describe scaledobject {read.name(raw)}",
        )


def orphan(look: Look) -> Iterator[Finding]:
    """A ScaledObject outlives the InferenceService it was written for."""
    for raw, target in look.targets():
        if target.workload.found is False and target.path is Path.BARE and target.known:
            yield of_scaled_object(
                "target-gone",
                Severity.WARNING,
                raw,
                "There is nothing to scale: the workload and whoever made it are gone.",
                (f"{target.workload} does not exist",),
                f"kubectl -n {read.namespace(raw) or 'default'} delete scaledobject {read.name(raw)}",
            )


def fights(look: Look) -> Iterator[Finding]:
    """Somebody else writes the replica count."""
    for _, target in look.targets():
        yield from target.findings


def same_target(look: Look) -> Iterator[Finding]:
    """Two ScaledObjects that answer to one id would learn and act as one."""
    by_id: dict[str, list[Raw]] = {}
    for raw, target in look.targets():
        by_id.setdefault(str(target.target), []).append(raw)
    for name, raws in by_id.items():
        if len(raws) > 1:
            yield of_scaled_object(
                "same-target",
                Severity.ERROR,
                raws[0],
                "Several ScaledObjects mean one target: their settings overwrite one another, and the number of one "
                "workload acts on another.",
                (f"target {name}", *(f"ScaledObject {read.name(one)}" for one in raws)),
                "# One ScaledObject per workload; `target` in metadata must name each service once.",
            )


def split_by_one(look: Look) -> Iterator[Finding]:
    """Prefill and decode depend on each other: they are sized, and go to zero, together."""
    by_service: dict[object, list[tuple[Raw, Target]]] = {}
    for raw, target in look.targets():
        by_service.setdefault(target.target.service, []).append((raw, target))
    for parts in by_service.values():
        roles = {target.target.role for _, target in parts}
        if len(roles) == 1 and roles != {""}:
            raw, target = parts[0]
            missing = "prefill" if "decode" in roles else "decode"
            yield of_scaled_object(
                "one-role",
                Severity.NOTE,
                raw,
                f"Only {target.target.role} is scaled here: {missing} keeps its count whatever comes.",
                (f"service {target.target.service}",),
                f"# A second ScaledObject for {missing}: deploy/examples/kserve/llminferenceservice.yaml",
            )


CHECKS: tuple[Check, ...] = (
    Check("fights", "Does somebody else write the replica count?", fights),
    Check("settings", "Are metadata and annotations our words?", settings),
    Check("tolerance-unset", "Does the HPA swallow single steps?", tolerance_unset),
    Check("hpa-ramp", "Does the HPA's own ramp lie over what is asked?", slow_ramp),
    Check("kserve-no-behavior", "Can the HPA's behavior be set at all?", no_behavior_possible),
    Check("metric-type-value", "Is our count read as a count?", metric_type_value),
    Check("query-and-type", "Are others' queries of the type they are read as?", query_and_type_disagree),
    Check("shape", "Names, pauses, mixed and cached triggers", shape),
    Check("scaledobject-not-ready", "Is KEDA content, and does it spread?", not_ready),
    Check("target-gone", "Is there something to scale?", orphan),
    Check("same-target", "Does each ScaledObject mean a target of its own?", same_target),
    Check("one-role", "Are prefill and decode scaled together?", split_by_one),
)
