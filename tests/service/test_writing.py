"""The writers inside the whole service: what each writes when it is on, that nothing is written when it is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from autoscaler.config.server import WriterSettings
from autoscaler.core.records import Wake
from autoscaler.kube.apply import FIELD_MANAGER, POD_DELETION_COST
from autoscaler.kube.resources import (
    CAPACITY_BUFFERS,
    DEPLOYMENTS,
    EVENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    LEASES,
    PODS,
    SCALED_OBJECTS,
)
from autoscaler.kube.writing.deletion_cost import MARK
from tests.fakes.kube_answers import Write
from tests.fakes.model_server import ScriptedServer, text, vllm_page
from tests.service.world import CHAT, NAMESPACE, Replica, World, deployment, scaled_object, world

ALL = WriterSettings(fast_path=True, pod_deletion_cost=True, capacity_buffer=True, events=True, instance="pod-a")
LONG_S = 3000.0


def writes(one: World) -> list[Write]:
    """Every write that came in but the Lease's, refused ones too."""
    return [write for write in one.api.writes if write.asked.resource != LEASES]


def scales(one: World) -> list[int]:
    """Every count of a workload that came in."""
    return [write.body["spec"]["replicas"] for write in writes(one) if write.asked.resource == DEPLOYMENTS]


def told(one: World) -> dict[str, str]:
    """Notes of the Events that there are, by their reason."""
    return {item["reason"]: item["note"] for item in one.api.store.of(EVENTS).values()}


def written(ours: Replica, writer: str, outcome: str = "written") -> float:
    """What our page says of a writer."""
    row = f'llm_autoscaler_kube_writes_total{{namespace="{NAMESPACE}",outcome="{outcome}",writer="{writer}"}} '
    page = ours.service.metrics.render().decode()
    return float(page.split(row)[1].split()[0]) if row in page else 0.0


def wake(one: World, ours: Replica, replicas: int, for_s: float = LONG_S) -> None:
    """As the wake API's call does."""
    ours.service._wakes.add(CHAT, Wake(replicas, one.clock.now() + for_s))


def asleep(one: World, **annotations: str) -> None:
    """A Deployment at zero under a ScaledObject that may leave it there, with the HPA's default behavior."""
    document = scaled_object(minReplicas="0", wakeSource="none")
    document["spec"]["minReplicaCount"] = 0
    document["metadata"]["annotations"] = annotations
    one.api.put(SCALED_OBJECTS, document)
    one.api.put(DEPLOYMENTS, deployment(replicas=0))


async def asks(one: World, ours: Replica, replicas: int) -> None:
    """Wait until KEDA is answered so."""

    def decided() -> bool:
        decision = ours.service.board.decision(CHAT)
        return decision is not None and bool(decision.roles) and decision.roles[0].replicas == replicas

    await one.until(decided, f"{replicas} are asked for")


async def test_the_fast_path_writes_the_number_that_keda_is_told_once_at_the_edge() -> None:
    async with world() as one:
        asleep(one)
        ours = await one.start(writers=WriterSettings(fast_path=True))
        await asks(one, ours, 0)
        wake(one, ours, 6)
        await one.until(lambda: written(ours, "fastPath"), "written")
        assert one.api.get(DEPLOYMENTS, NAMESPACE, "chat")["spec"]["replicas"] == 6
        assert await one.ask(ours, minReplicas="0", wakeSource="none") == 6.0
        await one.clock.sleep(40.0)  # past the HPA's sync: nothing more is to be done
        (write,) = writes(one)
        assert (write.asked.subresource, write.asked.query["fieldManager"]) == ("scale", FIELD_MANAGER)
        assert (scales(one), written(ours, "fastPath")) == ([6], 1.0)


async def test_inside_the_default_tolerance_thirteen_is_written_at_twelve_and_a_decrease_is_not() -> None:
    async with world(rate_rps=0.0) as one:
        one.fill(12)
        ours = await one.start(writers=WriterSettings(fast_path=True))
        wake(one, ours, 12)
        await asks(one, ours, 12)
        wake(one, ours, 13, for_s=20.0)
        await one.until(lambda: written(ours, "fastPath"), "written")
        await asks(one, ours, 12)  # the wish for thirteen ran out: the HPA's to follow, or not
        await one.clock.sleep(20.0)
        assert scales(one) == [13]


@asynccontextmanager
async def unequal(one: World, running: tuple[int, ...]) -> AsyncIterator[None]:
    """A Deployment whose pods have so many requests in flight."""
    one.api.put(SCALED_OBJECTS, scaled_object())
    one.api.put(DEPLOYMENTS, deployment(replicas=len(running)))
    async with AsyncExitStack() as stack:
        for number, requests in enumerate(running):
            page = vllm_page(running=requests, first_tokens=9, prompt=9000, generated=900)
            server = await stack.enter_async_context(ScriptedServer(lambda page=page: text(page)))  # type: ignore[misc]
            one.pod(number, port=server.port)
        yield


def priced(one: World) -> dict[str, dict[str, str]]:
    """Pods that bear annotations."""
    found = {name: item["metadata"].get("annotations") or {} for (_, name), item in one.api.store.of(PODS).items()}
    return {name: notes for name, notes in found.items() if notes}


async def test_the_emptiest_pods_are_priced_when_a_decrease_is_decided_and_the_price_is_taken_back() -> None:
    async with world() as one, unequal(one, (3, 0, 3, 1, 3)):
        ours = await one.start(writers=WriterSettings(pod_deletion_cost=True))
        wake(one, ours, 3)
        wake(one, ours, 5, for_s=20.0)
        await asks(one, ours, 5)
        assert writes(one) == []
        # What serves on first sight is kept until it was watched for its while: then two are to go.
        await one.until(lambda: written(ours, "podDeletionCost") == 2, "written", within_s=500.0)
        prices = priced(one)
        assert prices.keys() == {"chat-1", "chat-3"}
        assert all(notes[MARK] == notes[POD_DELETION_COST] for notes in prices.values())
        assert int(prices["chat-1"][POD_DELETION_COST]) < int(prices["chat-3"][POD_DELETION_COST]) < 0
        wake(one, ours, 5)
        await one.until(lambda: not priced(one), "taken back", within_s=120.0)
        assert {write.asked.resource for write in writes(one)} == {PODS}


async def test_nodes_are_asked_for_ahead_of_replicas_and_let_go_when_these_are_there() -> None:
    async with world(CAPACITY_BUFFERS, rate_rps=0.0) as one:
        one.fill(4)
        ours = await one.start(writers=WriterSettings(capacity_buffer=True))
        wake(one, ours, 7)
        await one.until(lambda: written(ours, "capacityBuffer"), "written")
        buffer = one.api.get(CAPACITY_BUFFERS, NAMESPACE, "chat-predicted")
        uid = one.api.get(SCALED_OBJECTS, NAMESPACE, "chat")["metadata"]["uid"]
        assert buffer["spec"]["replicas"] == 3
        assert buffer["spec"]["scalableRef"] == {"apiGroup": "apps", "kind": "Deployment", "name": "chat"}
        assert buffer["metadata"]["ownerReferences"][0]["uid"] == uid
        one.api.put(DEPLOYMENTS, deployment(replicas=7))

        def size() -> int:
            return int(one.api.get(CAPACITY_BUFFERS, NAMESPACE, "chat-predicted")["spec"]["replicas"])

        await one.until(lambda: size() == 0, "let go", within_s=120.0)
        assert {write.asked.resource for write in writes(one)} == {CAPACITY_BUFFERS}


async def test_steps_become_events_of_the_scaled_object() -> None:
    async with world(rate_rps=0.0) as one:
        one.fill(4)
        ours = await one.start(writers=WriterSettings(events=True, instance="pod-a"))
        wake(one, ours, 4)
        await asks(one, ours, 4)
        wake(one, ours, 9)
        await one.until(lambda: "ScaledUp" in told(one), "told")
        (event,) = one.api.store.of(EVENTS).values()
        assert event["note"].startswith("4 -> 9 replicas asked")
        assert (event["regarding"]["kind"], event["regarding"]["name"]) == ("ScaledObject", "chat")
        assert (event["type"], event["reportingInstance"]) == ("Normal", "pod-a")
        assert written(ours, "events") == 1
        assert {write.asked.resource for write in writes(one)} == {EVENTS}


async def test_a_configuration_that_fights_becomes_an_event_with_its_fix() -> None:
    async with world() as one:
        one.fill(4)
        hpa = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}
        one.api.put(
            HORIZONTAL_POD_AUTOSCALERS,
            {
                "metadata": {"name": "mine", "namespace": NAMESPACE},
                "spec": {"scaleTargetRef": hpa, "minReplicas": 1, "maxReplicas": 3},
            },
        )
        ours = await one.start(writers=ALL)
        await one.until(lambda: "SecondScaler" in told(one), f"told: {told(one)}")
        assert "Fix: " in told(one)["SecondScaler"]
        wake(one, ours, 30)
        await asks(one, ours, 30)
        await one.clock.sleep(10.0)
        assert scales(one) == []  # who fights is told, and not outbid
        assert "ScaledUp" not in told(one)  # KEDA is refused: no step is asked for


async def test_without_the_rule_to_scale_it_is_said_once_with_the_rule_and_keda_is_answered_as_before() -> None:
    async with world() as one:
        asleep(one)
        one.api.forbid("patch", DEPLOYMENTS, subresource="scale")
        with capture_logs() as logs:
            ours = await one.start(writers=WriterSettings(fast_path=True, events=True))
            await asks(one, ours, 0)
            wake(one, ours, 6)
            await one.until(lambda: written(ours, "fastPath", "refused"), "refused")
            await one.until(lambda: "MissingRule" in told(one), "told")
            wake(one, ours, 9)
            await asks(one, ours, 9)
            await one.clock.sleep(20.0)
        assert await one.ask(ours, minReplicas="0", wakeSource="none") == 9.0
        said = [log for log in logs if log["event"] == "cannot write"]
        assert [(log["writer"], log["namespace"]) for log in said] == [("fastPath", NAMESPACE)]
        assert "deployments/scale" in said[0]["reason"]
        assert "patch" in told(one)["MissingRule"]
        tried = [asked for asked in one.api.requests if (asked.verb, asked.subresource) == ("patch", "scale")]
        assert (len(tried), written(ours, "fastPath", "refused")) == (1, 1.0)  # tried slowly, not at each decision
        assert one.api.get(DEPLOYMENTS, NAMESPACE, "chat")["spec"]["replicas"] == 0


async def test_a_rule_that_is_missing_to_read_pods_is_told_on_the_scaled_object() -> None:
    async with world() as one:
        one.fill(4)
        one.api.forbid("list watch", PODS)
        await one.start(writers=WriterSettings(events=True))
        await one.until(lambda: "MissingRule" in told(one), "told")
        assert "reading Pods is off" in told(one)["MissingRule"]


async def provoked(one: World, ours: Replica) -> None:
    """All that any writer acts on: an edge, steps up and down, replicas predicted, a fight."""
    wake(one, ours, 6)
    await asks(one, ours, 6)
    one.api.put(DEPLOYMENTS, deployment(replicas=6))
    for number in range(6):
        one.pod(number)
    wake(one, ours, 13, for_s=20.0)
    await asks(one, ours, 13)
    one.api.put(DEPLOYMENTS, deployment(replicas=13))
    await one.clock.sleep(40.0)


@pytest.mark.parametrize("on", [False, True])
async def test_switched_off_nothing_is_written_nor_asked_for_on_the_occasions_of_all_four(on: bool) -> None:
    async with world(CAPACITY_BUFFERS) as one:
        asleep(one)
        ours = await one.start(writers=ALL if on else WriterSettings())
        await asks(one, ours, 0)
        await provoked(one, ours)
        asked_for = [asked for asked in one.api.requests if asked.verb not in ("list", "watch")]
        if on:  # or the test could not fail
            assert {write.asked.resource for write in writes(one)} >= {DEPLOYMENTS, CAPACITY_BUFFERS, EVENTS}
        else:
            assert (writes(one), asked_for) == ([], [])


async def test_in_shadow_nothing_is_written_though_all_writers_are_on() -> None:
    async with world(CAPACITY_BUFFERS) as one:
        asleep(one, **{"llm-autoscaler.io/mode": "shadow"})
        ours = await one.start(writers=ALL)
        await asks(one, ours, 0)
        await provoked(one, ours)
        assert writes(one) == []


async def test_only_the_owner_writes_and_after_it_the_next() -> None:
    async with world(CAPACITY_BUFFERS) as one:
        asleep(one)
        for name in ("a", "b"):
            await one.start(name, lease=True, writers=replace(ALL, instance=name))
        await one.until(lambda: len(one.owners()) == 1, "one owns")
        (owner,) = one.owners()
        (other,) = [each for each in one.ours if each is not owner]
        for each in (owner, other):
            await asks(one, each, 0)
        wake(one, owner, 6)
        await asks(one, other, 6)
        await one.until(lambda: "ScaledUp" in told(one) and scales(one), "told and written")
        assert scales(one) == [6]
        assert {write.asked.user for write in writes(one)} == {owner.user}
        await owner.kill(one.api)
        await one.until(lambda: one.owners() == [other], "the other owns")
        since = len(one.api.writes)
        wake(one, other, 30)
        await one.until(lambda: scales(one)[-1] == 30, "written by the other")
        assert {write.asked.user for write in one.api.writes[since:]} == {other.user}


async def test_a_service_that_goes_is_forgotten_by_the_writers() -> None:
    async with world(CAPACITY_BUFFERS, rate_rps=0.0) as one:
        one.fill(4)
        ours = await one.start(writers=ALL)
        await one.number(ours)
        (writers,) = ours.service._writing.sinks
        remembered: dict[Any, Any] = writers._targets  # type: ignore[attr-defined]
        await one.until(lambda: CHAT in remembered, "remembered")
        one.api.delete(SCALED_OBJECTS, NAMESPACE, "chat")
        await one.until(lambda: CHAT not in remembered, "forgotten")
