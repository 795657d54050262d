"""From the ScaledObject that KEDA names to the target, on every path."""

from __future__ import annotations

import pytest

from autoscaler.config.records import Overrides
from autoscaler.core.errors import ClusterError, ConfigError
from autoscaler.core.records import Objective, RoleSpec, ServiceId, ServiceMode, TargetId
from autoscaler.kube.meaning.kserve import Path
from autoscaler.kube.meaning.objects import (
    INFERENCE_SERVICE,
    LLM_INFERENCE_SERVICE,
    SCALED_OBJECT,
    ObjectSet,
    Reading,
)
from autoscaler.kube.meaning.resolve import look, resolve, survey
from autoscaler.kube.meaning.scaledobject import Bounds
from autoscaler.kube.meaning.spec import service_spec
from tests.kube_meaning.recorded import Recording


def target_id(service: str, role: str = "", namespace: str = "default") -> TargetId:
    return TargetId(ServiceId(namespace, service), role)


def test_class_external_is_the_inference_service_with_the_bounds_and_gpus_of_its_objects() -> None:
    target = resolve(Recording("isvc-external").cluster(), "default", "m")
    assert target.target == target_id("m")
    assert target.path is Path.ISVC_EXTERNAL
    assert target.bounds == Bounds(0, 9, None)
    assert (target.gpus.count, target.page.port, target.page.path) == (2.0, 8000, "/metrics")
    assert target.pushed
    assert not target.stopped
    assert target.findings == ()


def test_a_trigger_with_only_scaler_address_works_for_a_vllm_service_of_kserve() -> None:
    objects = Recording("isvc-runtime").cluster()
    target = resolve(objects, "models", "qwen-predictive", {"scalerAddress": "scaler.autoscaling.svc:6000"})
    assert target.target == target_id("qwen", namespace="models")
    assert target.page.server == "vllm"
    sight = look(objects, target)
    assert sight.replicas is not None
    assert [one.metrics_url for one in sight.replicas] == ["http://10.0.0.21:8080/metrics"]
    spec = service_spec([target])
    assert spec.objective == Objective()
    assert spec.roles == (RoleSpec("", 0, 100, 1),)
    assert not spec.has_wake_source


def test_what_the_operator_sets_for_all_counts_for_a_service_that_was_found_and_says_nothing() -> None:
    objects = Recording("isvc-runtime").cluster()
    silent = resolve(objects, "models", "qwen-predictive", {"scalerAddress": "scaler.autoscaling.svc:6000"})
    defaults = Overrides(ttft_s=1.5, attainment=0.99, keep_warm_s=900.0, wake_source="gateway")
    spec = service_spec([silent], defaults=defaults)
    assert (spec.objective.ttft_s, spec.objective.attainment, spec.keep_warm_s) == (1.5, 0.99, 900.0)
    assert spec.has_wake_source
    assert spec.roles == (RoleSpec("", 0, 100, 1),)
    said = {"scalerAddress": "x:6000", "ttftSeconds": "4", "wakeSource": "none"}
    spec = service_spec([resolve(objects, "models", "qwen-predictive", said)], defaults=defaults)
    assert (spec.objective.ttft_s, spec.objective.attainment) == (4.0, 0.99)
    assert spec.zero_without_wake_source
    assert not spec.has_wake_source


def test_class_keda_is_understood_through_metric_query_and_target_value_without_a_warning() -> None:
    objects = Recording("isvc-keda").cluster()
    metadata = objects.find(SCALED_OBJECT)[0]["spec"]["triggers"][0]["metadata"]
    target = resolve(objects, "default", "k3-predictor", metadata)
    assert target.target == target_id("k3")
    assert target.path is Path.ISVC_KEDA
    assert not target.pushed
    assert target.warnings == target.findings == ()
    assert look(objects, target).spec_replicas == 3


def test_prefill_and_decode_are_two_targets_of_one_service_with_a_size_each() -> None:
    objects = Recording("llm-own").cluster()
    targets = [resolve(objects, "default", name) for name in ("lm-decode", "lm-prefill")]
    assert [one.target for one in targets] == [target_id("lm", "decode"), target_id("lm", "prefill")]
    assert [one.path for one in targets] == [Path.LLM_OWN] * 2
    assert [one.page.port for one in targets] == [8001, 8000]
    assert [one.page.scheme for one in targets] == ["https", "http"]
    spec = service_spec(targets)
    assert spec.roles == (RoleSpec("decode", 0, 7, 1), RoleSpec("prefill", 0, 5, 2))
    assert spec.objective.ttft_s == 2.0
    assert spec.zero_without_wake_source


def test_the_two_scaled_objects_kserve_makes_carry_the_same_labels_and_are_told_apart_by_what_they_scale() -> None:
    objects = Recording("llm-scaling").cluster()
    found = survey(objects)
    targets = [one.target for one in found if one.target]
    assert [one.target for one in targets] == [target_id("lm", "decode"), target_id("lm", "prefill")]
    assert {one.path for one in targets} == {Path.LLM_SCALING}
    assert all("anything" in one.warnings[0] for one in targets if one.target.role == "decode")


def test_idle_zero_lets_the_service_go_to_zero_though_the_minimum_is_one() -> None:
    target = resolve(Recording("llm-scaling").cluster(), "default", "lm-kserve-keda")
    assert target.bounds == Bounds(1, 9, 0)
    assert target.bounds.reaches_zero
    assert service_spec([target]).roles[0].min_replicas == 0


def test_without_prefill_the_service_has_one_role_without_a_name() -> None:
    recorded = Recording("llm-own").drop("ScaledObject", "lm-prefill").drop("Deployment", "lm-kserve-prefill")
    recorded.put("LLMInferenceService", "lm", "spec.prefill", None)
    recorded.put("Deployment", "lm-kserve", "spec.template.metadata.labels", {"llm-d.ai/role": "both"})
    assert resolve(recorded.cluster(), "default", "lm-decode").target == target_id("lm")


def test_a_leader_worker_set_is_scaled_in_groups_that_hold_the_gpus_of_all_their_pods() -> None:
    target = resolve(Recording("groups").cluster(), "default", "big")
    assert target.target == target_id("big")
    assert target.gpus.count == 16.0
    assert target.workload.pods_per_replica == 2


def test_a_role_of_a_disaggregated_set_is_a_role_of_the_service_that_has_its_name() -> None:
    objects = Recording("groups").cluster()
    target = resolve(objects, "default", "prefill")
    assert target.target == target_id("my-llm", "prefill")
    assert target.path is Path.DISAGGREGATED_SET
    assert target.gpus.count == 4.0
    assert look(objects, target).spec_replicas == 3


@pytest.mark.parametrize("kind", ["StatefulSet", "Rollout"])
def test_anything_with_a_scale_is_a_target_by_its_own_name(kind: str) -> None:
    version = "apps/v1" if kind == "StatefulSet" else "argoproj.io/v1alpha1"
    recorded = (
        Recording("isvc-external")
        .drop("InferenceService")
        .drop("Deployment")
        .add(f"""
apiVersion: {version}
kind: {kind}
metadata: {{name: chat, namespace: default}}
spec: {{replicas: 2, selector: {{matchLabels: {{app: isvc.m-predictor}}}}}}
status: {{replicas: 2}}
""")
    )
    recorded.put("ScaledObject", "m", "spec.scaleTargetRef", {"apiVersion": version, "kind": kind, "name": "chat"})
    objects = recorded.cluster()
    target = resolve(objects, "default", "m")
    assert target.target == target_id("chat")
    assert target.path is Path.BARE
    sight = look(objects, target)
    assert sight.replicas is not None
    assert (len(sight.replicas), sight.spec_replicas) == (2, 2)


def test_a_multi_node_llm_service_is_a_leader_worker_set_of_its_service() -> None:
    recorded = Recording("groups")
    owner = {
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "name": "lw",
        "controller": True,
    }
    recorded.put("LeaderWorkerSet", "big", "metadata.ownerReferences", [owner])
    recorded.put("LeaderWorkerSet", "big", "metadata.name", "lw-kserve-mn")
    recorded.put("ScaledObject", "big", "spec.scaleTargetRef.name", "lw-kserve-mn").add("""
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata: {name: lw, namespace: default}
spec: {worker: {containers: []}, template: {containers: []}}
""")
    target = resolve(recorded.cluster(), "default", "big")
    assert (target.target, target.path) == (target_id("lw"), Path.LLM_OWN)
    gone = resolve(recorded.drop("LeaderWorkerSet").cluster(), "default", "big")
    assert (gone.target, gone.stopped) == (target_id("lw"), True)


def test_a_canary_is_a_service_of_its_own() -> None:
    recorded = Recording("isvc-external")
    recorded.put("Deployment", "m-predictor", "metadata.name", "m-canary-predictor")
    recorded.put("ScaledObject", "m", "spec.scaleTargetRef.name", "m-canary-predictor")
    assert resolve(recorded.cluster(), "default", "m").target == target_id("m-canary-predictor")


# --- stopped ----------------------------------------------------------------------------------------------------------


def test_a_stopped_service_keeps_its_id_while_its_deployment_is_gone() -> None:
    recorded = Recording("isvc-external").drop("Deployment").drop("Pod")
    recorded.put("InferenceService", "m", "metadata.annotations.serving..kserve..io/stop", "true")
    objects = recorded.cluster()
    target = resolve(objects, "default", "m")
    assert target.target == target_id("m")
    assert target.stopped
    assert look(objects, target).stopped
    assert look(objects, target).replicas == ()


def test_a_missing_deployment_is_stopped_whoever_took_it_away() -> None:
    target = resolve(Recording("isvc-external").drop("Deployment").cluster(), "default", "m")
    assert target.stopped


def test_a_deployment_that_comes_back_is_stopped_no_more_at_once() -> None:
    gone = resolve(Recording("isvc-external").drop("Deployment").cluster(), "default", "m")
    sight = look(Recording("isvc-external").cluster(), gone)
    assert not sight.stopped
    assert sight.spec_replicas == 2


def test_a_stopped_llm_service_keeps_both_roles_by_the_names_kserve_gives() -> None:
    objects = Recording("llm-own").drop("Deployment").cluster()
    targets = [resolve(objects, "default", name).target for name in ("lm-decode", "lm-prefill")]
    assert targets == [target_id("lm", "decode"), target_id("lm", "prefill")]


def test_long_names_are_read_from_the_status_of_the_llm_service() -> None:
    recorded = Recording("llm-own").drop("Deployment")
    workloads = {"primary": {"apiGroup": "apps", "kind": "Deployment", "name": "lm-0a1b2c-kserve"}}
    recorded.put("LLMInferenceService", "lm", "status.workloads", workloads)
    recorded.put("ScaledObject", "lm-decode", "spec.scaleTargetRef.name", "lm-0a1b2c-kserve")
    assert resolve(recorded.cluster(), "default", "lm-decode").target == target_id("lm", "decode")


@pytest.mark.parametrize("reading", [Reading.FORBIDDEN, Reading.STALE, Reading.UNWATCHED])
def test_a_deployment_that_cannot_be_read_is_neither_stopped_nor_at_zero(reading: Reading) -> None:
    recorded = Recording("isvc-external").drop("Deployment")
    objects = ObjectSet(recorded.raws, default=reading)
    target = resolve(objects, "default", "m")
    sight = look(objects, target)
    assert not target.stopped
    assert not sight.stopped
    assert sight.replicas is None
    assert sight.spec_replicas is None


def test_an_owner_that_cannot_be_read_makes_the_id_uncertain_and_not_another() -> None:
    readings = {INFERENCE_SERVICE: Reading.FORBIDDEN, LLM_INFERENCE_SERVICE: Reading.ABSENT}
    recorded = Recording("isvc-external").drop("InferenceService").drop("Deployment")
    target = resolve(recorded.cluster(readings), "default", "m")
    assert not target.known
    assert resolve(Recording("isvc-external").drop("InferenceService").cluster(readings), "default", "m").known


# --- what is set ------------------------------------------------------------------------------------------------------


def test_metadata_wins_over_annotations_and_these_over_what_kubernetes_tells() -> None:
    recorded = Recording("isvc-external")
    notes = {"llm-autoscaler.io/ttftSeconds": "5", "llm-autoscaler.io/tpotSeconds": "0.1"}
    notes |= {"llm-autoscaler.io/gpusPerReplica": "4", "llm-autoscaler.io/maxReplicas": "50"}
    recorded.put("ScaledObject", "m", "metadata.annotations", notes)
    metadata = {"scalerAddress": "x:1", "ttftSeconds": "2"}
    spec = service_spec([resolve(recorded.cluster(), "default", "m", metadata)])
    assert (spec.objective.ttft_s, spec.objective.tpot_s) == (2.0, 0.1)
    assert spec.roles[0].gpus_per_replica == 4
    assert spec.roles[0].max_replicas == 9  # more than the HPA makes of it would only be a promise


def test_metrics_settings_pick_the_page_of_every_pod() -> None:
    objects = Recording("isvc-external").cluster()
    metadata = {"scalerAddress": "x:1", "metricsPort": "9000", "metricsPath": "/m", "server": "sglang"}
    target = resolve(objects, "default", "m", metadata)
    replicas = look(objects, target).replicas
    assert replicas is not None
    assert (replicas[0].metrics_url, replicas[0].server) == ("http://10.0.0.11:9000/m", "sglang")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("chat", target_id("chat")),
        ("default/chat", target_id("chat")),
        ("chat/prefill", target_id("chat", "prefill")),
        ("default/chat/decode", target_id("chat", "decode")),
    ],
)
def test_target_in_metadata_names_a_service_of_its_own_namespace(written: str, expected: TargetId) -> None:
    metadata = {"scalerAddress": "x:1", "target": written}
    assert resolve(Recording("isvc-external").cluster(), "default", "m", metadata).target == expected


@pytest.mark.parametrize("written", ["other/chat", "other/chat/prefill", "a/b/c/d", "/"])
def test_a_target_of_another_namespace_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match="own namespace"):
        resolve(Recording("isvc-external").cluster(), "default", "m", {"scalerAddress": "x:1", "target": written})


def test_every_malformed_value_of_metadata_and_annotations_is_told_at_once() -> None:
    recorded = Recording("isvc-external")
    recorded.put("ScaledObject", "m", "metadata.annotations", {"llm-autoscaler.io/attainment": "2"})
    with pytest.raises(ConfigError) as caught:
        resolve(recorded.cluster(), "default", "m", {"ttftSeconds": "fast", "metricsPath": "m", "server": "vlm"})
    paths = {problem.path for problem in caught.value.problems}
    assert paths == {"ttftSeconds", "metricsPath", "server", "llm-autoscaler.io/attainment"}


def test_shadow_by_annotation_needs_no_trigger_of_ours() -> None:
    recorded = Recording("isvc-external")
    recorded.put("ScaledObject", "m", "metadata.annotations", {"llm-autoscaler.io/mode": "shadow"})
    recorded.put("ScaledObject", "m", "spec.triggers", [{"type": "cpu", "metadata": {"value": "50"}}])
    (found,) = survey(recorded.cluster())
    assert found.target is not None
    assert found.target.mode is ServiceMode.SHADOW
    assert found.target.findings == ()
    assert service_spec([found.target]).mode is ServiceMode.SHADOW


def test_other_external_scalers_are_not_taken_for_ours() -> None:
    recorded = Recording("isvc-external")
    metadata = {"scalerAddress": "keda-http-add-on-external-scaler.keda:9090", "httpScaledObject": "m"}
    recorded.put("ScaledObject", "m", "spec.triggers", [{"type": "external-push", "metadata": metadata}])
    assert survey(recorded.cluster()) == ()


def test_a_trigger_that_kedas_call_names_is_ours_whatever_it_looks_like() -> None:
    recorded = Recording("isvc-external")
    metadata = {"scalerAddress": "a:1", "httpScaledObject": "m"}
    recorded.put("ScaledObject", "m", "spec.triggers", [{"type": "external", "metadata": metadata}])
    recorded.put("ScaledObject", "m", "metadata.annotations", {"llm-autoscaler.io/mode": "shadow"})
    target = resolve(recorded.cluster(), "default", "m", metadata)
    assert not target.pushed
    assert [one.check for one in target.findings] == ["shadow-trigger"]


def test_a_misspelt_key_is_still_ours_and_known_addresses_decide_alone() -> None:
    recorded = Recording("isvc-external")
    trigger = {"type": "external-push", "metadata": {"scalerAddress": "a:1", "ttftSecond": "3"}}
    recorded.put("ScaledObject", "m", "spec.triggers", [trigger])
    assert len(survey(recorded.cluster())) == 1
    assert survey(recorded.cluster(), addresses=frozenset({"b:1"})) == ()
    assert len(survey(recorded.cluster(), addresses=frozenset({"a:1"}))) == 1


def test_a_scaled_object_that_is_not_there_is_the_callers_fault_and_an_unread_one_the_clusters() -> None:
    with pytest.raises(ConfigError, match="a ScaledObject that exists"):
        resolve(ObjectSet([]), "default", "m")
    with pytest.raises(ClusterError, match="forbidden"):
        resolve(ObjectSet([], {SCALED_OBJECT: Reading.FORBIDDEN}), "default", "m")


@pytest.mark.parametrize(
    ("key", "value"),
    [("paused", "true"), ("paused-replicas", "2"), ("paused-scale-in", "true"), ("paused-scale-out", "true")],
)
def test_every_pause_of_kedas_is_known(key: str, value: str) -> None:
    recorded = Recording("isvc-external")
    recorded.put("ScaledObject", "m", "metadata.annotations", {f"autoscaling.keda.sh/{key}": value})
    pause = resolve(recorded.cluster(), "default", "m").pause
    assert pause is not None
    assert (pause.annotation, pause.value) == (f"autoscaling.keda.sh/{key}", value)


def test_a_pause_set_to_false_is_none() -> None:
    recorded = Recording("isvc-external")
    recorded.put("ScaledObject", "m", "metadata.annotations", {"autoscaling.keda.sh/paused": "false"})
    assert resolve(recorded.cluster(), "default", "m").pause is None
