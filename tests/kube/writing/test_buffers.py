"""Buffers of nodes: what is predicted beyond what is there, one for each target, gone with its ScaledObject."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import structlog.testing

from autoscaler.core.records import Estimates, Mode
from autoscaler.kube.client import KubeClient
from autoscaler.kube.resources import CAPACITY_BUFFERS
from autoscaler.kube.writing.buffers import FALL_AFTER_S, Buffers, predicted
from autoscaler.kube.writing.turns import OFF_S
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.writing.world import Json, Owner, Settable, decided, deployment, quiet, resolved, running, scaled_object


class World:
    def __init__(self, api: FakeKubeApi, buffers: Buffers, clock: Settable) -> None:
        self.api = api
        self.buffers = buffers
        self.clock = clock

    def there(self) -> Json:
        return self.api.get(CAPACITY_BUFFERS, "n", "s-predicted")

    @property
    def replicas(self) -> int:
        count: int = self.there()["spec"]["replicas"]
        return count

    async def decide(
        self, replicas: int, forecast: float | None, present: int | None, spec: Json | None = None, **how: Any
    ) -> None:
        objects, target = resolved(deployment(present or 0), scaled_object(**(spec or {})))
        decision = replace(decided(replicas, **how), estimates=(Estimates("", forecast_replicas=forecast),))
        self.buffers.offer(decision, target, objects, present)
        await quiet(self.buffers.turns)


@asynccontextmanager
async def world(*, owner: Owner | None = None, installed: bool = True) -> AsyncIterator[World]:
    async with FakeKubeApi(*([CAPACITY_BUFFERS] if installed else [])) as api, KubeClient(api.connection()) as client:
        clock = Settable()
        buffers = Buffers(client, owner or Owner(), clock)
        async with running(buffers):
            yield World(api, buffers, clock)


async def test_of_8_predicted_where_5_are_there_nodes_for_3_are_held_and_go_with_the_scaled_object() -> None:
    async with world() as here:
        await here.decide(5, 7.2, 5)
        found = here.there()
        assert found["spec"] == {
            "provisioningStrategy": "buffer.x-k8s.io/active-capacity",
            "scalableRef": {"apiGroup": "apps", "kind": "Deployment", "name": "d"},
            "replicas": 3,
        }
        owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "s", "uid": "u-s"}
        assert found["metadata"]["ownerReferences"] == [owner]
        assert [one.asked.query["fieldManager"] for one in here.api.writes] == ["llm-autoscaler"]


async def test_the_same_again_is_not_written_again() -> None:
    async with world() as here:
        for _ in range(5):
            await here.decide(5, 7.2, 5)
        assert len(here.api.writes) == 1


async def test_it_rises_at_once_and_falls_after_a_minute_of_being_lower() -> None:
    async with world() as here:
        await here.decide(5, 7.0, 5)
        await here.decide(5, 9.0, 5)
        assert here.replicas == 4
        await here.decide(5, 5.0, 5)
        assert here.replicas == 4
        here.clock.ahead_s += FALL_AFTER_S / 2
        await here.decide(5, 9.0, 5)  # as high as before: the minute begins anew
        await here.decide(5, 5.0, 5)
        here.clock.ahead_s += FALL_AFTER_S / 2 + 1
        await here.decide(5, 5.0, 5)
        assert here.replicas == 4
        here.clock.ahead_s += FALL_AFTER_S / 2 + 1
        await here.decide(5, 5.0, 5)
        assert here.replicas == 0


async def test_a_target_that_never_needed_one_gets_none() -> None:
    async with world() as here:
        for _ in range(3):
            await here.decide(5, 4.0, 5)
        assert here.api.writes == []
        assert here.api.count("get", CAPACITY_BUFFERS) == 1


async def test_one_that_a_former_owner_left_is_set_to_zero_when_it_is_not_needed() -> None:
    async with world() as here:
        await here.decide(5, 9.0, 5)
        second = Buffers(here.buffers._client, Owner(), here.clock)
        objects, target = resolved(deployment(5), scaled_object())
        async with running(second):
            second.offer(decided(5), target, objects, 5)
            await quiet(second.turns)
        assert here.replicas == 0


async def test_no_more_than_max_replicas_are_held_nodes_for_and_none_while_paused() -> None:
    async with world() as here:
        await here.decide(5, 50.0, 5, {"maxReplicaCount": 8})
        assert here.replicas == 3
        paused = {"annotations": {"autoscaling.keda.sh/paused": "true"}}
        await here.decide(5, 50.0, 5, paused)
        here.clock.ahead_s += FALL_AFTER_S + 1
        await here.decide(5, 50.0, 5, paused)
        assert here.replicas == 0


async def test_only_normal_decisions_of_the_owner_and_never_where_what_is_there_is_unknown() -> None:
    async with world() as here:
        for mode in (Mode.HOLD, Mode.UNKNOWN, Mode.SHADOW):
            await here.decide(5, 9.0, 5, mode=mode)
        await here.decide(5, 9.0, None)
        assert here.api.requests == []
    for owner in (Owner(owns=False), Owner(limit=1)):
        async with world(owner=owner) as here:
            await here.decide(5, 9.0, 5)
            assert here.api.writes == []


async def test_without_the_crd_it_is_off_said_once_and_tried_again_after_5_minutes() -> None:
    async with world(installed=False) as here:
        with structlog.testing.capture_logs() as logs:
            for _ in range(5):
                await here.decide(5, 9.0, 5)
        assert [one["writer"] for one in logs] == ["capacityBuffer"]
        assert "does not know autoscaling.x-k8s.io/v1beta1/capacitybuffers" in logs[0]["reason"]
        assert len(here.api.requests) == 1
        here.api.installed.add(CAPACITY_BUFFERS)
        here.clock.ahead_s += OFF_S + 1
        await here.decide(5, 9.0, 5)
        assert here.replicas == 4


async def test_a_buffer_of_somebody_else_under_our_name_is_left_alone_and_told_once() -> None:
    async with world() as here:
        theirs = {"metadata": {"name": "s-predicted", "namespace": "n"}, "spec": {"replicas": 1}}
        here.api.put(CAPACITY_BUFFERS, theirs)
        with structlog.testing.capture_logs() as logs:
            for _ in range(5):
                await here.decide(5, 9.0, 5)
        assert here.api.writes == []
        assert here.api.count("get", CAPACITY_BUFFERS) == 1
        (said,) = logs
        assert "n/s-predicted is not labelled app.kubernetes.io/managed-by: llm-autoscaler" in said["reason"]


async def test_a_field_that_somebody_took_over_stays_theirs() -> None:
    async with world() as here:
        await here.decide(5, 7.0, 5)
        document = here.there()
        document["metadata"]["managedFields"] = [
            {"manager": "kubectl", "operation": "Apply", "paths": [["spec", "replicas"]]}
        ]
        here.api.put(CAPACITY_BUFFERS, document | {"spec": document["spec"] | {"replicas": 9}})
        with structlog.testing.capture_logs() as logs:
            await here.decide(5, 8.0, 5)
            await here.decide(5, 8.0, 5)
        assert here.replicas == 9
        assert len(here.api.writes) == 2
        assert "kubectl" in logs[0]["reason"]


def test_predicted_is_the_forecast_in_whole_replicas_and_never_below_what_is_asked_now() -> None:
    decision = replace(decided(5), estimates=(Estimates("", forecast_replicas=4.2),))
    assert predicted(decision, "") == 5
    assert predicted(replace(decision, estimates=(Estimates("", forecast_replicas=7.0),)), "") == 7
    assert predicted(replace(decision, estimates=(Estimates("decode", forecast_replicas=9.0),)), "") == 5
    assert predicted(replace(decision, active=False, estimates=()), "") == 0
