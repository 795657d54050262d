"""What is worked out before KServe acts is what KServe was seen to write."""

from __future__ import annotations

from typing import Any

import pytest

from autoscaler.kube.meaning.kserve_made import files_set, made_of, with_made
from autoscaler.kube.meaning.objects import LLM_INFERENCE_SERVICE, SCALED_OBJECT, Reading
from tests.kube_meaning.recorded import Recording


def made(recorded: Recording, kind: str) -> dict[str, Any]:
    return {raw["metadata"]["name"]: raw for raw in made_of(recorded.one(kind))}


def test_class_keda_gives_the_recorded_scaled_object() -> None:
    recorded = Recording("isvc-keda")
    (found,) = made(recorded, "InferenceService").values()
    written = recorded.one("ScaledObject")
    assert found["metadata"]["name"] == written["metadata"]["name"]
    for key in ("scaleTargetRef", "minReplicaCount", "maxReplicaCount", "triggers"):
        assert found["spec"][key] == written["spec"][key], key


def test_scaling_keda_gives_the_recorded_scaled_objects_of_both_roles() -> None:
    recorded = Recording("llm-scaling")
    found = made(recorded, "LLMInferenceService")
    assert set(found) == {"lm-kserve-keda", "lm-kserve-prefill-keda"}
    written = recorded.one("ScaledObject", "lm-kserve-keda")["spec"]
    for key in (
        "cooldownPeriod",
        "idleReplicaCount",
        "maxReplicaCount",
        "minReplicaCount",
        "pollingInterval",
        "scaleTargetRef",
    ):
        assert found["lm-kserve-keda"]["spec"][key] == written[key], key


@pytest.mark.parametrize("name", ["isvc-external", "isvc-class-absent", "llm-own"])
def test_where_kserve_makes_no_scaled_object_none_is_made_up(name: str) -> None:
    raws = Recording(name).raws
    assert len(with_made(raws)) == len(raws)


def test_scaled_objects_that_were_given_are_not_made_twice() -> None:
    raws = Recording("llm-scaling").raws
    assert len(with_made(raws)) == len(raws)


def test_a_shared_configuration_is_filled_with_the_services_name_and_the_service_wins_over_it() -> None:
    recorded = (
        Recording("llm-own")
        .drop("ScaledObject")
        .drop("Deployment")
        .add("""
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceServiceConfig
metadata: {name: shared, namespace: default}
spec:
  scaling:
    maxReplicas: 9
    keda: {triggers: [{type: external-push, metadata: {scalerAddress: "x:1", target: "{{ .ObjectMeta.Name }}"}}]}
""")
    )
    recorded.put("LLMInferenceService", "lm", "spec.baseRefs", [{"name": "shared"}])
    recorded.put("LLMInferenceService", "lm", "spec.scaling", {"maxReplicas": 4})
    objects = files_set(recorded.raws)
    (scaled,) = objects.find(SCALED_OBJECT)
    assert scaled["spec"]["maxReplicaCount"] == 4
    assert scaled["spec"]["triggers"][0]["metadata"]["target"] == "lm"
    assert objects.reading(LLM_INFERENCE_SERVICE) is Reading.PARTIAL
