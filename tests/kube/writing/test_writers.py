"""All writers behind one sink of decisions."""

from __future__ import annotations

import structlog.testing

from autoscaler.core.records import Observation, RoleObservation, ServiceSpec, TargetId
from autoscaler.kube.client import KubeClient
from autoscaler.kube.events import ObjectRef
from autoscaler.kube.meaning.resolve import Target
from autoscaler.kube.resources import CAPACITY_BUFFERS, DEPLOYMENTS, SCALED_OBJECTS
from autoscaler.kube.writing.buffers import Buffers
from autoscaler.kube.writing.deletion_cost import DeletionCost
from autoscaler.kube.writing.events_of import EventsOf
from autoscaler.kube.writing.fast_path import FastPath
from autoscaler.kube.writing.writers import Writers
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.writing.world import (
    TARGET,
    Owner,
    Settable,
    decided,
    deployment,
    put,
    quiet,
    resolved,
    running,
    scaled_object,
    scales,
)

SEEN = Observation(ServiceSpec(TARGET.service), (RoleObservation("", (), 12, 12),))


class Notes:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def record(
        self, about: ObjectRef, reason: str, note: str, *, action: str = "Scaling", warning: bool = False
    ) -> None:
        assert (about.name, action in ("Scaling", "Writing"), warning) == ("s", True, reason.startswith("Missing"))
        self.told.append((reason, note))


async def test_a_decision_goes_to_every_writer_that_is_on_and_a_missing_rule_to_the_scaled_object() -> None:
    notes, clock, owner = Notes(), Settable(), Owner()
    objects, target = resolved(deployment(12), scaled_object())
    async with FakeKubeApi(SCALED_OBJECTS, CAPACITY_BUFFERS) as api, KubeClient(api.connection()) as client:
        put(api, deployment(12), scaled_object())
        api.forbid("get", CAPACITY_BUFFERS)
        fast_path, buffers = FastPath(client, owner, clock), Buffers(client, owner, clock)
        writers = Writers(
            objects,
            {TARGET: target}.get,
            fast_path=fast_path,
            deletion_cost=DeletionCost(client, owner, clock),
            buffers=buffers,
            events=EventsOf(notes, owner, clock),
        )
        async with running(writers):
            for replicas in (12, 13, 13):
                writers.publish(SEEN, decided(replicas), 0.0)
                await quiet(fast_path.turns)
                await quiet(buffers.turns)
            assert scales(api) == [13]
        assert sorted(reason for reason, _ in notes.told) == ["MissingRule", "ScaledUp"]
        assert any("capacityBuffer is off" in note and "capacitybuffers" in note for _, note in notes.told)


async def test_with_all_off_and_for_targets_that_are_not_known_nothing_is_asked_or_written() -> None:
    objects, target = resolved(deployment(12), scaled_object())
    async with FakeKubeApi(SCALED_OBJECTS) as api, KubeClient(api.connection()) as client:
        put(api, deployment(12), scaled_object())
        fast_path = FastPath(client, Owner(), Settable())
        unknown = Writers(objects, lambda _: None, fast_path=fast_path)
        async with running(unknown):
            unknown.publish(SEEN, decided(13), 0.0)
            Writers(objects, {TARGET: target}.get).publish(SEEN, decided(13), 0.0)
            await quiet(fast_path.turns)
        assert api.requests == []
        assert api.get(DEPLOYMENTS, "n", "d")["spec"]["replicas"] == 12


def test_a_surprise_never_reaches_the_loop_that_scales_and_is_said_once() -> None:
    def broken(_: TargetId) -> Target | None:
        raise KeyError("gone")

    objects, _ = resolved(deployment(12), scaled_object())
    writers = Writers(objects, broken)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            writers.publish(SEEN, decided(13), 0.0)
    assert len(logs) == 1
