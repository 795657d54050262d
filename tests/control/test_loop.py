"""When the loop decides: in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

import looptime

from autoscaler.clock import LoopClock
from autoscaler.control.board import Board
from autoscaler.control.duty import Alone
from autoscaler.control.loop import WARM_WITHIN_S, Place, ServiceLoop, Sources
from autoscaler.control.relay import Relay
from autoscaler.core import Planner
from autoscaler.core.records import (
    Decision,
    HeldReading,
    Observation,
    RoleObservation,
    ServiceId,
    ServiceSpec,
    Wake,
)
from autoscaler.history.memory import MemoryStore
from autoscaler.ports import Endpoint, Past, ScrapeState
from autoscaler.web.wakes import Wakes
from tests.fakes.observations import CHAT, SPEC, Fleet

T = TypeVar("T")


def virtual(test: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        return await test()

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        return runner.run(run())


class World:
    """A fleet of a fixed size under 2 req/s, a gateway that holds what the test says, and a loop that plans it."""

    def __init__(self, count: int, past: Past | None = None, store: MemoryStore | None = None) -> None:
        self.clock = LoopClock(1.0, 1_000_000.0)
        self.wakes = Wakes()
        self.held = 0.0
        self.decided: list[tuple[float, Decision]] = []  # seconds since the start
        self.store = store or MemoryStore()
        self.begun: list[bytes] = []
        self._count, self._fleet, self._since_s = count, Fleet(), self.clock.now()
        board = Board()
        place = Place(Alone(), board, Relay(board))
        sources = Sources({"": self}, self, self, self.wakes)
        self.loop = ServiceLoop(
            CHAT, lambda: SPEC, sources, self, self.store, place, self.clock, past=past, begins=self.begun.append
        )

    def endpoints(self) -> tuple[Endpoint, ...]:
        return ()

    def observe(self, _samples: object, now: float) -> RoleObservation:
        dt_s = now - (self._since_s + self.decided[-1][0]) if self.decided else 0.0
        return self._fleet.observe(now, self._count, 2.0 if self._count else 0.0, dt_s).roles[0]

    def resume(self, role: RoleObservation) -> None: ...

    def watch(self, owner: str, endpoints: Iterable[Endpoint]) -> None: ...

    def state(self, _replica_id: str) -> ScrapeState:
        return ScrapeState(attempts=1)

    def readings(self, _service: ServiceId) -> tuple[HeldReading, ...]:
        return (HeldReading("gateway", self.clock.now(), self.held),)

    def publish(self, _observation: Observation, decision: Decision, _took_s: float) -> None:
        self.decided.append((self.clock.now() - self._since_s, decision))

    def wake(self, replicas: int, ttl_s: float = 300.0) -> None:
        self.wakes.add(CHAT, Wake(replicas, self.clock.now() + ttl_s))

    async def run(self, *events: tuple[float, Callable[[], None]], until_s: float) -> list[tuple[float, int]]:
        """When it decided on how many, while things happen at times that are given."""
        running = asyncio.create_task(self.loop.run())
        for at_s, event in events:
            await self.clock.sleep(self._since_s + at_s - self.clock.now())
            event()
        await self.clock.sleep(self._since_s + until_s - self.clock.now())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return [(round(at_s, 3), decision.roles[0].replicas) for at_s, decision in self.decided]


def test_a_wake_that_asks_an_active_service_for_more_is_decided_at_once() -> None:
    async def test() -> list[tuple[float, int]]:
        one = World(2)
        return await one.run((11.2, lambda: one.wake(7)), until_s=21.0)

    assert virtual(test) == [(0, 2), (5, 2), (10, 2), (11.2, 7), (16.2, 7)]


def test_a_wake_that_asks_for_no_more_than_another_waits_for_the_period() -> None:
    # Else whoever repeats his wish ten times a second would have ten decisions a second.
    async def test() -> list[tuple[float, int]]:
        one = World(2)
        wakes = [(11.0 + 0.1 * i, lambda: one.wake(7)) for i in range(20)]
        return await one.run(*wakes, (13.5, lambda: one.wake(5)), (14.0, lambda: one.wake(8)), until_s=20.0)

    assert virtual(test) == [(0, 2), (5, 2), (10, 2), (11.0, 7), (14.0, 8), (19.0, 8)]


def test_a_wake_at_zero_is_decided_at_once() -> None:
    async def test() -> list[tuple[float, int]]:
        one = World(0)
        return await one.run((6.1, lambda: one.wake(1)), until_s=11.0)

    assert virtual(test) == [(0, 0), (5, 0), (6.1, 1)]


def test_a_request_held_at_zero_is_seen_within_half_a_second_and_not_in_a_tight_loop() -> None:
    async def test() -> list[tuple[float, int]]:
        one = World(0)

        def hold() -> None:
            one.held = 3.0

        return await one.run((6.1, hold), until_s=7.3)

    decided = virtual(test)
    assert decided[:2] == [(0, 0), (5, 0)]
    assert decided[2] == (6.5, 1)
    assert len(decided) <= 4


def test_a_wake_that_comes_while_the_state_is_saved_is_not_missed() -> None:
    async def test() -> list[tuple[float, int]]:
        one = World(2)
        save = one.loop._store.save

        async def slow(service: ServiceId, snapshot: bytes, at_s: float) -> None:
            one.wake(9)
            await save(service, snapshot, at_s)

        one.loop._store.save = slow  # type: ignore[method-assign]
        return await one.run(until_s=34.0)

    decided = virtual(test)
    assert (0.0, 2) in decided
    assert (0.0, 9) in decided


class Recorded:
    """A past that is told so many seconds after it was asked for."""

    def __init__(self, after_s: float, snapshot: bytes | None) -> None:
        self._after_s, self._snapshot = after_s, snapshot
        self.asked: list[dict[str, int]] = []

    async def learn(self, _service: ServiceId, _spec: ServiceSpec, listed: Mapping[str, int]) -> bytes | None:
        self.asked.append(dict(listed))
        await asyncio.sleep(self._after_s)
        return self._snapshot


def lived_through(hours: float) -> bytes:
    """A planner that saw 2,400 tokens a prompt, not 1,200."""
    planner, fleet = Planner(), Fleet(prompt=2400.0)
    for i in range(int(hours * 240)):
        at_s = 1_000_000.0 - hours * 3600.0 + 15.0 * i
        planner.observe(fleet.observe(at_s, 2, 2.0, 15.0), at_s)
    planner.forget_presence(1_000_000.0)
    return planner.snapshot()


def has_past(decision: Decision) -> bool:
    prompts = decision.estimates[0].prompt_tokens_mean
    return prompts is not None and prompts > 2000.0


def test_a_past_is_taken_up_between_decisions_and_delays_none() -> None:
    async def test() -> None:
        past = Recorded(12.0, lived_through(0.5))
        one = World(4, past)
        cold = await one.run(until_s=11.0)
        assert cold == [(0, 4), (5, 4), (10, 4)]
        one = World(4, past)
        assert await one.run(until_s=26.0) == [(0, 4), (5, 4), (10, 4), (15, 4), (20, 4), (25, 4)]
        assert [has_past(decision) for _, decision in one.decided] == [False] * 3 + [True] * 3
        assert len(one.begun) == 1
        saved = await one.store.load(CHAT)
        assert saved is not None
        assert saved.at_s >= 1_000_015.0

    virtual(test)


def test_a_past_that_comes_too_late_or_is_of_no_use_changes_nothing() -> None:
    async def test() -> None:
        for past in (
            Recorded(WARM_WITHIN_S + 1.0, lived_through(0.5)),
            Recorded(1.0, None),
            Recorded(1.0, b"nonsense"),
        ):
            one = World(4, past)
            await one.run(until_s=WARM_WITHIN_S + 20.0)
            assert not one.begun
            assert not any(has_past(decision) for _, decision in one.decided[:20])
            assert [round(at_s) for at_s, _ in one.decided[-2:]] == [WARM_WITHIN_S + 10, WARM_WITHIN_S + 15]

    virtual(test)


def test_a_service_with_learned_state_asks_for_no_past() -> None:
    async def test() -> None:
        store, past = MemoryStore(), Recorded(0.0, None)
        await store.save(CHAT, lived_through(0.5), 1_000_000.0)
        one = World(4, past, store)
        await one.loop.restore()
        await one.run(until_s=6.0)
        assert past.asked == []

    virtual(test)
