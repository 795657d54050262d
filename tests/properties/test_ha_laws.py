"""Laws of several replicas under any schedule of faults, in virtual time: one plans, and nothing falls for a fault."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import AsyncIterator, Iterable

import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.clock import LoopClock
from autoscaler.config.records import ListKind, ReplicaList, ServiceSettings, TargetSettings
from autoscaler.control.board import Board
from autoscaler.control.directory import Directory
from autoscaler.control.duty import Duty
from autoscaler.control.loop import Place, ServiceLoop, Sources
from autoscaler.control.relay import Relay
from autoscaler.control.triggers import HeardTriggers
from autoscaler.core.records import (
    Decision,
    HeldReading,
    Mode,
    Observation,
    RoleSpec,
    Sample,
    ServiceId,
    ServiceSpec,
    TargetId,
)
from autoscaler.history.memory import MemoryStore
from autoscaler.owning import Fan
from autoscaler.ports import Endpoint, ListedReplica, Listing, ScrapeState
from autoscaler.scaler.following import RETRY_S, Following
from autoscaler.scaler.replicas import ALIVE_S, ReplicasServicer, Shared
from autoscaler.web.wakes import Wakes
from scaler_proto import replicas_pb2 as pb
from tests.fakes.lease import Elector, Lease

CHAT = ServiceId("default", "chat")
SPEC = ServiceSpec(CHAT, (RoleSpec("", 1, 40, 4, "llama-3.1-70b/a100x4", 2048),), lead_time_prior_s=60.0)
EPOCH_S = 1_000_000.0
COUNT, RATE_RPS = 12, 12.0
SETTLED_S = 100.0
NAMES = ("a", "b", "c")


class Servers:
    """Replicas of the model that share a constant load; what they say depends on the time alone."""

    def __init__(self, clock: LoopClock) -> None:
        self._clock = clock
        self._listed = tuple(ListedReplica(f"r{i}", f"http://r{i}/metrics") for i in range(COUNT))

    def listing(self) -> Listing:
        return Listing(self._listed, self._clock.now())

    def watch(self, owner: str, endpoints: Iterable[Endpoint]) -> None:
        pass

    def state(self, _replica_id: str) -> ScrapeState:
        now = self._clock.now()
        done = (now - EPOCH_S) * RATE_RPS / COUNT
        sample = Sample(
            now,
            "vllm",
            waiting=0.0,
            running=8.0,
            kv_usage=0.3,
            arrivals_counter=done,
            arrivals_pending=0.0,
            prompt_tokens=done * 1200,
            generation_tokens=done * 200,
        )
        return ScrapeState(sample, None, False, 1, 0)

    def readings(self, _service: ServiceId) -> tuple[HeldReading, ...]:
        return ()


class Node:
    """One replica of ours, less its sockets: the messages are real, the wire is a loop over them."""

    def __init__(self, name: str, world: World) -> None:
        self.name, self.world, clock = name, world, world.clock
        self.elector = Elector(world.lease, clock, name)
        self.elector.fit = self._fit
        self.board, self.cut = Board(), False
        self.relay = Relay(self.board)
        target = TargetSettings("", ReplicaList(ListKind.STATIC))
        self.settings = ServiceSettings(SPEC, (target,))
        self.triggers = HeardTriggers(Directory([self.settings]), clock, lambda _: None)
        shared = Shared(self.elector, self.board, self.relay, self.triggers, Wakes(), clock)
        self.servicer = ReplicasServicer(shared, lambda _: False)
        self.following = Following(shared, lambda _: None, random.Random(1))  # type: ignore[arg-type, return-value]
        self.began_s = clock.now()
        self.task = asyncio.ensure_future(Duty(self.elector, self.own, self.follow).run())

    def _fit(self) -> bool:
        return self.board.standing(CHAT) is not None or self.world.clock.now() - self.began_s > 5.0

    def publish(self, _observation: Observation, _decision: Decision, _took_s: float) -> None:
        others = [node for node in self.world.nodes.values() if node is not self]
        self.world.decided.append((self.name, [node.name for node in others if node.elector.is_owner()]))

    @contextlib.asynccontextmanager
    async def own(self) -> AsyncIterator[None]:
        servers = self.world.servers
        loop = ServiceLoop(
            self.settings,
            lambda: SPEC,
            Sources({"": servers}, servers, servers, Wakes()),
            Fan([self.board, self.relay, self]),
            MemoryStore(),
            Place(self.elector, self.board, self.relay),
            self.world.clock,
        )
        await loop.restore()
        task = asyncio.ensure_future(loop.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def follow(self) -> None:
        while True:
            for owner in list(self.world.nodes.values()):
                if owner is not self and owner.elector.is_owner() and self.world.joined(self, owner):
                    await self._stream(owner)
            await asyncio.sleep(RETRY_S[1])

    async def _stream(self, owner: Node) -> None:
        with owner.relay.listen() as subscription:
            while owner.elector.is_owner() and self.world.joined(self, owner):
                for topic in subscription.take():
                    for told in owner.servicer._told(topic, subscription):
                        self.following._take(pb.Told.FromString(told.SerializeToString()))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ALIVE_S):
                        await subscription.changed.wait()

    async def end(self) -> None:
        self.elector.stopped = True
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class World:
    """Three replicas, one Lease, KEDA asking everybody once a second."""

    def __init__(self) -> None:
        self.clock = LoopClock(epoch_s=EPOCH_S)
        self.lease, self.servers = Lease(), Servers(self.clock)
        self.nodes: dict[str, Node] = {}
        self.decided: list[tuple[str, list[str]]] = []
        self.answers: list[tuple[float, str, int]] = []

    def joined(self, one: Node, other: Node) -> bool:
        present = self.nodes.values()
        return one in present and other in present and not one.cut and not other.cut

    def informed(self, node: Node) -> bool:
        standing = self.nodes[node.name].board.standing(CHAT)
        return standing is not None and self.clock.now() - standing.decision.at_s < 10.0 and self.relayed(node)

    def relayed(self, node: Node) -> bool:
        return node.elector.is_owner() or node.relay.log(CHAT) is not None

    async def act(self, action: str, name: str) -> None:
        node = self.nodes[name]
        if action in ("kill", "roll"):
            # Those who know must not all go at once: what nobody knows nobody can answer.
            if not any(self.informed(one) for one in self.nodes.values() if one is not node and not one.cut):
                return
            del self.nodes[name]
            if action == "roll":
                node.task.cancel()
                await asyncio.gather(node.task, return_exceptions=True)
                await node.elector.release()
            await node.end()
            await self.run(3.0)
            self.nodes[name] = Node(name, self)
        elif action == "cut from the API":
            node.elector.reaches_api = False
        elif action == "cut from the others":
            node.cut = True
        else:
            node.elector.reaches_api, node.cut = True, False

    async def run(self, for_s: float) -> None:
        until_s = self.clock.now() + for_s
        while self.clock.now() < until_s:
            now = self.clock.now()
            for node in self.nodes.values():
                answer = node.board.answer(TargetId(CHAT), now)
                if answer is not None and answer.mode is not Mode.UNKNOWN:
                    self.answers.append((now, node.name, answer.replicas if answer.active else 0))
            await asyncio.sleep(1.0)


Schedule = list[tuple[float, str, str]]


async def play(schedule: Schedule, total_s: float) -> World:
    world = World()
    for name in NAMES:
        world.nodes[name] = Node(name, world)
    await world.run(SETTLED_S)
    for wait_s, action, name in schedule:
        await world.run(wait_s)
        await world.act(action, name)
    await world.run(max(0.0, EPOCH_S + total_s - world.clock.now()))
    for node in list(world.nodes.values()):
        await node.end()
    return world


def played(schedule: Schedule, total_s: float) -> World:
    loop = looptime.new_event_loop()
    try:
        return loop.run_until_complete(play(schedule, total_s))
    finally:
        loop.close()


@functools.cache
def least_without_faults() -> int:
    world = played([], 700.0)
    return min(count for at_s, _, count in world.answers if at_s > EPOCH_S + SETTLED_S)


actions = st.tuples(
    st.floats(0.0, 40.0),
    st.sampled_from(["kill", "roll", "cut from the API", "cut from the others", "heal", "heal"]),
    st.sampled_from(NAMES),
)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.lists(actions, min_size=1, max_size=8))
def test_whatever_fails_only_one_replica_plans_and_no_answer_falls_for_it(schedule: Schedule) -> None:
    least = least_without_faults()
    assert least >= 8
    world = played([*schedule, *((1.0, "heal", name) for name in NAMES)], 450.0)
    assert not [(name, others) for name, others in world.decided if others], "two replicas planned at once"
    fallen = [answer for answer in world.answers if answer[0] > EPOCH_S + SETTLED_S and answer[2] < least]
    assert not fallen, f"below {least}: {fallen[:5]}"
    newest_s = max(at_s for at_s, _, _ in world.answers)
    assert {name for at_s, name, _ in world.answers if at_s == newest_s} == set(NAMES)
    assert len({count for at_s, _, count in world.answers if at_s == newest_s}) == 1, (
        "replicas disagree when all is well"
    )
