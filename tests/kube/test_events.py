"""Events are counted, bounded, and never in anybody's way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog.testing

from autoscaler.clock import LoopClock
from autoscaler.kube.client import KubeClient
from autoscaler.kube.events import BURST, EventRecorder, ObjectRef
from autoscaler.kube.resources import EVENTS
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.cluster import until

ABOUT = ObjectRef("keda.sh/v1alpha1", "ScaledObject", "n", "s", "u-1")


class Settable(LoopClock):
    """The loop's clock, and steps on demand."""

    ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s


@asynccontextmanager
async def recording(api: FakeKubeApi) -> AsyncIterator[tuple[EventRecorder, Settable]]:
    clock = Settable()
    async with KubeClient(api.connection()) as client:
        recorder = EventRecorder(client, clock, instance="pod-0", rng=random.Random(1))
        task = asyncio.create_task(recorder.run())
        yield recorder, clock
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])


async def test_an_event_says_what_happened_to_which_object_and_who_says_so() -> None:
    async with FakeKubeApi() as api, recording(api) as (recorder, _):
        recorder.record(ABOUT, "TooFewReplicas", "asked 5, reachable 3", warning=True)
        await until(lambda: api.writes)
        (event,) = api.store.of(EVENTS).values()
    assert event["metadata"]["namespace"] == "n"
    assert event["regarding"] == {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "namespace": "n",
        "name": "s",
        "uid": "u-1",
    }
    said = {name: event[name] for name in ("type", "reason", "note", "reportingController", "reportingInstance")}
    assert said == {
        "type": "Warning",
        "reason": "TooFewReplicas",
        "note": "asked 5, reachable 3",
        "reportingController": "llm-autoscaler",
        "reportingInstance": "pod-0",
    }


async def test_the_same_again_is_counted_and_told_once_a_minute() -> None:
    async with FakeKubeApi() as api, recording(api) as (recorder, clock):
        recorder.record(ABOUT, "Held", "blind")
        await until(lambda: len(api.writes) == 1)
        for _ in range(10):
            recorder.record(ABOUT, "Held", "blind")
        clock.ahead_s = 61.0
        recorder.record(ABOUT, "Held", "blind")
        await until(lambda: len(api.writes) == 2)
        (event,) = api.store.of(EVENTS).values()
        assert event["series"]["count"] == 12
        assert [(write.asked.verb, write.status) for write in api.writes] == [("create", 201), ("patch", 200)]
        assert set(api.writes[1].body) == {"series"}


async def test_a_series_that_was_quiet_for_six_minutes_is_a_new_event() -> None:
    async with FakeKubeApi() as api, recording(api) as (recorder, clock):
        recorder.record(ABOUT, "Held", "blind")
        await until(lambda: len(api.writes) == 1)
        clock.ahead_s = 361.0
        recorder.record(ABOUT, "Held", "blind")
        await until(lambda: len(api.writes) == 2)
        assert len(api.store.of(EVENTS)) == 2


async def test_a_series_whose_event_has_ended_begins_anew_with_its_count() -> None:
    async with FakeKubeApi() as api, recording(api) as (recorder, clock):
        recorder.record(ABOUT, "Held", "blind")
        await until(lambda: len(api.writes) == 1)
        api.store.of(EVENTS).clear()
        clock.ahead_s = 61.0
        recorder.record(ABOUT, "Held", "blind")
        await until(lambda: api.store.of(EVENTS))
        (event,) = api.store.of(EVENTS).values()
        assert event["series"]["count"] == 2


async def test_25_different_events_at_once_on_one_object_and_then_one_in_five_minutes() -> None:
    other = ObjectRef("keda.sh/v1alpha1", "ScaledObject", "n", "other")
    async with FakeKubeApi() as api, recording(api) as (recorder, clock):
        for k in range(100):
            recorder.record(ABOUT, "Scaled", f"to {k}")
        recorder.record(other, "Scaled", "to 1")  # is not held back by its neighbour
        await until(lambda: len(api.writes) == BURST + 1)
        assert recorder.dropped == 100 - BURST
        clock.ahead_s = 301.0
        recorder.record(ABOUT, "Scaled", "to 101")
        recorder.record(ABOUT, "Scaled", "to 102")
        await until(lambda: len(api.writes) == BURST + 2)
        assert recorder.dropped == 100 - BURST + 1
        assert {write.status for write in api.writes} == {201}


async def test_a_note_is_cut_to_what_the_api_takes() -> None:
    async with FakeKubeApi() as api, recording(api) as (recorder, _):
        recorder.record(ABOUT, "Long", "x" * 5000)
        await until(lambda: api.writes)
        assert api.writes[0].status == 201


async def test_without_the_rule_events_are_dropped_after_one_log_line_and_tried_again_later() -> None:
    with structlog.testing.capture_logs() as logs:
        async with FakeKubeApi() as api, recording(api) as (recorder, clock):
            denial = api.forbid("create", EVENTS)
            for k in range(5):
                recorder.record(ABOUT, "Scaled", f"to {k}")
            await until(lambda: recorder.dropped == 5)
            assert api.count("create", EVENTS) == 1
            assert 'resources: ["events"], verbs: ["create"]' in str(recorder.problem)
            api.permit(denial)
            clock.ahead_s = 301.0
            recorder.record(ABOUT, "Scaled", "to 6")
            await until(lambda: api.writes)
            await until(lambda: recorder.problem is None)
    assert [line["event"] for line in logs] == ["events cannot be written, dropped"]


async def test_a_namespace_without_the_rule_takes_no_events_from_another() -> None:
    with structlog.testing.capture_logs() as logs:
        async with FakeKubeApi() as api, recording(api) as (recorder, _):
            api.forbid("create", EVENTS, namespace="closed")
            closed = ObjectRef("keda.sh/v1alpha1", "ScaledObject", "closed", "s")
            for k in range(4):
                recorder.record(closed, "Scaled", f"to {k}")
                recorder.record(ABOUT, "Scaled", f"to {k}")
            await until(lambda: len(api.store.of(EVENTS)) == 4)
            await until(lambda: recorder.dropped == 4)
            assert api.count("create", EVENTS) == 5
    assert len(logs) == 1


async def test_recording_never_waits_and_a_dead_api_server_costs_a_bounded_queue() -> None:
    async with FakeKubeApi() as api, recording(api) as (recorder, _):
        api.stalled = True
        for k in range(2000):
            recorder.record(ObjectRef("v1", "Pod", "n", f"p{k}"), "Slow", "x")
        assert recorder.dropped == 2000 - 256
        api.stalled = False
