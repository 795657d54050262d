"""Checks of pods and of what the cluster has, each with the numbers that trip it and those that do not."""

from __future__ import annotations

import pytest

from autoscaler.doctor.look import Facts, Measured, look_at
from autoscaler.doctor.report import examine
from autoscaler.kube.meaning.findings import Finding, Severity
from autoscaler.kube.meaning.resolve import resolve
from tests.kube_meaning.recorded import Recording

TEMPLATE = "spec.template.spec"
CONTAINER = f"{TEMPLATE}.containers.0"


def external() -> Recording:
    return Recording("isvc-external")


def findings(recorded: Recording, facts: Facts = Facts()) -> dict[str, Finding]:  # noqa: B008
    found = examine(look_at(recorded.cluster(), facts=facts)).findings
    return {one.check: one for one in found}


def test_a_missing_readiness_probe_and_one_by_port_are_found() -> None:
    missing = external().put("Deployment", "m-predictor", f"{CONTAINER}.readinessProbe", None)
    assert findings(missing)["readiness-missing"].evidence == ("container kserve-container: no readinessProbe",)
    by_port = external().put("Deployment", "m-predictor", f"{CONTAINER}.readinessProbe", {"tcpSocket": {"port": 8000}})
    assert "port: 8000" in findings(by_port)["readiness-by-port"].fix


@pytest.mark.parametrize(("grace_s", "found"), [(30, False), (29, True), (None, False)])
def test_the_grace_period_covers_500_tokens_at_the_objective(grace_s: int | None, found: bool) -> None:
    # 500 tokens at 60 ms are 30 s, Kubernetes' default.
    recorded = external().put("Deployment", "m-predictor", f"{TEMPLATE}.terminationGracePeriodSeconds", grace_s)
    assert ("grace-too-short" in findings(recorded)) is found


def test_a_pre_stop_sleep_is_taken_off_the_grace_period() -> None:
    # KServe's LLM workloads: 60 s with preStop sleep 15 leave 45 s.
    recorded = Recording("llm-own")
    assert "grace-too-short" not in findings(recorded)
    recorded.put("Deployment", "lm-kserve", f"{TEMPLATE}.terminationGracePeriodSeconds", 44)
    assert "of which preStop takes 15" in findings(recorded)["grace-too-short"].evidence[0]


def test_a_measured_p99_of_generation_decides_the_grace_period() -> None:
    recorded = external()
    target = resolve(recorded.cluster(), "default", "m").target
    assert "grace-too-short" not in findings(recorded, Facts(measured={target: Measured(generation_p99_s=120.0)}))
    found = findings(recorded, Facts(measured={target: Measured(generation_p99_s=121.0)}))["grace-too-short"]
    assert found.evidence[1] == "121 s needed: p99 of generation, measured"


def test_prometheus_sent_to_knatives_port_is_told_with_the_port_that_is_read() -> None:
    found = findings(Recording("isvc-runtime"))["prometheus-port-9091"]
    assert found.severity is Severity.NOTE
    assert "reads port 8080" in found.cause


QUEUES = """
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: serving, namespace: default}
spec: {clusterQueue: gpus}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: gpus}
spec:
  resourceGroups:
    - flavors:
        - {name: h100, resources: [{name: nvidia.com/gpu, nominalQuota: "12", borrowingLimit: "5"}]}
        - {name: a100, resources: [{name: nvidia.com/gpu, nominalQuota: "8"}]}
"""


def queued() -> Recording:
    label = "metadata.labels.kueue..x-k8s..io/queue-name"
    return external().add(QUEUES).put("Deployment", "m-predictor", label, "serving")


def test_kueue_that_is_not_told_of_the_workload_is_found() -> None:
    found = findings(external().add(QUEUES))
    assert "{kueue.x-k8s.io/queue-name: serving}" in found["kueue-no-queue"].fix
    assert "kueue-no-queue" not in findings(queued())


def test_more_than_every_flavor_admits_is_found_and_the_fix_is_what_fits() -> None:
    # 9 replicas x 2 GPUs = 18; h100 gives 12 + 5.
    found = findings(queued())["kueue-over-quota"]
    assert found.evidence == (
        "9 replicas x 2 nvidia.com/gpu = 18",
        "flavor h100: 17 with borrowing",
        "flavor a100: 8 with borrowing",
    )
    assert "maxReplicaCount: 8" in found.fix
    assert "kueue-over-quota" not in findings(queued().put("ScaledObject", "m", "spec.maxReplicaCount", 8))


def node(name: str, gpus: int, extra: str = "") -> str:
    return f"""
apiVersion: v1
kind: Node
metadata: {{name: {name}, labels: {{nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}}, annotations: {{{extra}}}}}
status: {{allocatable: {{nvidia.com/gpu: "{gpus}"}}}}
"""


@pytest.mark.parametrize(("gpus", "found"), [(1, True), (2, False)])
def test_a_pod_that_fits_no_node_is_found(gpus: int, found: bool) -> None:
    assert ("gpus-over-node" in findings(external().add(node("gpu-1", gpus)))) is found


def test_a_quota_and_node_pool_limits_bound_the_maximum() -> None:
    quota = """
apiVersion: v1
kind: ResourceQuota
metadata: {name: team, namespace: default}
spec: {hard: {requests.nvidia.com/gpu: "16"}}
"""
    found = findings(external().add(quota))["gpus-over-limit"]
    assert found.evidence[1] == "ResourceQuota team: 16"
    assert "maxReplicaCount: 8" in found.fix
    assert "gpus-over-limit" not in findings(external().add(quota.replace('"16"', '"18"')))
    pool = """
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: gpu}
spec: {limits: {nvidia.com/gpu: "10"}}
"""
    assert findings(external().add(pool))["gpus-over-limit"].evidence[1] == "NodePool limits of gpu: 10"


def test_a_gpu_node_told_to_stay_makes_zero_replicas_free_no_money() -> None:
    kept = node("gpu-1", 8, 'karpenter.sh/do-not-disrupt: "true"')
    found = findings(external().add(kept))["nodes-kept"]
    assert found.fix == "kubectl annotate node gpu-1 karpenter.sh/do-not-disrupt-"
    assert "nodes-kept" not in findings(external().add(kept).put("ScaledObject", "m", "spec.minReplicaCount", 1))


def test_a_pod_beside_the_replicas_that_may_not_move_keeps_the_node() -> None:
    pod = """
apiVersion: v1
kind: Pod
metadata: {name: cache, namespace: default, labels: {app: cache}}
spec: {nodeName: gpu-1}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: cache, namespace: default}
spec: {maxUnavailable: 0, selector: {matchLabels: {app: cache}}}
"""
    found = findings(external().add(node("gpu-1", 8)).add(pod))["nodes-kept"]
    assert found.evidence == ("on node gpu-1", "PodDisruptionBudget cache allows no disruption")
    movable = pod.replace("maxUnavailable: 0", "maxUnavailable: 1")
    assert "nodes-kept" not in findings(external().add(node("gpu-1", 8)).add(movable))


def test_a_gpu_without_a_price_is_noted_until_one_is_set() -> None:
    recorded = external().add(node("gpu-1", 8))
    assert findings(recorded)["no-price"].evidence[0] == "nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3"
    recorded.put("ScaledObject", "m", "metadata.annotations", {"llm-autoscaler.io/gpuPricePerHour": "3.9"})
    assert "no-price" not in findings(recorded)


@pytest.mark.parametrize(("skew_s", "found"), [(None, False), (2.0, False), (-2.1, True), (300.0, True)])
def test_clocks_may_differ_by_two_seconds(skew_s: float | None, found: bool) -> None:
    assert ("clock-skew" in findings(external(), Facts(clock_skew_s=skew_s))) is found


def test_a_model_that_is_not_cached_everywhere_makes_a_wake_up_a_download() -> None:
    cache = """
apiVersion: serving.kserve.io/v1alpha1
kind: LocalModelCache
metadata: {name: llama}
status:
  copies: {available: 1, total: 3}
  nodeStatus: {gpu-1: NodeDownloaded, gpu-2: NodeDownloading, gpu-3: NodeDownloadError}
"""
    label = "metadata.labels.internal..serving..kserve..io/localmodel"
    recorded = external().add(cache).put("InferenceService", "m", label, "llama")
    found = findings(recorded)["cache-missing"]
    assert found.evidence == (
        "LocalModelCache llama: 1 of 3 copies",
        "node gpu-2: NodeDownloading",
        "node gpu-3: NodeDownloadError",
    )
    assert "cache-missing" not in findings(recorded.put("LocalModelCache", "llama", "status.copies.available", 3))
