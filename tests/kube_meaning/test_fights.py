"""Every configuration in which somebody else writes the replica count is found, with who and the fix."""

from __future__ import annotations

import pytest

from autoscaler.kube.meaning.findings import Finding, Severity
from autoscaler.kube.meaning.objects import INFERENCE_SERVICE, Reading
from autoscaler.kube.meaning.resolve import resolve
from tests.kube_meaning.recorded import Recording

CLASS = "metadata.annotations.serving..kserve..io/autoscalerClass"
MODE = "metadata.annotations.serving..kserve..io/deploymentMode"


def findings(recorded: Recording, name: str = "m") -> dict[str, Finding]:
    found = resolve(recorded.cluster(), "default", name).findings
    assert len({one.check for one in found}) == len(found)
    return {one.check: one for one in found}


def external() -> Recording:
    return Recording("isvc-external")


@pytest.mark.parametrize(
    ("name", "scaled"),
    [
        ("isvc-external", "m"),
        ("isvc-keda", "k3-predictor"),
        ("llm-own", "lm-decode"),
        ("llm-own", "lm-prefill"),
        ("llm-scaling", "lm-kserve-keda"),
        ("llm-scaling", "lm-kserve-prefill-keda"),
        ("groups", "big"),
        ("groups", "prefill"),
    ],
)
def test_no_path_that_holds_is_called_a_fight(name: str, scaled: str) -> None:
    assert findings(Recording(name), scaled) == {}


def test_class_none_is_written_back_to_the_minimum_and_is_an_error() -> None:
    recorded = external().put("InferenceService", "m", CLASS, "none")
    recorded.put("InferenceService", "m", "spec.predictor.minReplicas", 2)
    (found,) = findings(recorded).values()
    assert (found.check, found.severity) == ("isvc-class-none", Severity.ERROR)
    assert found.about == "InferenceService default/m"
    assert found.evidence[1] == "spec.predictor.minReplicas: 2"
    assert "\nkubectl -n default annotate inferenceservice m --overwrite" in found.fix
    assert "rolls every pod" in found.fix
    assert found.fix.endswith("autoscalerClass=external")


def test_an_absent_class_means_hpa_and_names_kserves_hpa_and_the_ambiguous_selector() -> None:
    found = findings(Recording("isvc-class-absent"), "a")
    assert set(found) == {"isvc-class-hpa", "ambiguous-selector"}
    assert "not set, which means hpa" in found["isvc-class-hpa"].evidence[0]
    assert found["isvc-class-hpa"].evidence[1] == "HorizontalPodAutoscaler a-predictor"
    assert "multiple HPAs" in found["ambiguous-selector"].evidence[0]


def test_class_hpa_left_over_is_known_from_the_deployment_where_the_service_cannot_be_read() -> None:
    recorded = Recording("isvc-class-absent")
    objects = recorded.drop("InferenceService").cluster({INFERENCE_SERVICE: Reading.FORBIDDEN})
    assert "isvc-class-hpa" in {one.check for one in resolve(objects, "default", "a").findings}


@pytest.mark.parametrize("mode", ["Knative", "Serverless"])
def test_knative_mode_is_refused(mode: str) -> None:
    (found,) = findings(external().put("InferenceService", "m", MODE, mode)).values()
    assert (found.check, found.severity) == ("isvc-knative", Severity.ERROR)
    assert mode in found.evidence[0]


def test_knative_mode_is_known_by_the_owner_of_the_deployment_alone() -> None:
    recorded = external().put("InferenceService", "m", MODE, None)
    owner = {"apiVersion": "serving.knative.dev/v1", "kind": "Revision", "name": "m-1", "controller": True}
    recorded.put("Deployment", "m-predictor", "metadata.ownerReferences", [owner])
    assert set(findings(recorded)) == {"isvc-knative"}


def test_a_multi_node_inference_service_is_refused_with_the_kind_that_can_be_scaled() -> None:
    recorded = external().put("InferenceService", "m", "spec.predictor.workerSpec", {"pipelineParallelSize": 2})
    (found,) = findings(recorded).values()
    assert found.check == "isvc-multi-node"
    assert "LLMInferenceService" in found.fix


@pytest.mark.parametrize(
    ("scaled", "path", "pointer"),
    [
        ("lm-decode", "spec.replicas", "/spec/replicas"),
        ("lm-prefill", "spec.prefill.replicas", "/spec/prefill/replicas"),
    ],
)
def test_static_replicas_of_a_role_fight_and_the_fix_hands_the_count_over(scaled: str, path: str, pointer: str) -> None:
    recorded = Recording("llm-own").put("LLMInferenceService", "lm", path, 2)
    (found,) = findings(recorded, scaled).values()
    assert (found.check, found.severity) == ("llm-static-replicas", Severity.ERROR)
    assert found.evidence == (f"{path}: 2",)
    assert f'"path": "{pointer}"' in found.fix
    other = "lm-prefill" if scaled == "lm-decode" else "lm-decode"
    assert findings(recorded, other) == {}


def test_scaling_by_the_variant_autoscaler_is_another_writer() -> None:
    recorded = Recording("llm-own").put("LLMInferenceService", "lm", "spec.scaling", {"wva": {}})
    assert set(findings(recorded, "lm-decode")) == {"llm-scaling-wva"}


def test_static_replicas_from_a_shared_configuration_fight_too() -> None:
    recorded = (
        Recording("llm-own")
        .put("LLMInferenceService", "lm", "spec.baseRefs", [{"name": "fixed"}])
        .add("""
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceServiceConfig
metadata: {name: fixed, namespace: default}
spec: {replicas: 3}
""")
    )
    assert findings(recorded, "lm-decode")["llm-static-replicas"].evidence == ("spec.replicas: 3",)


def test_a_role_that_is_not_the_workloads_is_an_error_and_the_right_one_is_none() -> None:
    recorded = Recording("llm-own").put("ScaledObject", "lm-decode", "spec.triggers.0.metadata.role", "prefill")
    assert findings(recorded, "lm-decode")["wrong-role"].evidence == ("role: prefill", "the workload's role: decode")
    assert (
        findings(recorded.put("ScaledObject", "lm-decode", "spec.triggers.0.metadata.role", "decode"), "lm-decode")
        == {}
    )


HPA = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: by-hand, namespace: default}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: m-predictor}, maxReplicas: 3}
"""


def test_an_hpa_beside_ours_is_named_with_who_made_it() -> None:
    (found,) = findings(external().add(HPA)).values()
    assert (found.check, found.severity) == ("second-scaler", Severity.ERROR)
    assert found.evidence == ("HorizontalPodAutoscaler default/by-hand, made by hand",)
    assert "delete horizontalpodautoscaler by-hand" in found.fix


def test_an_hpa_on_another_target_or_namespace_is_no_fight() -> None:
    other = HPA.replace("name: m-predictor", "name: n-predictor")
    assert findings(external().add(other)) == {}
    assert findings(external().add(HPA.replace("namespace: default", "namespace: other"))) == {}


def test_a_second_scaled_object_counts_once_with_the_hpa_that_follows_it() -> None:
    recorded = external().add("""
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: old, namespace: default}
spec: {scaleTargetRef: {name: m-predictor}, triggers: [{type: cpu, metadata: {value: "50"}}]}
""")
    recorded.add(
        HPA.replace(
            "by-hand, namespace: default",
            "keda-hpa-old, namespace: default, ownerReferences: [{kind: ScaledObject, name: old}]",
        )
    )
    (found,) = findings(recorded).values()
    assert found.evidence == ("ScaledObject default/old, made by hand",)


def test_beside_a_scaled_object_of_kserves_the_fix_is_to_drop_ours() -> None:
    recorded = Recording("llm-scaling").add("""
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: mine, namespace: default}
spec: {scaleTargetRef: {name: lm-kserve}, triggers: [{type: external-push, metadata: {scalerAddress: "x:1"}}]}
""")
    found = findings(recorded, "mine")["second-scaler"]
    assert found.evidence == ("ScaledObject default/lm-kserve-keda, owned by LLMInferenceService lm",)
    assert "delete scaledobject mine" in found.fix


def test_a_shadow_trigger_in_an_acting_scaled_object_is_refused_with_the_reason() -> None:
    recorded = external().put("ScaledObject", "m", "metadata.annotations", {"llm-autoscaler.io/mode": "shadow"})
    (found,) = findings(recorded).values()
    assert (found.check, found.severity) == ("shadow-trigger", Severity.ERROR)
    assert "largest" in found.cause


def test_annotations_of_ours_on_an_inference_service_roll_pods_and_belong_elsewhere() -> None:
    recorded = external().put("InferenceService", "m", "metadata.annotations.llm-autoscaler..io/ttftSeconds", "2")
    (found,) = findings(recorded).values()
    assert found.check == "isvc-annotated"
    assert found.fix.endswith("annotate scaledobject m llm-autoscaler.io/ttftSeconds=2")


@pytest.mark.parametrize(
    ("name", "scaled", "said"),
    [("llm-scaling", "lm-kserve-keda", "strips"), ("isvc-keda", "k3-predictor", "removes")],
)
def test_a_pause_on_a_scaled_object_that_kserve_writes_does_not_last(name: str, scaled: str, said: str) -> None:
    pause = {"autoscaling.keda.sh/paused-replicas": "2"}
    found = findings(Recording(name).put("ScaledObject", scaled, "metadata.annotations", pause), scaled)
    assert said in found["kserve-pause"].cause


def test_a_pause_on_our_own_scaled_object_is_no_fight() -> None:
    pause = {"autoscaling.keda.sh/paused-replicas": "2"}
    assert findings(external().put("ScaledObject", "m", "metadata.annotations", pause)) == {}
