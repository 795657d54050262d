"""Every write of spec.replicas there is, watched on the API server: when, to what, and above all when not."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog.testing
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.records import Mode
from autoscaler.kube.apply import FIELD_MANAGER, Scale
from autoscaler.kube.client import KubeClient
from autoscaler.kube.meaning.objects import SCALED_OBJECT, Reading
from autoscaler.kube.meaning.resolve import survey
from autoscaler.kube.meaning.scaledobject import Bounds
from autoscaler.kube.resources import DEPLOYMENTS, SCALED_OBJECTS
from autoscaler.kube.writing.fast_path import BURST, Aim, FastPath, Occasion, aim_of, occasion
from autoscaler.kube.writing.turns import OFF_S
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.writing.world import (
    TARGET,
    Json,
    Owner,
    Settable,
    behavior,
    decided,
    deployment,
    put,
    quiet,
    resolved,
    running,
    scaled_object,
    scales,
)
from tests.kube_meaning.recorded import Recording


class World:
    """A fast path beside a Deployment and its ScaledObject; `decide` is what the loop does."""

    def __init__(self, api: FakeKubeApi, path: FastPath, clock: Settable, raw: Json) -> None:
        self.api = api
        self.path = path
        self.clock = clock
        self.raw = raw

    @property
    def there(self) -> int:
        replicas: int = self.api.get(DEPLOYMENTS, "n", "d")["spec"]["replicas"]
        return replicas

    def set(self, replicas: int, status: int | None = None) -> None:
        put(self.api, deployment(replicas, status))

    async def decide(self, replicas: int, *, present: int | None = None, **how: Any) -> None:
        objects, target = resolved(self.api.get(DEPLOYMENTS, "n", "d"), self.raw)
        seen = self.there if present is None else present
        self.path.offer(decided(replicas, **how), aim_of(objects, target), TARGET, seen)
        await quiet(self.path.turns)


@asynccontextmanager
async def world(replicas: int, owner: Owner | None = None, **spec: Any) -> AsyncIterator[World]:
    raw = scaled_object(**spec)
    async with FakeKubeApi(SCALED_OBJECTS) as api, KubeClient(api.connection()) as client:
        put(api, deployment(replicas), raw)
        clock = Settable()
        path = FastPath(client, owner or Owner(), clock)
        async with running(path):
            yield World(api, path, clock, raw)


async def test_at_the_activation_edge_n_is_written_at_once_where_the_hpa_would_take_12_s() -> None:
    async with world(0) as here:
        await here.decide(0, active=False)
        await here.decide(12)
        assert scales(here.api) == [12]
        (write,) = here.api.writes
        assert (write.asked.subresource, write.asked.query["fieldManager"]) == ("scale", FIELD_MANAGER)
        assert here.path.written[Occasion.EDGE] == 1


async def test_asked_13_at_12_where_the_hpa_stays_at_12_for_good_13_is_written() -> None:
    async with world(12) as here:
        await here.decide(13)
        assert scales(here.api) == [13]
        assert here.path.written[Occasion.DEAD_BAND] == 1


async def test_13_to_12_is_left_alone_because_the_hpa_writes_13_back_at_its_next_sync() -> None:
    async with world(13) as here:
        await here.decide(12)
        assert scales(here.api) == []


async def test_downwards_only_where_the_hpa_steps_down_at_once_by_one_trigger() -> None:
    at_once = behavior(scaleDown={"stabilizationWindowSeconds": 0})
    async with world(13, **at_once) as here:
        await here.decide(12)
        assert scales(here.api) == [12]
    ours = scaled_object()["spec"]["triggers"][0]
    for other in (
        behavior(scaleDown={"stabilizationWindowSeconds": 300}),
        behavior(scaleDown={"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled"}),
        behavior(scaleDown={"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1}]}),
        at_once | {"triggers": [ours, {"type": "cpu", "metadata": {"value": "60"}}]},
        at_once | {"triggers": [ours | {"useCachedMetrics": True}]},
    ):
        async with world(13, **other) as here:
            await here.decide(12)
            assert scales(here.api) == [], other


async def test_outside_the_dead_band_within_one_step_the_hpa_is_left_to_do_it() -> None:
    async with world(12) as here:
        for asked in (14, 20, 24):  # 16.7 % and more; up to double, the HPA takes it in one sync
            await here.decide(asked)
        assert scales(here.api) == []


async def test_1_to_12_is_written_where_the_default_ramp_takes_the_hpa_46_s() -> None:
    async with world(1) as here:
        await here.decide(12)
        assert scales(here.api) == [12]
        assert here.path.written[Occasion.RAMP] == 1
    async with world(1) as here:
        await here.decide(5)  # 4 pods are one step
        assert scales(here.api) == []


def test_a_tolerance_of_zero_that_the_api_server_dropped_leaves_the_dead_band_there() -> None:
    exact = {"stabilizationWindowSeconds": 0, "tolerance": "0"}
    raw = scaled_object(**behavior(scaleUp=exact, scaleDown=exact))
    twelve = Scale(12, 12, "", "")
    for kept, found in ((True, None), (False, Occasion.DEAD_BAND)):
        said = exact if kept else {"stabilizationWindowSeconds": 0}
        hpa = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "keda-hpa-s", "namespace": "n", "labels": {"scaledobject.keda.sh/name": "s"}},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}
            | {"behavior": {"scaleUp": said, "scaleDown": said}},
        }
        objects, target = resolved(deployment(12), raw, hpa)
        aim = aim_of(objects, target)
        assert aim is not None
        assert occasion(aim, twelve, 13, edge=False) is found
        assert occasion(aim, twelve, 11, edge=False) is found  # its behavior is ours: downwards too


@pytest.mark.parametrize(
    ("name", "downwards"),
    [
        ("isvc-external", True),
        ("isvc-external", False),
        ("llm-own", False),
        ("llm-scaling", False),
        ("isvc-keda", False),
    ],
)
def test_on_every_path_of_kserve_13_is_written_at_12_and_less_only_where_the_behavior_is_ours(
    name: str, downwards: bool
) -> None:
    recording = Recording(name)
    if downwards:
        at_once = {"scaleDown": {"stabilizationWindowSeconds": 0}}
        recording.put("ScaledObject", "m", "spec.advanced.horizontalPodAutoscalerConfig.behavior", at_once)
    elif name == "isvc-external":
        recording.put("ScaledObject", "m", "spec.advanced", None)
    objects = recording.cluster()
    aims = [aim_of(objects, one.target) for one in survey(objects) if one.target is not None]
    assert aims
    for aim in aims:
        assert aim is not None
        assert occasion(aim, Scale(12, 12, "", ""), 13, edge=False) is Occasion.DEAD_BAND
        assert (occasion(aim, Scale(12, 12, "", ""), 11, edge=False) is not None) == downwards


async def test_steps_that_somebody_set_are_kept() -> None:
    slow = behavior(scaleUp={"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]})
    async with world(0, **slow) as here:
        await here.decide(12)
        assert scales(here.api) == []
        await here.decide(3)
        assert scales(here.api) == [3]
    for late in ({"stabilizationWindowSeconds": 60}, {"selectPolicy": "Disabled"}):
        async with world(12, **behavior(scaleUp=late)) as here:
            await here.decide(13)
            assert scales(here.api) == [], late


@pytest.mark.parametrize("mode", [Mode.HOLD, Mode.UNKNOWN, Mode.SHADOW])
async def test_what_is_no_normal_decision_is_never_written(mode: Mode) -> None:
    async with world(12) as here:
        await here.decide(13, mode=mode)
        await here.decide(0, active=False)
        assert here.api.writes == []
        assert here.api.requests == []


async def test_zero_and_waking_from_a_zero_whose_edge_was_not_seen_are_kedas() -> None:
    aim = Aim(TARGET, DEPLOYMENTS, "d", Bounds(), downwards=True)
    assert occasion(aim, Scale(0, 0, "", ""), 1, edge=False) is None
    async with world(1, **behavior(scaleDown={"stabilizationWindowSeconds": 0, "tolerance": "2"})) as here:
        await here.decide(0, active=False)
        await here.decide(0)  # active: KEDA is told 1
        assert scales(here.api) == []


async def test_bounds_of_keda_hold() -> None:
    async with world(12, maxReplicaCount=12) as here:
        await here.decide(13)
        assert scales(here.api) == []
    async with world(0, maxReplicaCount=5) as here:
        await here.decide(50)
        assert scales(here.api) == [5]
    async with world(0, minReplicaCount=4, idleReplicaCount=0) as here:
        await here.decide(2)
        assert scales(here.api) == [4]


async def test_whatever_stops_keda_or_makes_its_hpa_count_otherwise_stops_us() -> None:
    ours = scaled_object()["spec"]["triggers"][0]
    formula = {"scalingModifiers": {"formula": "a + b", "target": "1"}}
    for spec in (
        {"annotations": {"autoscaling.keda.sh/paused-replicas": "12"}},
        {"annotations": {"autoscaling.keda.sh/paused": "true"}},
        {"annotations": {"llm-autoscaler.io/mode": "shadow"}},
        {"advanced": formula},
        {"triggers": [ours | {"metricType": "Value"}]},
    ):
        async with world(12, **spec) as here:
            await here.decide(13)
            assert here.api.writes == [], spec
    stale, target = resolved(deployment(12), scaled_object(), readings={SCALED_OBJECT: Reading.STALE})
    assert aim_of(stale, target) is None  # a pause may have come since
    hpa = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "second", "namespace": "n"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
    }
    fighting, target = resolved(deployment(12), scaled_object(), hpa)
    assert [one.check for one in target.findings]
    assert aim_of(fighting, target) is None


async def test_while_pods_are_fewer_than_asked_for_the_hpas_ratio_is_another_and_nothing_is_written() -> None:
    async with world(12) as here:
        here.set(12, status=9)
        await here.decide(13)
        assert scales(here.api) == []


async def test_against_somebody_who_writes_back_it_is_three_writes_then_one_per_sync_of_the_hpa() -> None:
    async with world(12) as here:
        for _ in range(10):
            here.set(12)
            await here.decide(13)
        assert scales(here.api) == [13] * BURST
        assert here.path.limited == 10 - BURST
        here.clock.ahead_s += 15.5
        await here.decide(13)
        assert scales(here.api) == [13] * (BURST + 1)


async def test_a_missing_rule_turns_it_off_for_5_minutes_and_is_said_once_with_the_rule() -> None:
    async with world(12) as here:
        denial = here.api.forbid("patch", DEPLOYMENTS, subresource="scale")
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                await here.decide(13)
        (said,) = logs
        assert 'resources: ["deployments/scale"], verbs: ["patch"]' in said["reason"]
        assert here.api.count("patch", DEPLOYMENTS) == 1
        here.api.permit(denial)
        here.clock.ahead_s += OFF_S + 1
        await here.decide(13)
        assert here.there == 13
        assert here.path.turns.problem is None


@pytest.mark.parametrize("seed", range(3))
async def test_of_every_write_in_a_long_life_each_is_the_n_that_keda_is_told_upwards_and_within_its_bounds(
    seed: int,
) -> None:
    rng = random.Random(seed)
    owner = Owner()
    async with world(0, owner, minReplicaCount=2, idleReplicaCount=0, maxReplicaCount=20) as here:
        for _ in range(150):
            mode = rng.choice([Mode.NORMAL] * 5 + [Mode.HOLD, Mode.UNKNOWN, Mode.SHADOW])
            asked, active = rng.choice([rng.randint(0, 25), here.there + 1]), rng.random() < 0.9
            owner.owns = rng.random() < 0.9
            paused = rng.random() < 0.1
            here.raw["metadata"]["annotations"] = {"autoscaling.keda.sh/paused": "true"} if paused else {}
            before, writes = here.there, len(here.api.writes)
            await here.decide(asked, active=active, mode=mode)
            if new := scales(here.api)[writes:]:
                assert new == [min(max(2, asked), 20)]
                assert new[0] > before
                assert (mode, active, owner.owns, paused) == (Mode.NORMAL, True, True, False)
            if rng.random() < 0.5:  # what KEDA, the HPA, or a person makes of it
                here.set(rng.choice([0, 1, asked, rng.randint(0, 20)]))
            here.clock.ahead_s += rng.choice([1.0, 5.0, 60.0])
        assert len(scales(here.api)) == len(here.api.writes) > 5  # nothing but scales, and some


@given(
    present=st.integers(0, 200),
    goal=st.integers(1, 200),
    current=st.integers(0, 200),
    tolerance=st.floats(0, 1),
    edge=st.booleans(),
)
def test_without_a_behavior_of_ours_no_count_ever_goes_down(
    present: int, goal: int, current: int, tolerance: float, edge: bool
) -> None:
    aim = Aim(TARGET, DEPLOYMENTS, "d", Bounds(), tolerance, tolerance)
    if occasion(aim, Scale(present, current, "", ""), goal, edge=edge) is not None:
        assert goal > present
