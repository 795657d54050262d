"""What the planner decides on what Kubernetes told: first sight, stop and resume, and pods that cannot be read."""

from __future__ import annotations

from datetime import datetime

from autoscaler.core import Planner
from autoscaler.core.records import Decision, Mode, Observation, Sample
from autoscaler.kube.meaning.objects import POD, Objects, Reading
from autoscaler.kube.meaning.replicas import PodReplica
from autoscaler.kube.meaning.resolve import resolve
from autoscaler.kube.meaning.spec import service_spec
from autoscaler.kube.meaning.watch import TargetWatch, observed
from tests.kube_meaning.recorded import Recording

START_S = datetime.fromisoformat("2026-11-23T12:00:00Z").timestamp()
READY = "m-predictor-6d9f-aaaaa"


def both_ready() -> Recording:
    """The recorded cluster with two serving pods."""
    recorded = Recording("isvc-external")
    other = "m-predictor-6d9f-bbbbb"
    recorded.put("Pod", other, "status", dict(recorded.one("Pod", READY)["status"]) | {"podIP": "10.0.0.12"})
    return recorded


class Live:
    """One service looked at and decided on, tick by tick; its pages say that nothing runs."""

    def __init__(self) -> None:
        self.planner = Planner()
        self.watch = TargetWatch()
        self.now = START_S

    def tick(self, objects: Objects) -> Decision:
        target = resolve(objects, "default", "m")
        role = observed(target, self.watch.look(objects, target), self.idle)
        self.now += 5.0
        return self.planner.observe(Observation(service_spec([target]), (role,)), self.now)

    def idle(self, replica: PodReplica) -> tuple[Sample | None, str | None]:
        if replica.ready_at_s is None and replica.trouble:
            return None, "connection refused"
        zero = dict.fromkeys(("waiting", "running", "arrivals_counter", "arrivals_pending", "prompt_tokens"), 0.0)
        return Sample(self.now, "vllm", generation_tokens=0.0, **zero), None


def asked(decision: Decision) -> int:
    return decision.roles[0].replicas


def test_a_serving_deployment_seen_for_the_first_time_is_held_and_goes_to_zero_only_after_its_keep_warm_time() -> None:
    live, objects = Live(), both_ready().cluster()
    first = live.tick(objects)
    assert (first.active, asked(first)) == (True, 2)
    held = [live.tick(objects) for _ in range(20)]  # 100 s of idling, of the 120 s that a start is taken to last
    assert all(one.active and asked(one) == 2 for one in held)
    later = [live.tick(objects) for _ in range(20)]
    assert not later[-1].active


def test_a_stopped_service_is_asked_nothing_without_an_error_and_is_planned_again_when_it_is_back() -> None:
    live, objects = Live(), both_ready().cluster()
    live.tick(objects)
    stopped = both_ready().drop("Deployment").drop("Pod").cluster()
    decision = live.tick(stopped)
    assert decision.mode is Mode.HOLD
    assert [reason.code for reason in decision.reasons] == ["stopped"]
    assert not decision.active
    back = both_ready().drop("Pod", "m-predictor-6d9f-bbbbb")
    back.put("Deployment", "m-predictor", "spec.replicas", 1).put("Deployment", "m-predictor", "status.replicas", 1)
    decision = live.tick(back.cluster())
    assert decision.mode is Mode.NORMAL
    assert asked(decision) == 1


def test_pods_that_cannot_be_read_hold_what_the_scale_says() -> None:
    live, recorded = Live(), both_ready()
    live.tick(recorded.cluster())
    recorded.put("Deployment", "m-predictor", "spec.replicas", 7)
    decision = live.tick(recorded.cluster({POD: Reading.STALE}))
    assert decision.mode is Mode.HOLD
    assert (decision.active, asked(decision)) == (True, 7)


def test_nothing_read_ever_is_unknown_and_not_zero() -> None:
    decision = Live().tick(both_ready().cluster({POD: Reading.FORBIDDEN}))
    assert decision.mode is Mode.UNKNOWN
    assert decision.active
