"""Pods and groups to replicas: phases, times, and which starts say something of the lead time."""

from __future__ import annotations

from datetime import datetime

from autoscaler.core.records import ReplicaPhase
from autoscaler.kube.meaning.objects import POD, Reading
from autoscaler.kube.meaning.replicas import FirstReady, PodReplica
from autoscaler.kube.meaning.resolve import look, resolve
from autoscaler.kube.meaning.watch import TargetWatch
from tests.kube_meaning.recorded import Recording


def at(time: str) -> float:
    return datetime.fromisoformat(f"2026-11-23T{time}Z").timestamp()


def replicas(recorded: Recording, name: str = "m") -> tuple[PodReplica, ...]:
    objects = recorded.cluster()
    found = look(objects, resolve(objects, "default", name)).replicas
    assert found is not None
    return found


READY = "m-predictor-6d9f-aaaaa"


def test_a_ready_pod_tells_every_time_of_its_start() -> None:
    one = replicas(Recording("isvc-external"))[0]
    assert one.phase is ReplicaPhase.READY
    assert one.replica_id == "uid-a"
    assert one.created_at_s == at("10:00:00")
    assert one.scheduled_at_s == at("10:00:40")
    assert one.started_at_s == at("10:00:55")
    assert one.ready_at_s == at("10:02:10")
    assert one.metrics_url == "http://10.0.0.11:8000/metrics"
    assert one.node == "gpu-1"


def test_a_pod_without_a_node_is_pending_and_says_what_the_scheduler_said() -> None:
    one = replicas(Recording("isvc-external"))[1]
    assert one.phase is ReplicaPhase.PENDING
    assert one.metrics_url is None
    assert one.trouble.startswith("Unschedulable: 0/3 nodes")
    assert (one.scheduled_at_s, one.ready_at_s) == (None, None)


def test_a_pod_on_a_node_that_is_not_ready_is_starting() -> None:
    recorded = Recording("isvc-external").put("Pod", READY, "status.conditions.1.status", "False")
    assert replicas(recorded)[0].phase is ReplicaPhase.STARTING


def test_a_pod_that_is_being_deleted_drains_though_it_is_still_ready() -> None:
    recorded = Recording("isvc-external").put("Pod", READY, "metadata.deletionTimestamp", "2026-11-23T11:00:00Z")
    one = replicas(recorded)[0]
    assert one.phase is ReplicaPhase.DRAINING
    assert one.terminating_at_s == at("11:00:00")


def test_an_evicted_pod_is_no_replica() -> None:
    recorded = Recording("isvc-external").put("Pod", READY, "status.phase", "Failed")
    assert [one.pod for one in replicas(recorded)] == ["m-predictor-6d9f-bbbbb"]


def test_a_restart_is_a_new_life_that_says_nothing_of_the_lead_time() -> None:
    recorded = Recording("isvc-external").put("Pod", READY, "status.containerStatuses.0.restartCount", 2)
    ended = {"terminated": {"finishedAt": "2026-11-23T12:00:00Z"}}
    recorded.put("Pod", READY, "status.containerStatuses.0.lastState", ended)
    one = next(one for one in replicas(recorded) if one.pod == READY)
    assert one.replica_id == "uid-a#2"
    assert one.created_at_s == at("12:00:00")
    assert one.observed(None).ready_at_s is None
    assert one.observed(None).restarts == 2


def test_a_crash_loop_and_a_failed_image_pull_name_themselves() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    recorded = Recording("isvc-external").put("Pod", READY, "status.containerStatuses.0.state", waiting)
    recorded.put("Pod", READY, "status.conditions.1.status", "False")
    assert replicas(recorded)[0].trouble == "ImagePullBackOff: not found"
    assert replicas(recorded)[0].observed(None).failure == "ImagePullBackOff: not found"


def test_pods_that_cannot_be_read_are_unknown_and_not_none() -> None:
    objects = Recording("isvc-external").cluster({POD: Reading.STALE})
    sight = look(objects, resolve(objects, "default", "m"))
    assert sight.replicas is None
    assert sight.spec_replicas == 2


def test_a_group_is_as_late_as_its_latest_pod() -> None:
    first, second = replicas(Recording("groups"), "big")
    assert first.phase is ReplicaPhase.READY
    assert first.created_at_s == at("10:00:00")
    assert (first.scheduled_at_s, first.started_at_s) == (at("10:03:00"), at("10:03:10"))
    assert first.ready_at_s == at("10:04:00")
    assert second.pod == "big-1"


def test_a_group_whose_worker_is_missing_is_pending_though_its_leader_is_ready() -> None:
    second = replicas(Recording("groups"), "big")[1]
    assert second.phase is ReplicaPhase.PENDING
    assert second.trouble == "1 of 2 pods of the group are there"
    assert second.ready_at_s is None


def test_a_group_whose_worker_is_not_ready_is_not_ready() -> None:
    recorded = Recording("groups").put("Pod", "big-0-1", "status.conditions.1.status", "False")
    assert replicas(recorded, "big")[0].phase is ReplicaPhase.STARTING


def test_what_was_ready_when_first_seen_says_nothing_of_its_start() -> None:
    first = FirstReady()
    settled = first.settle(replicas(Recording("isvc-external")))
    assert settled[0].phase is ReplicaPhase.READY
    assert settled[0].ready_at_s is None


def test_a_readiness_probe_that_fails_for_a_moment_makes_no_lead_time_of_hours() -> None:
    first = FirstReady()
    starting = Recording("isvc-external").put("Pod", READY, "status.conditions.1.status", "False")
    first.settle(replicas(starting))
    assert first.settle(replicas(Recording("isvc-external")))[0].ready_at_s == at("10:02:10")
    failing = first.settle(replicas(starting))[0]
    assert failing.phase is ReplicaPhase.READY
    assert failing.trouble == "it was ready and its readiness probe fails now"
    flapped = Recording("isvc-external").put(
        "Pod", READY, "status.conditions.1.lastTransitionTime", "2026-11-23T15:00:00Z"
    )
    assert first.settle(replicas(flapped))[0].ready_at_s == at("10:02:10")


def test_a_pod_created_and_ready_between_two_looks_counts_in_full() -> None:
    first = FirstReady()
    first.settle([])
    assert first.settle(replicas(Recording("isvc-external")))[0].ready_at_s == at("10:02:10")


def test_what_did_not_change_is_read_once_and_what_changed_anew() -> None:
    watch, recorded = TargetWatch(), Recording("isvc-external")
    objects = recorded.cluster()
    target = resolve(objects, "default", "m")
    first = watch.look(objects, target).replicas
    again = watch.look(objects, target).replicas
    assert first is not None
    assert again is not None
    assert again[1] is first[1]
    relisted = Recording("isvc-external").put("Pod", READY, "status.podIP", "10.9.9.9").cluster()
    changed = watch.look(relisted, target).replicas
    assert changed is not None
    assert changed[0].metrics_url == "http://10.9.9.9:8000/metrics"


def test_a_relist_of_the_same_versions_reads_nothing_anew() -> None:
    pending = "m-predictor-6d9f-bbbbb"
    watch, recorded = TargetWatch(), Recording("isvc-external").put("Pod", pending, "metadata.resourceVersion", "7")
    target = resolve(recorded.cluster(), "default", "m")
    first = watch.look(recorded.cluster(), target).replicas
    copied = Recording("isvc-external").put("Pod", pending, "metadata.resourceVersion", "7")
    again = watch.look(copied.cluster(), target).replicas
    assert first is not None
    assert again is not None
    assert again[1] is first[1]


def test_replicas_that_are_gone_are_forgotten() -> None:
    first = FirstReady()
    first.settle(replicas(Recording("isvc-external")))
    first.settle([])
    assert first.settle(replicas(Recording("isvc-external")))[0].ready_at_s == at("10:02:10")
