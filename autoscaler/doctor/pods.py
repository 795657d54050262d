"""Checks of what a replica is made of: does it say when it is ready, and does it end without cutting answers."""

from __future__ import annotations

from collections.abc import Iterator

from autoscaler.core.records import Objective
from autoscaler.doctor.look import Check, Look, Measured
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.findings import Finding, Severity
from autoscaler.kube.meaning.kserve import ISVC_LABEL
from autoscaler.kube.meaning.metrics_page import KNATIVE_AGGREGATE_PORT, serving_container
from autoscaler.kube.meaning.objects import POD
from autoscaler.kube.meaning.resolve import Target

GRACE_S = 30  # Kubernetes' default
# Until generation times are measured: an answer of 500 tokens at the objective's own limit. Mean outputs of public
# chat traces are 200 to 400 tokens, so this cuts only what is far too short.
TOKENS = 500


def readiness(look: Look) -> Iterator[Finding]:
    """Ready before weights are loaded: a lead time learned from it lies, and requests fail."""
    for _, target in look.targets():
        template = target.workload.template
        if not template:
            continue
        container = serving_container(template)
        probe = read.mapping(container, "readinessProbe")
        where = f"container {read.text(container, 'name')}"
        if not probe:
            yield Finding(
                "readiness-missing",
                Severity.WARNING,
                str(target.workload),
                "Without a readiness probe a pod counts as serving while it still loads weights.",
                (f"{where}: no readinessProbe",),
                f"readinessProbe: {{httpGet: {{path: /health, port: {target.page.port}}}, periodSeconds: 5}}",
            )
        elif read.at(probe, "tcpSocket") is not None:
            yield Finding(
                "readiness-by-port",
                Severity.WARNING,
                str(target.workload),
                "An open port is not a loaded model: several servers listen before their weights are there.",
                (f"{where}: readinessProbe.tcpSocket",),
                f"readinessProbe: {{httpGet: {{path: /health, port: {target.page.port}}}, periodSeconds: 5}}",
            )


def grace(look: Look) -> Iterator[Finding]:
    """A pod that is taken away must be able to end its answers."""
    for _, target in look.targets():
        template = target.workload.template
        if not template:
            continue
        told_s = look.facts.measured.get(target.target, Measured()).generation_p99_s
        tpot_s = target.overrides.tpot_s or Objective().tpot_s
        needed_s = told_s if told_s is not None else TOKENS * tpot_s
        whole_s = read.whole(template, "spec", "terminationGracePeriodSeconds")
        stop_s = _pre_stop_s(target)
        left_s = (GRACE_S if whole_s is None else whole_s) - stop_s
        if left_s >= needed_s:
            continue
        why = "p99 of generation, measured" if told_s is not None else f"{TOKENS} tokens at tpotSeconds {tpot_s}"
        yield Finding(
            "grace-too-short",
            Severity.WARNING,
            str(target.workload),
            "When a replica is taken away, answers that take longer than its grace period are cut.",
            (
                f"terminationGracePeriodSeconds: {GRACE_S if whole_s is None else whole_s}"
                f"{'' if whole_s is not None else ' (not set)'}, of which preStop takes {stop_s}",
                f"{needed_s:.0f} s needed: {why}",
            ),
            f"spec:\n  terminationGracePeriodSeconds: {int(needed_s * 2 + stop_s)}",
        )


def _pre_stop_s(target: Target) -> int:
    lifecycle = read.mapping(serving_container(target.workload.template), "lifecycle", "preStop")
    slept = read.whole(lifecycle, "sleep", "seconds")
    if slept is not None:
        return slept
    after = " ".join(read.words(lifecycle, "exec", "command")).partition("sleep ")[2].split()
    return int(after[0]) if after and after[0].isdecimal() and len(after[0]) < 6 else 0


def scraping_port(look: Look) -> Iterator[Finding]:
    """The port that KServe's webhook writes for Knative: we pass it by, Prometheus does not."""
    for _, target in look.targets():
        if target.workload.selector is None:
            continue
        pods = look.objects.find(POD, target.workload.namespace, target.workload.selector)
        wrong = [
            one for one in pods if read.annotations_of(one).get("prometheus.io/port") == f"{KNATIVE_AGGREGATE_PORT}"
        ]
        named = [one for one in wrong if ISVC_LABEL in read.labels_of(one)]
        if named:
            yield Finding(
                "prometheus-port-9091",
                Severity.NOTE,
                str(target.workload),
                "KServe points Prometheus at Knative's queue proxy, where nobody listens outside Knative mode; this "
                f"autoscaler reads port {target.page.port} ({target.page.why}).",
                (f"pod {read.name(named[0])}: prometheus.io/port: 9091",),
                "# on the InferenceService; rolls the pods once:\n"
                'serving.kserve.io/enable-prometheus-scraping: "false"',
            )


CHECKS: tuple[Check, ...] = (
    Check("readiness", "Does a pod say when it is ready?", readiness),
    Check("grace-too-short", "Can answers end before a pod is killed?", grace),
    Check("prometheus-port-9091", "Is Prometheus sent to a port nobody listens on?", scraping_port),
)
