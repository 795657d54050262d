"""Checks of ScaledObjects, each on the recorded cluster with one thing wrong."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from autoscaler.doctor.look import Facts, Measured, look_at
from autoscaler.doctor.report import examine
from autoscaler.kube.meaning.findings import Finding, Severity
from autoscaler.kube.meaning.objects import Kind, Reading
from autoscaler.kube.meaning.resolve import resolve
from tests.kube_meaning.recorded import Recording

BEHAVIOR = "spec.advanced.horizontalPodAutoscalerConfig.behavior"


def external() -> Recording:
    return Recording("isvc-external")


def scaled(path: str, value: Any, recorded: Recording | None = None) -> Recording:
    return (recorded or external()).put("ScaledObject", "m", path, value)


def findings(recorded: Recording, facts: Facts = Facts()) -> dict[str, Finding]:  # noqa: B008
    found = examine(look_at(recorded.cluster(), facts=facts)).findings
    return {one.check: one for one in found}


def test_a_sound_cluster_has_no_findings() -> None:
    assert findings(external()) == {}


def test_tolerance_matters_from_ten_replicas_on() -> None:
    recorded = scaled(f"{BEHAVIOR}.scaleUp.tolerance", None)
    assert findings(recorded) == {}
    found = findings(scaled("spec.maxReplicaCount", 10, recorded))["tolerance-unset"]
    assert found.severity is Severity.WARNING
    assert found.evidence == ("maxReplicaCount: 10", "behavior.scaleUp.tolerance: not set, so 0.1")
    assert 'tolerance: "0"' in found.fix


@pytest.mark.parametrize(
    ("tolerance", "most", "found"), [("0.02", 49, False), ("0.02", 50, True), ("20m", 50, True), ("0", 999, False)]
)
def test_a_smaller_tolerance_has_its_dead_band_later(tolerance: str, most: int, found: bool) -> None:
    recorded = scaled("spec.maxReplicaCount", most, scaled(f"{BEHAVIOR}.scaleUp.tolerance", tolerance))
    assert ("tolerance-unset" in findings(recorded)) is found


def test_a_behavior_without_policies_leaves_the_hpas_own_ramp() -> None:
    found = findings(scaled("spec.advanced", {}))["hpa-ramp"]
    assert found.evidence[-1] == "behavior.scaleDown.stabilizationWindowSeconds: not set, so 300"
    assert len(found.evidence) == 3


def test_the_fix_for_the_behavior_is_one_that_the_doctor_passes() -> None:
    fix = yaml.safe_load(findings(scaled("spec.advanced", {}))["hpa-ramp"].fix)
    repaired = scaled("spec.maxReplicaCount", 50, scaled("spec.advanced", fix["spec"]["advanced"]))
    assert findings(repaired) == {}


@pytest.mark.parametrize("name", ["isvc-keda", "llm-scaling"])
def test_where_kserve_writes_the_scaled_object_the_behavior_is_a_note_and_no_fault_of_the_user(name: str) -> None:
    found = findings(Recording(name))
    assert found["kserve-no-behavior"].severity is Severity.NOTE
    assert "fastPath" in found["kserve-no-behavior"].fix
    assert not {"tolerance-unset", "hpa-ramp"} & set(found)


def test_value_multiplies_ready_pods_by_our_count_and_is_an_error() -> None:
    found = findings(scaled("spec.triggers.0.metricType", "Value"))["metric-type-value"]
    assert found.severity is Severity.ERROR
    assert '"path": "/spec/triggers/0/metricType"' in found.fix


def other(query: str, metric_type: str) -> Recording:
    return external().add(f"""
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{name: other, namespace: default}}
spec:
  scaleTargetRef: {{name: chat}}
  triggers:
    - type: prometheus
      metricType: {metric_type}
      metadata: {{serverAddress: "http://p", threshold: "1", query: "{query}"}}
""")


def test_a_replica_count_read_as_value_is_found_on_anybodys_scaled_object() -> None:
    found = findings(other("wva_desired_replicas{m='x'}", "Value"))
    assert found["count-as-value"].about == "ScaledObject default/other"
    assert found["count-as-value"].severity is Severity.ERROR
    assert "count-as-value" not in findings(other("wva_desired_replicas{m='x'}", "AverageValue"))


def test_a_mean_over_the_pool_read_as_average_value_is_found() -> None:
    assert "mean-as-average" in findings(other("avg(vllm:kv_cache_usage_perc)", "AverageValue"))
    assert "mean-as-average" not in findings(other("avg(vllm:kv_cache_usage_perc)", "Value"))
    assert "mean-as-average" not in findings(other("sum(vllm:num_requests_waiting)", "AverageValue"))


@pytest.mark.parametrize(("idle", "found"), [(None, False), (0, False), (1, True)])
def test_kedas_idle_count_must_be_zero(idle: int | None, found: bool) -> None:
    recorded = scaled("spec.minReplicaCount", 2, scaled("spec.idleReplicaCount", idle))
    assert ("idle-not-zero" in findings(recorded)) is found


def test_zero_needs_a_wake_source_or_the_word_none() -> None:
    silent = scaled("spec.triggers.0.metadata", {"scalerAddress": "x:1"})
    assert findings(silent)["zero-without-wake"].evidence == ("spec.minReplicaCount: 0", "wakeSource: not set")
    assert "zero-without-wake" not in findings(scaled("spec.minReplicaCount", 1, silent))
    noted = scaled("metadata.annotations", {"llm-autoscaler.io/wakeSource": "gateway"}, silent)
    assert "zero-without-wake" not in findings(noted)


def test_a_cooldown_below_the_measured_start_is_priced_both_ways() -> None:
    # 10:00:00 to 10:02:10 is a start of 130 s; 2 GPUs at 2.5 an hour.
    found = findings(scaled("spec.cooldownPeriod", 60))["cooldown-below-start"]
    assert found.evidence[0].endswith("costs $0.08 a replica")
    assert found.evidence[1] == "start measured: 130 s, paid $0.18 a replica without a token"
    assert "cooldownPeriod: 300" in found.fix, "not what another check warns of"
    assert "cooldown-below-start" not in findings(scaled("spec.cooldownPeriod", 131))


@pytest.mark.parametrize(("cooldown_s", "found"), [(0, True), (299, True), (300, False), (None, False)])
def test_a_cooldown_below_kedas_default_lets_an_outage_take_a_service_to_zero(
    cooldown_s: int | None, found: bool
) -> None:
    assert ("cooldown-short" in findings(scaled("spec.cooldownPeriod", cooldown_s))) is found


def test_a_short_cooldown_is_told_with_its_cause_and_one_cooldown_that_every_check_passes() -> None:
    found = findings(scaled("spec.cooldownPeriod", 30))["cooldown-short"]
    assert found.severity is Severity.WARNING
    assert "not active" in found.cause
    assert found.evidence == (
        "spec.cooldownPeriod: 30 s; a longer outage may reach zero; KEDA's own: 300 s",
        "spec.minReplicaCount: 0, idleReplicaCount: not set",
    )
    assert found.fix == "spec:\n  cooldownPeriod: 300"
    target = resolve(external().cluster(), "default", "m").target
    slow = Facts(measured={target: Measured(cold_start_s=400.0)})
    short = findings(scaled("spec.cooldownPeriod", 30), slow)
    assert short["cooldown-short"].fix == short["cooldown-below-start"].fix == "spec:\n  cooldownPeriod: 401"
    assert findings(scaled("spec.cooldownPeriod", 401), slow) == {}


def test_a_short_cooldown_matters_only_where_zero_may_be_reached() -> None:
    short = scaled("spec.cooldownPeriod", 30)
    assert "cooldown-short" not in findings(scaled("spec.minReplicaCount", 1, short))
    idle = scaled("spec.minReplicaCount", 2, scaled("spec.idleReplicaCount", 0, short))
    assert findings(idle)["cooldown-short"].evidence[1] == "spec.minReplicaCount: 2, idleReplicaCount: 0"


def test_the_cooldown_of_a_scaled_object_that_kserve_writes_is_set_where_kserve_reads_it() -> None:
    fix = findings(Recording("llm-scaling"))["cooldown-short"].fix
    assert yaml.safe_load(fix) in (
        {"spec": {"scaling": {"keda": {"cooldownPeriod": 300}}}},
        {"spec": {"prefill": {"scaling": {"keda": {"cooldownPeriod": 300}}}}},
    )


def test_what_the_service_measured_of_the_start_wins_over_todays_pods() -> None:
    recorded = external()
    target = resolve(recorded.cluster(), "default", "m").target
    facts = Facts(measured={target: Measured(cold_start_s=400.0)})
    assert "start measured: 400 s" in findings(recorded, facts)["cooldown-below-start"].evidence[1]


def test_a_fallback_of_zero_replicas_is_an_error_and_a_missing_one_a_note() -> None:
    assert findings(scaled("spec.fallback.replicas", 0))["fallback-zero"].severity is Severity.ERROR
    assert findings(scaled("spec.fallback", None))["fallback-missing"].severity is Severity.NOTE


def test_a_second_trigger_beside_ours_is_a_warning() -> None:
    cpu = {"type": "cpu", "metadata": {"value": "50"}}
    ours = {"type": "external-push", "metadata": {"scalerAddress": "x:1", "wakeSource": "none"}}
    assert findings(scaled("spec.triggers", [cpu, ours]))["mixed-triggers"].evidence == ("spec.triggers[0].type: cpu",)


def test_cached_metrics_long_names_and_pulls_are_told() -> None:
    assert "cached-metrics" in findings(scaled("spec.triggers.0.useCachedMetrics", True))
    assert findings(scaled("spec.triggers.0.type", "external"))["pull-only"].severity is Severity.NOTE
    assert "name-too-long" in findings(scaled("metadata.name", "m" * 55))
    assert "name-too-long" not in findings(scaled("metadata.name", "m" * 54))


def test_a_pause_is_told_so_that_nobody_wonders() -> None:
    recorded = scaled("metadata.annotations", {"autoscaling.keda.sh/paused": "true"})
    assert findings(recorded)["paused"].fix.endswith("annotate scaledobject m autoscaling.keda.sh/paused-")


def test_settings_that_cannot_be_read_are_errors_with_what_was_expected() -> None:
    wrong = {"scalerAddress": "x:1", "ttftSeconds": "fast", "attainment": "2"}
    found = findings(scaled("spec.triggers.0.metadata", wrong))["settings-invalid"]
    assert found.severity is Severity.ERROR
    assert set(found.evidence) == {"ttftSeconds: 'fast'", "attainment: '2'"}
    assert "a number, such as 3 or 0.06" in found.fix


def test_a_misspelt_key_is_a_warning_with_the_nearest_name() -> None:
    wrong = {"scalerAddress": "x:1", "wakeSource": "none", "ttftSecond": "3"}
    (text,) = findings(scaled("spec.triggers.0.metadata", wrong))["settings-unknown"].evidence
    assert "did you mean 'ttftSeconds'" in text


def test_not_ready_spreads_to_an_llm_service_with_scaling_keda_and_is_an_error_there() -> None:
    found = findings(Recording("llm-scaling"))["scaledobject-not-ready"]
    assert found.severity is Severity.ERROR
    assert "LLMInferenceService is NotReady" in found.cause
    ready = [{"type": "Ready", "status": "False", "reason": "X"}]
    assert findings(scaled("status.conditions", ready))["scaledobject-not-ready"].severity is Severity.WARNING


def test_a_stopped_service_is_not_called_broken() -> None:
    ready = [{"type": "Ready", "status": "False", "reason": "ErrorGettingCurrentReplicas"}]
    recorded = scaled("status.conditions", ready).drop("Deployment").drop("Pod")
    recorded.put("InferenceService", "m", "metadata.annotations.serving..kserve..io/stop", "true")
    assert findings(recorded) == {}


def test_a_scaled_object_that_outlived_its_service_is_found() -> None:
    recorded = external().drop("InferenceService").drop("Deployment").drop("Pod")
    assert findings(recorded)["target-gone"].fix == "kubectl -n default delete scaledobject m"


def test_a_target_that_cannot_be_read_is_not_called_gone() -> None:
    recorded = external().drop("InferenceService").drop("Deployment")
    objects = recorded.cluster({Kind("apps", "Deployment"): Reading.FORBIDDEN})
    assert "target-gone" not in {one.check for one in examine(look_at(objects)).findings}


def test_two_scaled_objects_that_mean_one_target_are_an_error() -> None:
    recorded = Recording("llm-own").put("ScaledObject", "lm-prefill", "spec.triggers.0.metadata.target", "lm/decode")
    assert findings(recorded)["same-target"].evidence[0] == "target default/lm/decode"
    assert "same-target" not in findings(Recording("llm-own"))


def test_class_keda_can_name_its_wake_source_in_the_targets_file_only() -> None:
    found = findings(Recording("isvc-keda").put("ScaledObject", "k3-predictor", "spec.minReplicaCount", 0))[
        "zero-without-wake"
    ]
    assert "targets file" in found.fix


def test_decode_without_prefill_is_told() -> None:
    recorded = Recording("llm-own").drop("ScaledObject", "lm-prefill")
    assert "prefill keeps its count" in findings(recorded)["one-role"].cause
    assert "one-role" not in findings(Recording("llm-own"))


def test_a_fight_is_a_finding_of_the_doctor() -> None:
    found = findings(Recording("isvc-class-absent"))
    assert found["isvc-class-hpa"].severity is Severity.ERROR
    assert found["ambiguous-selector"].severity is Severity.ERROR
