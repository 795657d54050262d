"""Prices of pods: the emptiest goes, few writes, nobody else's price is touched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import structlog.testing
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.records import Decision, Estimates, Mode, RoleObservation, Sample
from autoscaler.kube.apply import COST_LIMIT, POD_DELETION_COST
from autoscaler.kube.client import KubeClient
from autoscaler.kube.meaning.objects import ObjectSet
from autoscaler.kube.meaning.replicas import PodReplica
from autoscaler.kube.meaning.resolve import Target, look, resolve
from autoscaler.kube.meaning.watch import observed
from autoscaler.kube.resources import PODS
from autoscaler.kube.writing.deletion_cost import (
    MARK,
    RENEW_S,
    DeletionCost,
    Price,
    Priced,
    in_flight_tokens,
    prices,
)
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.writing.world import Json, Owner, Settable, decided, deployment, quiet, running, scaled_object

MEAN = 1000.0


def pod(name: str, *, ready: bool = True, annotations: dict[str, str] | None = None) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "n",
            "uid": f"u-{name}",
            "labels": {"app": "d"},
            "annotations": annotations or {},
        },
        "spec": {"nodeName": "a", "containers": [{"name": "c", "image": "vllm"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}], "podIP": "10.0.0.1"},
    }


class World:
    """Prices beside the pods of a Deployment; `running` is the requests that each pod's page tells."""

    def __init__(self, api: FakeKubeApi, writer: DeletionCost, clock: Settable) -> None:
        self.api = api
        self.writer = writer
        self.clock = clock
        self.running: dict[str, float | None] = {}

    def put(self, name: str, running: float | None, **how: Any) -> None:
        self.api.put(PODS, pod(name, **how))
        self.running[name] = running

    def prices(self) -> dict[str, int]:
        found = {name: item["metadata"].get("annotations") or {} for (_, name), item in self.api.store.of(PODS).items()}
        return {name: int(one[POD_DELETION_COST]) for name, one in found.items() if POD_DELETION_COST in one}

    async def decide(self, replicas: int, present: int, **how: Any) -> int:
        """Let it take a decision; returns how many writes came of it."""
        raws = [deployment(present), scaled_object(**how.pop("spec", {})), *self.api.store.of(PODS).values()]
        objects = ObjectSet(raws)
        target = resolve(objects, "n", "s")
        before = len(self.api.writes)
        self.writer.offer(asked(replicas, **how), target, objects, self.seen(objects, target))
        await quiet(self.writer.turns)
        return len(self.api.writes) - before

    def seen(self, objects: ObjectSet, target: Target) -> RoleObservation:
        def sample_of(one: PodReplica) -> tuple[Sample | None, str | None]:
            count = self.running[one.pod]
            return (None if count is None else Sample(0.0, "vllm", running=count, waiting=0.0)), None

        return observed(target, look(objects, target), sample_of)


def asked(replicas: int, **how: Any) -> Decision:
    estimates = (Estimates("", prompt_tokens_mean=600.0, output_tokens_mean=400.0),)
    return replace(decided(replicas, **how), estimates=estimates)


@asynccontextmanager
async def world(owner: Owner | None = None) -> AsyncIterator[World]:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        clock = Settable()
        writer = DeletionCost(client, owner or Owner(), clock)
        async with running(writer):
            yield World(api, writer, clock)


async def test_of_two_pods_the_empty_one_goes_though_the_full_one_is_newer() -> None:
    async with world() as here:
        here.put("old", 0.0)
        here.put("new", 40.0)
        assert await here.decide(1, 2) == 1
        assert here.prices() == {"old": -COST_LIMIT}
        (write,) = here.api.writes
        assert write.asked.query["fieldManager"] == "llm-autoscaler"
        assert write.body["metadata"]["resourceVersion"]
        assert write.body["metadata"]["annotations"] == {POD_DELETION_COST: str(-COST_LIMIT), MARK: str(-COST_LIMIT)}


async def test_a_price_holds_the_tokens_in_flight_so_that_the_emptiest_goes_before_the_less_empty() -> None:
    async with world() as here:
        for name, count in (("a", 3.0), ("b", 40.0), ("c", 1.0), ("d", 50.0)):
            here.put(name, count)
        assert await here.decide(2, 4) == 2
        assert here.prices() == {"a": 3000 - COST_LIMIT, "c": 1000 - COST_LIMIT}


async def test_without_a_decided_decrease_and_below_one_request_of_gain_nothing_is_written() -> None:
    async with world() as here:
        here.put("a", 5.0)
        here.put("b", 5.9)
        for replicas in (1, 2, 3):
            assert await here.decide(replicas, 2) == 0
        here.running["b"] = 6.0
        assert await here.decide(2, 2) == 0
        assert await here.decide(1, 2) == 1


async def test_loads_that_change_while_a_decrease_is_on_its_way_cost_writes_once_a_minute_at_most() -> None:
    async with world() as here:
        for name in "abcd":
            here.put(name, 20.0)
        here.running["a"] = 0.0
        assert await here.decide(3, 4) == 1
        writes = 0
        for second in range(0, 300, 5):  # the HPA waits 300 s by default; a decision every 5 s
            here.running |= {name: float(20 + 7 * (second + at) % 30) for at, name in enumerate("abcd")}
            writes += await here.decide(3, 4)
            here.clock.ahead_s += 5.0
        assert writes <= 2 * 300 / RENEW_S  # one taken back, one set


async def test_the_order_that_stands_is_not_written_again_after_a_restart_of_ours() -> None:
    async with world() as here:
        here.put("a", 0.0)
        here.put("b", 40.0)
        await here.decide(1, 2)
        here.writer.forget(resolve(ObjectSet([deployment(2), scaled_object()]), "n", "s").target)
        assert await here.decide(1, 2) == 0


async def test_what_was_priced_and_did_not_go_is_taken_back_and_nothing_else_is() -> None:
    async with world() as here:
        here.put("a", 0.0)
        here.put("b", 40.0)
        here.put("theirs", 40.0, annotations={POD_DELETION_COST: "7"})
        await here.decide(2, 3)
        assert here.prices() == {"a": -COST_LIMIT, "theirs": 7}
        here.clock.ahead_s += RENEW_S + 1
        assert await here.decide(3, 3) == 1
        assert here.prices() == {"theirs": 7}
        here.clock.ahead_s += RENEW_S + 1
        assert await here.decide(3, 3) == 0


async def test_a_price_of_somebody_else_is_left_alone_and_told_once() -> None:
    async with world() as here:
        here.put("theirs", 0.0, annotations={POD_DELETION_COST: "5"})
        here.put("b", 10.0)
        here.put("c", 40.0)
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                await here.decide(2, 3)
                here.clock.ahead_s += RENEW_S + 1
        assert [one["pods"] for one in logs] == [["theirs"]]
        assert here.prices() == {"theirs": 5, "b": 10_000 - COST_LIMIT}


async def test_a_pod_that_karpenter_wants_gone_is_the_one_that_goes() -> None:
    async with world() as here:
        here.put("drifted", 40.0, annotations={POD_DELETION_COST: "-2147483648"})
        here.put("b", 0.0)
        here.put("c", 40.0)
        assert await here.decide(2, 3) == 0
        assert await here.decide(1, 3) == 1
        assert here.prices() == {"drifted": -2147483648, "b": -COST_LIMIT}


async def test_pods_that_are_not_ready_go_first_anyway_and_cost_no_write() -> None:
    async with world() as here:
        here.put("a", 0.0)
        here.put("b", 40.0)
        here.put("starting", None, ready=False)
        assert await here.decide(2, 3) == 0
        assert await here.decide(1, 3) == 1


async def test_a_pod_whose_page_is_silent_is_not_empty() -> None:
    async with world() as here:
        here.put("silent", None)
        here.put("b", 1.0)
        here.put("c", 40.0)
        await here.decide(2, 3)
        assert here.prices() == {"b": 1000 - COST_LIMIT}
        here.clock.ahead_s += RENEW_S + 1
        assert await here.decide(1, 3) == 1
        assert set(here.prices()) == {"b", "c"}


@pytest.mark.parametrize("mode", [Mode.HOLD, Mode.UNKNOWN, Mode.SHADOW])
async def test_only_normal_decisions_of_the_owner_for_a_target_that_is_not_paused(mode: Mode) -> None:
    async with world() as here:
        here.put("a", 0.0)
        here.put("b", 40.0)
        assert await here.decide(1, 2, mode=mode) == 0
        assert await here.decide(0, 2, active=False) == 0  # to zero there is no order
        assert await here.decide(1, 2, spec={"annotations": {"autoscaling.keda.sh/paused-scale-in": "true"}}) == 0
    for owner in (Owner(owns=False), Owner(limit=1)):
        async with world(owner) as here:
            here.put("a", 0.0)
            here.put("b", 40.0)
            assert await here.decide(1, 2) == 0


async def test_a_pod_that_changed_or_went_since_does_not_stop_the_others() -> None:
    async with world() as here:
        for name, count in (("a", 0.0), ("b", 1.0), ("c", 40.0), ("d", 40.0)):
            here.put(name, count)
        here.api.fail(1, 409, verbs="patch")
        await here.decide(2, 4)
        assert here.prices() == {"b": 1000 - COST_LIMIT}
        assert (here.writer.written, here.writer.turns.conflicts, here.writer.turns.failed) == (1, 1, 0)


def test_tokens_in_flight_are_those_in_the_cache_else_requests_by_their_mean_size_else_unknown() -> None:
    full = Sample(0.0, "vllm", running=4.0, waiting=2.0, kv_usage=0.25, kv_capacity_tokens=40_000.0)
    assert in_flight_tokens(full, MEAN) == 10_000 + 2 * 1000
    assert in_flight_tokens(replace(full, kv_capacity_tokens=None), MEAN) == 6 * 1000
    assert in_flight_tokens(replace(full, kv_usage=None), None) == 6
    assert in_flight_tokens(replace(full, kv_usage=None, running=None), MEAN) is None
    assert in_flight_tokens(None, MEAN) is None


loads = st.lists(st.floats(0, 1e6), min_size=2, max_size=12)


@given(loads=loads, leave=st.integers(1, 11), marked=st.sets(st.integers(0, 11)))
def test_after_the_writes_what_goes_is_as_empty_as_can_be_but_for_one_request(
    loads: list[float], leave: int, marked: set[int]
) -> None:
    pods = [
        Priced(f"p{at:02}", "1", -7 - at if at in marked else 0, True, at in marked, load)
        for at, load in enumerate(loads)
    ]
    if leave >= len(pods):
        assert prices(pods, leave, MEAN) == ()
        return
    written = {one.pod: one for one in prices(pods, leave, MEAN)}
    cost = {one.name: (written[one.name].cost or 0) if one.name in written else one.cost for one in pods}
    went = sorted(pods, key=lambda one: (cost[one.name], -(one.tokens or 0.0)))[:leave]
    best = sum(sorted(loads)[:leave])
    assert sum(one.tokens or 0.0 for one in went) < best + MEAN + 1e-6 * best
    assert all(isinstance(one, Price) for one in written.values())
    assert prices([replace(one, cost=cost[one.name], marked=cost[one.name] < 0) for one in pods], leave, MEAN) == ()
