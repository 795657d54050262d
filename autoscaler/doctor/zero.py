"""Checks of zero: what takes a target there, what brings it back, and what happens while we do not answer."""

from __future__ import annotations

from collections.abc import Iterator

from autoscaler.doctor.look import Check, Look, of_scaled_object, price_per_hour
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning import scaledobject as keda
from autoscaler.kube.meaning.findings import Finding, Severity
from autoscaler.kube.meaning.kserve import Path
from autoscaler.kube.meaning.resolve import Target


def idle_not_zero(look: Look) -> Iterator[Finding]:
    """KEDA supports no other idle count."""
    for raw, target in look.targets():
        if target.bounds.idle_replicas not in (None, 0):
            yield of_scaled_object(
                "idle-not-zero",
                Severity.ERROR,
                raw,
                "KEDA supports no idleReplicaCount but 0: the HPA takes any other back to its minimum.",
                (f"spec.idleReplicaCount: {target.bounds.idle_replicas}",),
                "spec:\n  idleReplicaCount: 0  # or leave it out and set minReplicaCount",
            )


_WAKE = """# in the trigger's metadata, or as annotation llm-autoscaler.io/wakeSource:
wakeSource: gateway  # a wakeSources entry of the targets file; none: requests at zero are lost
# or stay above zero:
spec: {minReplicaCount: 1}"""
_WAKE_KEDA = """# KServe drops metadata and annotations of ours here: name the source in the targets file,
services: [{name: THE_SERVICE, wakeSource: gateway}]
# or stay above zero on the InferenceService:
spec: {predictor: {minReplicas: 1}}"""


def zero_without_wake(look: Look) -> Iterator[Finding]:
    """Zero needs something that speaks for the service while nothing runs."""
    for raw, target in look.targets():
        said = target.overrides
        if target.bounds.reaches_zero and not said.wake_source and not said.wake_source_none:
            yield of_scaled_object(
                "zero-without-wake",
                Severity.WARNING,
                raw,
                "Nothing tells of requests while nothing runs, so one replica is kept, unless the targets file "
                "names a wake source.",
                (f"spec.minReplicaCount: {target.bounds.min_replicas}", "wakeSource: not set"),
                _WAKE_KEDA if target.path is Path.ISVC_KEDA else _WAKE,
            )


def cooldown_below_start(look: Look) -> Iterator[Finding]:
    """Flapping costs more than idling."""
    for raw, target in look.targets():
        start_s, cooldown_s = look.cold_start_s(target), keda.cooldown_s(raw)
        if start_s is None or not target.bounds.reaches_zero or cooldown_s >= start_s:
            continue
        per_s = price_per_hour(target) * (target.gpus.count or 1.0) / 3600.0
        yield of_scaled_object(
            "cooldown-below-start",
            Severity.WARNING,
            raw,
            "A start takes longer than the idle time before zero: a gap in traffic costs more than idling through it.",
            (
                f"spec.cooldownPeriod: {cooldown_s} s, idling through it costs ${cooldown_s * per_s:.2f} a replica",
                f"start measured: {start_s:.0f} s, paid ${start_s * per_s:.2f} a replica without a token",
            ),
            _cooldown(target, max(keda.COOLDOWN_S, int(start_s) + 1)),
        )


def cooldown_short(look: Look) -> Iterator[Finding]:
    """Measured: KEDA took 8 replicas to 0 when nothing had answered for 17 s (docs/kubernetes-measured.md)."""
    for raw, target in look.targets():
        cooldown_s = keda.cooldown_s(raw)
        if not target.bounds.reaches_zero or cooldown_s >= keda.COOLDOWN_S:
            continue
        yield of_scaled_object(
            "cooldown-short",
            Severity.WARNING,
            raw,
            "While this autoscaler does not answer, KEDA may read 'not active' out of its own errors: past the "
            "cooldown that takes to zero what is serving. Idle time is kept by this autoscaler (keepWarmSeconds).",
            (
                f"spec.cooldownPeriod: {cooldown_s} s; a longer outage may reach zero; KEDA's own: {keda.COOLDOWN_S} s",
                f"spec.minReplicaCount: {target.bounds.min_replicas}, idleReplicaCount: "
                f"{'not set' if target.bounds.idle_replicas is None else target.bounds.idle_replicas}",
            ),
            _cooldown(target, max(keda.COOLDOWN_S, int(look.cold_start_s(target) or 0) + 1)),
        )


def _cooldown(target: Target, cooldown_s: int) -> str:
    """Where it is set: KServe writes its own ScaledObjects."""
    if target.path is Path.LLM_SCALING:
        scaling = f"scaling: {{keda: {{cooldownPeriod: {cooldown_s}}}}}"
        within = f"prefill: {{{scaling}}}" if target.target.role == "prefill" else scaling
        return f"# on the LLMInferenceService, or in its baseRefs:\nspec: {{{within}}}"
    return f"spec:\n  cooldownPeriod: {cooldown_s}"


def fallback(look: Look) -> Iterator[Finding]:
    """What KEDA does while we do not answer."""
    for raw, target in look.targets():
        replicas = read.whole(raw, "spec", "fallback", "replicas")
        fix = "spec:\n  fallback: {failureThreshold: 3, replicas: 1, behavior: currentReplicasIfHigher}"
        if replicas == 0:
            cause = "With fallback.replicas 0 KEDA takes the target to zero while this autoscaler fails to answer."
            yield of_scaled_object("fallback-zero", Severity.ERROR, raw, cause, ("spec.fallback.replicas: 0",), fix)
        elif replicas is None and target.path is not Path.ISVC_KEDA:
            cause = "Without a fallback a target at zero stays there while this autoscaler is blind or away."
            yield of_scaled_object("fallback-missing", Severity.NOTE, raw, cause, ("spec.fallback: not set",), fix)


CHECKS: tuple[Check, ...] = (
    Check("idle-not-zero", "Is idleReplicaCount one that KEDA supports?", idle_not_zero),
    Check("zero-without-wake", "Does anything tell of requests at zero?", zero_without_wake),
    Check("cooldown-below-start", "Is idling cheaper than starting again?", cooldown_below_start),
    Check("cooldown-short", "Is an outage of ours safe at zero's edge?", cooldown_short),
    Check("fallback", "What happens while we do not answer?", fallback),
)
