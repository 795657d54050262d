"""GPUs one replica holds, whole devices, shares of one, and claims."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.kube.meaning.gpus import gpus_of, mig_share, pod_gpus
from autoscaler.kube.meaning.objects import DEPLOYMENT, LEADER_WORKER_SET, ObjectSet
from autoscaler.kube.meaning.workload import Unit, Workload


def holding(name: str, count: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "resources": {"limits": {name: count}}}]}}


EMPTY = ObjectSet([])


@pytest.mark.parametrize("name", ["nvidia.com/gpu", "amd.com/gpu", "habana.ai/gaudi", "google.com/tpu"])
def test_whole_devices_count_as_they_are_asked_for(name: str) -> None:
    found = pod_gpus(EMPTY, "n", holding(name, "4"))
    assert (found.count, found.whole, found.resources) == (4.0, 4, ((name, 4.0),))


# Cost shares: max(compute / 7, memory / 8), by NVIDIA's tables of profiles.
@pytest.mark.parametrize(
    ("profile", "share"),
    [
        ("1g.10gb", 1 / 7),
        ("1g.20gb", 1 / 4),
        ("2g.20gb", 2 / 7),
        ("3g.40gb", 1 / 2),
        ("4g.40gb", 4 / 7),
        ("7g.80gb", 1.0),
        ("1g.5gb", 1 / 7),
        ("1g.35gb", 1 / 4),
        ("3g.71gb", 1 / 2),
        ("1g.10gb.me", 1 / 7),
    ],
)
def test_a_mig_device_is_the_share_of_a_gpu_that_it_takes(profile: str, share: float) -> None:
    assert mig_share(f"nvidia.com/mig-{profile}") == pytest.approx(share)
    assert pod_gpus(EMPTY, "n", holding(f"nvidia.com/mig-{profile}", "2")).count == pytest.approx(2 * share)


@given(st.text(max_size=40))
def test_no_name_makes_a_share_that_is_not_between_0_and_1(name: str) -> None:
    share = mig_share(name)
    assert share is None or 0.0 < share <= 1.0


def test_a_profile_that_is_not_known_is_unknown_and_not_zero() -> None:
    found = pod_gpus(EMPTY, "n", holding("nvidia.com/mig-all", "1"))
    assert found.count is None
    assert "no MIG profile" in found.unknown
    assert found.whole == 1


def test_containers_of_a_pod_add_up_and_cpu_is_no_gpu() -> None:
    pod = holding("nvidia.com/gpu", "2")
    pod["spec"]["containers"].append({"name": "d", "resources": {"limits": {"nvidia.com/gpu": "1", "cpu": "8"}}})
    assert pod_gpus(EMPTY, "n", pod).count == 3.0


def test_a_shared_gpu_counts_whole_and_says_so() -> None:
    found = pod_gpus(EMPTY, "n", holding("nvidia.com/gpu.shared", "1"))
    assert found.count == 1.0
    assert "no guaranteed share" in found.unknown


def claiming(request: dict[str, Any], version: str = "v1") -> ObjectSet:
    spec = {"spec": {"devices": {"requests": [{"name": "gpu", **request}]}}}
    name = {"name": "t", "namespace": "n"}
    return ObjectSet(
        [{"apiVersion": f"resource.k8s.io/{version}", "kind": "ResourceClaimTemplate", "metadata": name, "spec": spec}]
    )


CLAIM = {"spec": {"containers": [{"name": "c"}], "resourceClaims": [{"name": "g", "resourceClaimTemplateName": "t"}]}}


def test_claims_of_a_template_count_its_devices_in_every_version_of_the_api() -> None:
    exactly = {"deviceClassName": "gpu.nvidia.com", "count": 4}
    assert pod_gpus(claiming({"exactly": exactly}), "n", CLAIM).count == 4.0
    assert pod_gpus(claiming(exactly, "v1beta1"), "n", CLAIM).count == 4.0
    assert (
        pod_gpus(claiming({"firstAvailable": [exactly, {"deviceClassName": "mig.nvidia.com"}]}), "n", CLAIM).count
        == 4.0
    )


def test_a_claimed_mig_device_is_told_by_its_selector() -> None:
    cel = {"cel": {"expression": "device.attributes['gpu.nvidia.com'].profile == '3g.40gb'"}}
    request = {"exactly": {"deviceClassName": "mig.nvidia.com", "selectors": [cel]}}
    assert pod_gpus(claiming(request), "n", CLAIM).count == 0.5


@pytest.mark.parametrize(
    "request_of",
    [
        {"exactly": {"deviceClassName": "gpu.nvidia.com", "allocationMode": "All"}},
        {"exactly": {"deviceClassName": "mig.nvidia.com"}},
        {"exactly": {"deviceClassName": "nic.example.com"}},
    ],
)
def test_claims_that_do_not_tell_are_unknown_and_not_zero(request_of: dict[str, Any]) -> None:
    assert pod_gpus(claiming(request_of), "n", CLAIM).count is None
    assert pod_gpus(EMPTY, "n", CLAIM).count is None


def test_a_claim_by_name_may_be_shared_between_replicas_so_it_is_unknown() -> None:
    pod = {"spec": {"containers": [], "resourceClaims": [{"name": "g", "resourceClaimName": "one"}]}}
    assert pod_gpus(EMPTY, "n", pod).count is None


def test_a_group_holds_its_leaders_gpus_and_those_of_all_its_workers() -> None:
    leader, worker = holding("nvidia.com/gpu", "1"), holding("nvidia.com/gpu", "8")
    group = Workload(LEADER_WORKER_SET, "n", "w", True, None, None, None, Unit.GROUP, 4, leader, worker)
    assert gpus_of(EMPTY, group).count == 25.0


def test_a_workload_that_cannot_be_read_has_unknown_gpus() -> None:
    assert gpus_of(EMPTY, Workload(DEPLOYMENT, "n", "w", None)).count is None
