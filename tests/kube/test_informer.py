"""A view that is kept: through pages, dropped and dead connections, expired versions, missing rules and CRDs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import structlog.testing

from autoscaler.clock import LoopClock
from autoscaler.kube.cache import Handlers
from autoscaler.kube.decoding import keep
from autoscaler.kube.informer import Pace
from autoscaler.kube.resources import LLM_INFERENCE_SERVICES, PODS, SCALED_OBJECTS
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.cluster import FAST, names, pod, until, watching


class Recorded:
    """An InformerMetrics that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def available(self, resource: str, namespace: str, available: bool) -> None:
        self.said.append(("available", resource, namespace, available))

    def listed(self, resource: str, namespace: str, reason: str) -> None:  # noqa: ARG002 -- the protocol's
        self.said.append(("listed", reason))

    def failed(self, resource: str, namespace: str, reason: str) -> None:  # noqa: ARG002 -- the protocol's
        self.said.append(("failed", reason))

    def lists(self) -> list[str]:
        return [said[1] for said in self.said if said[0] == "listed"]


async def test_seven_objects_in_pages_of_three_are_all_there_once_synced() -> None:
    async with FakeKubeApi() as api:
        for k in range(7):
            api.put(PODS, pod(f"p{k}"))
        async with watching(api) as informer:
            assert informer.synced
            assert names(informer) == {f"p{k}" for k in range(7)}
            assert [asked.query.get("limit") for asked in api.requests if asked.verb == "list"] == ["3"] * 3
            assert all("resourceVersion" not in asked.query for asked in api.requests if asked.verb == "list")


async def test_what_happens_is_told_in_order_and_once() -> None:
    told: list[tuple[str, str]] = []
    handlers = Handlers(
        added=lambda item: told.append(("added", item["metadata"]["name"])),
        changed=lambda before, after: told.append((before["status"]["phase"], after["status"]["phase"])),
        deleted=lambda item: told.append(("deleted", item["metadata"]["name"])),
    )
    async with FakeKubeApi() as api:
        api.put(PODS, pod("early"))
        async with watching(api) as informer:
            informer.subscribe(handlers)
            api.put(PODS, pod("late"))
            api.put(PODS, {**pod("late"), "status": {"phase": "Failed"}})
            api.delete(PODS, "n", "early")
            await until(lambda: len(told) == 4)
            assert informer.get("n", "early") is None
    assert told == [("added", "early"), ("added", "late"), ("Running", "Failed"), ("deleted", "early")]


async def test_a_handler_that_fails_harms_nobody() -> None:
    seen: list[str] = []

    def broken(_: dict[str, Any]) -> None:
        raise RuntimeError("bug")

    async with FakeKubeApi() as api, watching(api) as informer:
        informer.subscribe(Handlers(added=broken))
        informer.subscribe(Handlers(added=lambda item: seen.append(item["metadata"]["name"])))
        api.put(PODS, pod("a"))
        api.put(PODS, pod("b"))
        await until(lambda: seen == ["a", "b"])


async def test_objects_are_found_by_what_an_index_says_also_after_it_changes() -> None:
    def by_phase(item: dict[str, Any]) -> list[str]:
        return [item["status"]["phase"]]

    async with FakeKubeApi() as api:
        api.put(PODS, pod("a"))
        api.put(PODS, pod("b"))
        async with watching(api, indexes={"phase": by_phase}) as informer:
            assert len(informer.by_index("phase", "Running")) == 2
            api.put(PODS, {**pod("a"), "status": {"phase": "Failed"}})
            await until(lambda: informer.by_index("phase", "Failed"))
            assert [item["metadata"]["name"] for item in informer.by_index("phase", "Running")] == ["b"]
            api.delete(PODS, "n", "a")
            await until(lambda: not informer.by_index("phase", "Failed"))


async def test_only_the_fields_asked_for_are_kept() -> None:
    async with FakeKubeApi() as api:
        api.put(PODS, {**pod("p", labels={"app": "a"}), "spec": {"nodeName": "n1", "volumes": [{"big": "x" * 1000}]}})
        async with watching(api, trim=keep("spec.nodeName", "status.phase")) as informer:
            (kept,) = informer.all()
            kept["metadata"].pop("resourceVersion")
            kept["metadata"].pop("uid")
            assert kept == {
                "metadata": {"name": "p", "namespace": "n"},
                "spec": {"nodeName": "n1"},
                "status": {"phase": "Running"},
            }


async def test_a_trim_that_fails_on_one_object_hides_only_that_one() -> None:
    def trim(item: dict[str, Any]) -> dict[str, Any]:
        assert item["metadata"]["name"] != "odd"
        return item

    async with FakeKubeApi() as api:
        api.put(PODS, pod("odd"))
        api.put(PODS, pod("plain"))
        async with watching(api, trim=trim) as informer:
            assert names(informer) == {"plain"}


async def test_a_dropped_watch_goes_on_from_where_it_was_without_a_list() -> None:
    async with FakeKubeApi() as api:
        api.put(PODS, pod("a"))
        async with watching(api) as informer:
            api.put(PODS, pod("b"))
            await until(lambda: len(informer.all()) == 2)
            api.drop_watches()
            api.put(PODS, pod("c"))  # while nobody watches
            await until(lambda: len(informer.all()) == 3)
            assert api.count("list", PODS) == 1
            assert informer.synced


@pytest.mark.parametrize("in_stream", [True, False], ids=["a Status in the stream", "a plain 410"])
async def test_an_expired_version_is_listed_again_and_what_was_deleted_meanwhile_is_told(in_stream: bool) -> None:
    deleted: list[str] = []
    metrics = Recorded()
    async with FakeKubeApi() as api:
        api.gone_in_stream = in_stream
        api.put(PODS, pod("a"))
        async with watching(api, metrics=metrics) as informer:
            informer.subscribe(Handlers(deleted=lambda item: deleted.append(item["metadata"]["name"])))
            api.fail(1, 500, verbs="watch")
            api.drop_watches()
            api.delete(PODS, "n", "a")
            api.put(PODS, pod("b"))
            api.store.compact()
            await until(lambda: names(informer) == {"b"})
    assert deleted == ["a"]
    assert metrics.lists() == ["first", "gone"]


async def test_410_in_the_middle_of_a_stream_is_listed_again() -> None:
    metrics = Recorded()
    async with FakeKubeApi() as api, watching(api, metrics=metrics) as informer:
        await until(lambda: api.watches() == 1)
        api.expire_history()
        api.put(PODS, pod("b"))
        await until(lambda: names(informer) == {"b"})
        await until(lambda: informer.condition.reason == "Watching")
    assert metrics.lists() == ["first", "gone"]


async def test_a_page_that_expires_makes_one_list_without_pages() -> None:
    async with FakeKubeApi() as api:
        for k in range(7):
            api.put(PODS, pod(f"p{k}"))

        def trim(item: dict[str, Any]) -> dict[str, Any]:
            if item["metadata"]["name"] == "p2" and not api.store.oldest:
                api.expire_history()  # while the first page is read
            return item

        async with watching(api, trim=trim) as informer:
            assert len(informer.all()) == 7
            limits = [asked.query.get("limit") for asked in api.requests if asked.verb == "list"]
            assert limits == ["3", "3", None]


async def test_a_bookmark_moves_the_version_so_that_a_compacted_history_needs_no_list() -> None:
    async with FakeKubeApi() as api:
        api.put(PODS, pod("a"))
        async with watching(api) as informer:
            await until(lambda: api.watches() == 1)
            for k in range(5):
                api.put(SCALED_OBJECTS, {"metadata": {"name": f"s{k}", "namespace": "n"}})
            api.store.compact()
            api.bookmark()
            api.drop_watches(cleanly=True)
            api.put(PODS, pod("b"))
            await until(lambda: len(informer.all()) == 2)
            assert api.count("list", PODS) == 1


async def test_a_server_that_ends_every_watch_at_once_is_asked_ever_more_rarely() -> None:
    pauses: list[float] = []

    class Noting(LoopClock):
        async def sleep(self, delay_s: float) -> None:
            pauses.append(delay_s)
            await super().sleep(0)

    async with FakeKubeApi() as api, watching(api, clock=Noting(), pace=Pace(short_watch_s=45.0)):
        for _ in range(8):
            before = len(pauses)
            await until(lambda: api.watches() == 1)
            api.drop_watches(cleanly=True)
            await until(lambda before=before: len(pauses) > before)  # type: ignore[misc]
    assert all(0.5 * 2**k <= pauses[k] <= 2**k for k in range(5)), pauses  # 1, 2, 4, 8, 16 s, jittered by half
    assert all(15.0 <= pause <= 30.0 for pause in pauses[5:8]), pauses  # 30 s at most


async def test_a_server_away_is_one_log_line_and_the_view_grows_stale() -> None:
    with structlog.testing.capture_logs() as logs:
        async with FakeKubeApi() as api:
            api.put(PODS, pod("a"))
            clock = LoopClock(FAST)
            async with watching(api, clock=clock) as informer:
                await api.stop()
                await clock.sleep(100.0)
                assert names(informer) == {"a"}
                assert informer.synced
                assert informer.staleness_s(clock.now()) > 95.0
                assert informer.condition.reason == "Unreachable"
                await api.start()
                api.put(PODS, pod("b"))
                await until(lambda: names(informer) == {"a", "b"})
                await until(lambda: informer.staleness_s(clock.now()) < 30.0)
    lines = [line["event"] for line in logs]
    assert lines == ["cannot be watched, tried again", "watched again"]


async def test_a_silent_connection_is_given_up_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoscaler.kube.client.WATCH_SLACK_S", 0.1)
    async with FakeKubeApi() as api, watching(api, pace=Pace(watch_s=1.0)) as informer:
        await until(lambda: api.watches() == 1)
        api.stalled = True  # half open: nothing comes, nothing ends
        await until(lambda: informer.condition.reason == "Unreachable")
        api.stalled = False
        api.put(PODS, pod("b"))
        await until(lambda: names(informer) == {"b"})


async def test_it_is_listed_anew_from_time_to_time_and_a_missed_event_is_repaired() -> None:
    metrics = Recorded()
    async with FakeKubeApi() as api:
        api.put(PODS, pod("a"))
        async with watching(api, metrics=metrics, pace=Pace(resync_s=50.0)) as informer:
            api.store.listeners.clear()  # no watch hears of it
            api.store.of(PODS).clear()
            await until(lambda: not informer.all())
    assert metrics.lists()[:2] == ["first", "resync"]


async def test_a_missing_crd_is_off_said_once_and_on_when_it_is_installed() -> None:
    metrics = Recorded()
    with structlog.testing.capture_logs() as logs:
        async with FakeKubeApi() as api, watching(api, SCALED_OBJECTS, metrics=metrics) as informer:
            assert not informer.synced
            assert informer.condition.reason == "MissingKind"
            assert "install its CRDs" in informer.condition.message
            await until(lambda: api.count("list", SCALED_OBJECTS) == 4)
            api.installed.add(SCALED_OBJECTS)
            api.put(SCALED_OBJECTS, {"metadata": {"name": "s", "namespace": "n"}})
            await until(lambda: informer.synced)
            assert names(informer) == {"s"}
    assert [line["event"] for line in logs] == ["turned off, tried again now and then", "watched again"]
    assert ("available", "scaledobjects.keda.sh", "", False) in metrics.said
    assert metrics.said[-1] == ("available", "scaledobjects.keda.sh", "", True)


async def test_a_crd_that_vanishes_keeps_what_was_known_and_stops_claiming_to_be_synced() -> None:
    async with FakeKubeApi(SCALED_OBJECTS) as api:
        api.put(SCALED_OBJECTS, {"metadata": {"name": "s", "namespace": "n"}})
        async with watching(api, SCALED_OBJECTS) as informer:
            api.installed.remove(SCALED_OBJECTS)  # an API server that starts says this for seconds
            api.drop_watches()
            await until(lambda: informer.condition.reason == "MissingKind")
            assert names(informer) == {"s"}
            assert not informer.synced


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_a_missing_rule_is_off_said_once_with_the_rule_and_on_when_it_is_granted(verb: str) -> None:
    with structlog.testing.capture_logs() as logs:
        async with FakeKubeApi() as api:
            denial = api.forbid(verb, PODS)
            async with watching(api, namespace="n") as informer:
                assert not informer.synced
                await until(lambda: api.count(verb, PODS) == 4)
                assert not informer.synced
                api.permit(denial)
                await until(lambda: informer.synced)
    assert [line["event"] for line in logs] == ["turned off, tried again now and then", "watched again"]
    assert f'{{apiGroups: [""], resources: ["pods"], verbs: ["{verb}"]}} (Role in n)' in logs[0]["reason"]


async def test_retries_while_off_are_rare() -> None:
    pauses: list[float] = []

    class Noting(LoopClock):
        async def sleep(self, delay_s: float) -> None:
            pauses.append(delay_s)
            await super().sleep(0)

    async with FakeKubeApi() as api:
        api.forbid("list", PODS)
        async with watching(api, clock=Noting()):
            await until(lambda: len(pauses) >= 8)
    assert all(7.5 * 2**k <= pauses[k] <= 15.0 * 2**k for k in range(5)), pauses
    assert all(150.0 <= pause <= 300.0 for pause in pauses[5:]), pauses


async def test_a_slow_server_is_waited_for_without_a_second_list() -> None:
    async with FakeKubeApi() as api:
        for k in range(7):
            api.put(PODS, pod(f"p{k}"))
        api.latency_s = 0.05
        async with watching(api) as informer:
            assert len(informer.all()) == 7
            assert api.count("list", PODS) == 3


async def test_other_work_goes_on_while_many_events_come_at_once() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async with FakeKubeApi() as api, watching(api) as informer:
        task = asyncio.create_task(tick())
        for k in range(300):
            api.put(PODS, pod(f"p{k}", annotations={"a": "x" * 2000}))
        await until(lambda: len(informer.all()) == 300)
        task.cancel()
    assert ticks > 3


async def test_a_kind_is_read_in_the_version_that_the_server_has_and_in_another_when_that_changes() -> None:
    older, newer = (replace(LLM_INFERENCE_SERVICES, version=version) for version in ("v1alpha1", "v1"))
    async with FakeKubeApi(older) as api:
        api.put(older, pod("a"))
        with structlog.testing.capture_logs() as logs:
            async with watching(api, LLM_INFERENCE_SERVICES, pace=Pace(off_s=1.0)) as informer:
                assert names(informer) == {"a"}
                assert informer.selection.resource.version == "v1alpha1"
                api.installed = (api.installed - {older}) | {newer}
                api.put(newer, pod("a"))
                api.put(newer, pod("b"))
                api.drop_watches()
                await until(lambda: names(informer) == {"a", "b"})
                assert informer.selection.resource.version == "v1"
                await until(lambda: informer.condition.reason == "Watching")
    assert [entry["version"] for entry in logs if entry["event"] == "read in another version"] == ["v1alpha1", "v1"]


async def test_of_several_versions_the_one_that_was_built_for_is_read() -> None:
    newer = replace(LLM_INFERENCE_SERVICES, version="v1")
    async with FakeKubeApi(LLM_INFERENCE_SERVICES, newer) as api, watching(api, LLM_INFERENCE_SERVICES) as informer:
        assert informer.selection.resource == LLM_INFERENCE_SERVICES
