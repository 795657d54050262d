"""A role as pods show it: which pages are read, with whose rights, and what they say."""

from __future__ import annotations

from autoscaler.core.records import ReplicaPhase, Sample
from autoscaler.kube.meaning.objects import POD, Reading
from autoscaler.kube.meaning.resolve import resolve
from autoscaler.kube.role import KubeRole
from autoscaler.ports import Endpoint, ScrapeState
from tests.kube_meaning.recorded import Recording


class Samples:
    """Answers for every page the same."""

    def watch(self, owner: str, endpoints: object) -> None:
        pass

    def state(self, replica_id: str) -> ScrapeState:
        assert replica_id.startswith("default/m|")
        return ScrapeState(Sample(5.0, "vllm", running=3.0), None, attempts=1)


def test_pages_of_pods_that_serve_are_read_with_the_operators_entry_for_the_cluster() -> None:
    objects = Recording("isvc-external").cluster()
    role = KubeRole(objects, lambda: resolve(objects, "default", "m"))
    (page,) = role.endpoints() or ()
    assert isinstance(page, Endpoint)
    assert (page.access, page.group) == ("kubernetes", "default/m")
    assert page.url.endswith(":8000/metrics")
    seen = role.observe(Samples(), 6.0)
    assert seen.replicas is not None
    assert {one.phase: one.sample is not None for one in seen.replicas} == {
        ReplicaPhase.READY: True,
        ReplicaPhase.PENDING: False,
    }


def test_pods_that_cannot_be_read_are_not_none_at_all() -> None:
    objects = Recording("isvc-external").cluster({POD: Reading.STALE})
    role = KubeRole(objects, lambda: resolve(objects, "default", "m"))
    assert role.endpoints() is None
    seen = role.observe(Samples(), 6.0)
    assert seen.replicas is None
    assert seen.spec_replicas == 2
