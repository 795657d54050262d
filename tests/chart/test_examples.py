"""Every example's ScaledObject means to our own service what its reader expects."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from autoscaler.config.metadata import read_trigger
from autoscaler.config.records import ListKind as Kind
from autoscaler.config.records import ReplicaList, ServiceSettings, TargetSettings
from autoscaler.control.directory import Directory
from autoscaler.core.records import Objective, RoleSpec, ServiceId, ServiceSpec, TargetId
from autoscaler.modelservers import profile
from tests.chart.rendering import DEPLOY

FOLDER = DEPLOY / "examples"
SERVERS = sorted(FOLDER.glob("*.yaml"))
# The example's file name is the server's name or one of its other names.
PROFILES = {"tensorrt-llm": "trtllm", "llama.cpp": "llamacpp"}
HPA_NAME = 54  # KEDA's HPA is keda-hpa-NAME, 63 at most


def objects(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def of_kind(path: Path, kind: str) -> dict[str, Any]:
    (found,) = (one for one in objects(path) if one["kind"] == kind)
    return found


def triggers() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every trigger of every ScaledObject under examples/, KServe's paths included."""
    return [
        (f"{path.relative_to(FOLDER)}:{one['metadata']['name']}", one, trigger)
        for path in sorted(FOLDER.rglob("*.yaml"))
        for one in objects(path)
        if one["kind"] == "ScaledObject"
        for trigger in one["spec"]["triggers"]
    ]


TRIGGERS = triggers()


def test_there_is_an_example_for_every_model_server_that_is_deployed_by_itself() -> None:
    names = {PROFILES.get(path.name.removesuffix(".yaml"), path.name.removesuffix(".yaml")) for path in SERVERS}
    # Dynamo's own operator makes its workloads.
    assert names == {"vllm", "sglang", "tgi", "trtllm", "triton", "llamacpp", "lmdeploy"}


@pytest.mark.parametrize(("name", "scaled", "trigger"), TRIGGERS, ids=[one[0] for one in TRIGGERS])
def test_our_service_reads_the_trigger_without_a_warning(
    name: str, scaled: dict[str, Any], trigger: dict[str, Any]
) -> None:
    assert trigger["type"] in ("external-push", "external")
    assert trigger.get("metricType", "AverageValue") == "AverageValue"
    metadata = trigger["metadata"]
    assert all(isinstance(value, str) for value in metadata.values()), "KEDA takes text only"
    assert re.fullmatch(r"llm-autoscaler\.[a-z-]+(\.svc)?:6000", metadata["scalerAddress"])
    assert read_trigger(metadata).warnings == ()
    assert len(scaled["metadata"]["name"]) <= HPA_NAME


@pytest.mark.parametrize("path", SERVERS, ids=lambda path: str(path.name))
def test_the_golden_scaled_object_sets_objective_and_size(path: Path) -> None:
    scaled = of_kind(path, "ScaledObject")
    meta, spec = scaled["metadata"], scaled["spec"]
    service = ServiceId(meta["namespace"], meta["name"])
    nothing = TargetSettings("", ReplicaList(Kind.STATIC))
    directory = Directory([ServiceSettings(ServiceSpec(service), (nothing,))])
    (trigger,) = spec["triggers"]
    assert directory.resolve(meta["namespace"], meta["name"], trigger["metadata"]) == TargetId(service, "")
    (container,) = of_kind(path, "Deployment")["spec"]["template"]["spec"]["containers"]
    (role,) = directory.spec(service).roles
    assert directory.spec(service).objective == Objective(3.0, 0.06, 0.95)
    assert role == RoleSpec(gpus_per_replica=container["resources"]["limits"]["nvidia.com/gpu"])


@pytest.mark.parametrize("path", SERVERS, ids=lambda path: str(path.name))
def test_the_page_is_announced_where_that_model_server_has_it(path: Path) -> None:
    deployment = of_kind(path, "Deployment")
    name = path.name.removesuffix(".yaml")
    server = profile(PROFILES.get(name, name))
    template = deployment["spec"]["template"]
    assert template["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(server.port),
        "prometheus.io/path": server.path,
    }
    (container,) = template["spec"]["containers"]
    assert server.port in [port["containerPort"] for port in container["ports"]]
    assert "replicas" not in deployment["spec"], "the HPA owns the count"


@pytest.mark.parametrize("path", SERVERS, ids=lambda path: str(path.name))
def test_the_hpa_lands_on_the_exact_count_in_one_step(path: Path) -> None:
    scaled = of_kind(path, "ScaledObject")["spec"]
    behavior = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    for way in ("scaleUp", "scaleDown"):
        # Complete, or KEDA would rewrite the HPA at every reconcile: it compares with the API server's filled copy.
        assert set(behavior[way]) == {"stabilizationWindowSeconds", "selectPolicy", "tolerance", "policies"}
        assert (behavior[way]["tolerance"], behavior[way]["stabilizationWindowSeconds"]) == ("0", 0)
    assert behavior["scaleUp"]["policies"][0]["value"] >= scaled["maxReplicaCount"]
    assert scaled["fallback"]["replicas"] >= 1
    assert scaled["initialCooldownPeriod"] >= scaled["cooldownPeriod"] >= 300, "an outage below it is safe"
    # What KEDA makes of it is an HPA that the API server takes.
    hpa = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "keda-hpa-x"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", **scaled["scaleTargetRef"]},
            "minReplicas": max(1, scaled["minReplicaCount"]),
            "maxReplicas": scaled["maxReplicaCount"],
            "behavior": behavior,
        },
    }
    validate(hpa, "1.33", strict=True)


@pytest.mark.parametrize("path", SERVERS, ids=lambda path: str(path.name))
@pytest.mark.parametrize("version", ["1.25", "1.37"])
def test_workload_and_service_are_valid_and_belong_together(path: Path, version: str) -> None:
    deployment, service = of_kind(path, "Deployment"), of_kind(path, "Service")
    for one in (deployment, service):
        validate(one, version, strict=True)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    target = of_kind(path, "ScaledObject")["spec"]["scaleTargetRef"]
    assert target == {"name": deployment["metadata"]["name"]}
