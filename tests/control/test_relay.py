"""The relay, the triggers heard, and the hand-over: what the next owner knows is what the last one knew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.config.records import ListKind, ReplicaList, ServiceSettings, TargetSettings
from autoscaler.control.board import Board, Standing
from autoscaler.control.directory import Directory
from autoscaler.control.handover import not_below, take_up
from autoscaler.control.relay import MOST_SINCE, Kind, Log, Observed, Relay
from autoscaler.control.triggers import Heard, HeardTriggers
from autoscaler.core import Planner
from autoscaler.core.errors import ConfigError
from autoscaler.core.records import Decision, Mode, Observation, RoleDecision, RoleObservation, ServiceId, ServiceSpec
from autoscaler.core.snapshot import SnapshotError
from autoscaler.ports import Saved
from tests.fakes.observations import CHAT, Fleet

SPEC = ServiceSpec(CHAT)


def decided(at_s: float, replicas: int, *, active: bool = True, mode: Mode = Mode.NORMAL) -> Decision:
    return Decision(CHAT, at_s, mode, active, (RoleDecision("", replicas),))


def standing(at_s: float, replicas: int, *, active: bool = True, mode: Mode = Mode.NORMAL) -> Standing:
    return Standing(decided(at_s, replicas, active=active, mode=mode), {"": 2}, 5.0, 600.0)


class Clock:
    """A clock that the test sets."""

    def __init__(self, now: float = 1000.0) -> None:
        self.at_s = now

    def now(self) -> float:
        return self.at_s

    async def sleep(self, delay_s: float) -> None:
        self.at_s += delay_s

    def wall_s(self, delay_s: float) -> float:
        return delay_s


# --- the log of learned state ----------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["snapshot", "observation", "read"]), max_size=40))
def test_whatever_the_order_of_writing_and_reading_a_listener_ends_with_the_owners_log(steps: list[str]) -> None:
    owner, follower = Relay(Board()), Relay(Board())

    def read() -> None:
        for kind, service in subscription.take():
            assert (kind, service) == (Kind.LEARNED, CHAT)
            log = owner.log(CHAT)
            assert log is not None
            saved, since = subscription.missing(CHAT, log)
            if saved is not None:
                follower.keep(CHAT, saved)
            for observed in since:
                follower.append(CHAT, observed)

    with owner.listen() as subscription:
        for number, step in enumerate(steps):
            if step == "snapshot":
                owner.keep(CHAT, Saved(float(number), b"s%d" % number))
            elif step == "observation":
                owner.append(CHAT, Observed(float(number), b"o%d" % number))
            else:
                read()
        read()
    mine, theirs = owner.log(CHAT), follower.log(CHAT)
    assert (mine is None) == (theirs is None)
    if mine is not None and theirs is not None:
        assert (theirs.saved, theirs.since) == (mine.saved, mine.since)


def test_a_log_is_not_kept_while_nobody_listens_because_a_gap_would_lie() -> None:
    relay = Relay(Board())
    relay.keep(CHAT, Saved(1.0, b"s"))
    relay.publish(Observation(SPEC, (RoleObservation("", ()),)), decided(2.0, 1), 0.0)
    assert relay.log(CHAT) is None
    assert not relay.wants_snapshot(CHAT)


def test_a_listener_makes_the_next_decision_ask_for_a_snapshot_and_a_log_that_grows_long_for_another() -> None:
    relay = Relay(Board())
    with relay.listen():
        assert relay.wants_snapshot(CHAT)
        relay.keep(CHAT, Saved(1.0, b"s"))
        for number in range(MOST_SINCE):
            assert not relay.wants_snapshot(CHAT)
            relay.publish(Observation(SPEC, (RoleObservation("", ()),)), decided(2.0 + number, 1), 0.0)
        assert relay.wants_snapshot(CHAT)


# --- hand-over -------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    rates=st.lists(st.floats(0.0, 60.0), min_size=3, max_size=30),
    held=st.lists(st.sampled_from([0.0, 0.0, 5.0]), min_size=30, max_size=30),
    saved_at=st.integers(0, 29),
    count=st.integers(0, 8),
)
def test_who_takes_over_decides_exactly_as_the_old_owner_would_have(
    rates: list[float], held: list[float], saved_at: int, count: int
) -> None:
    fleet, owner, relay = Fleet(), Planner(), Relay(Board())
    with relay.listen():
        for i, rate in enumerate(rates):
            now = fleet.start_s + 5.0 * i
            observation = fleet.observe(now, count, rate, held=held[i])
            relay.publish(observation, owner.observe(observation, now), 0.0)
            if i == min(saved_at, len(rates) - 1):
                relay.keep(CHAT, Saved(now, owner.snapshot()))
    log = relay.log(CHAT)
    assert log is not None
    heir = Planner()
    take_up(heir, log)
    assert heir.snapshot() == owner.snapshot()
    now = fleet.start_s + 5.0 * len(rates) + 17.0
    observation = fleet.observe(now, count, rates[-1], dt_s=22.0)
    assert heir.observe(observation, now) == owner.observe(observation, now)


def test_an_observation_of_another_version_ends_the_replay_and_what_came_before_counts() -> None:
    fleet, owner = Fleet(), Planner()
    owner.observe(fleet.observe(fleet.start_s, 2, 3.0), fleet.start_s)
    before = owner.snapshot()
    log = Log(1, Saved(fleet.start_s, before), [Observed(fleet.start_s + 5.0, json.dumps({"new": 1}).encode())])
    heir = Planner()
    assert take_up(heir, log) is None
    assert heir.snapshot() == before
    with pytest.raises(SnapshotError):
        take_up(heir, Log(2, Saved(0.0, b"another version")))
    assert heir.snapshot() == before


def test_a_new_owner_lets_nothing_fall_below_what_was_answered_for_three_periods() -> None:
    before = standing(100.0, 12)
    raised = not_below(decided(110.0, 5), before, 110.0)
    assert raised is not None
    assert raised.roles[0].replicas == 12
    assert raised.reasons[-1].code == "handover"
    assert dict(raised.reasons[-1].numbers) == {"decided": 5.0}
    assert not_below(decided(116.0, 5), before, 116.0) == decided(116.0, 5)
    assert not_below(decided(110.0, 15), before, 110.0) == decided(110.0, 15)


def test_a_new_owner_does_not_put_an_active_service_to_zero_at_once() -> None:
    raised = not_below(decided(110.0, 0, active=False), standing(100.0, 3), 110.0)
    assert raised is not None
    assert (raised.active, raised.roles[0].replicas) == (True, 3)


def test_a_new_owner_that_knows_nothing_says_nothing_while_the_last_answer_may_be_held() -> None:
    unknown = decided(110.0, 0, active=False, mode=Mode.UNKNOWN)
    assert not_below(unknown, standing(100.0, 12), 110.0) is None
    assert not_below(unknown, standing(100.0, 12), 701.0) == unknown
    assert not_below(unknown, None, 110.0) == unknown


# --- the board of a follower -----------------------------------------------------------------------------------------


def test_an_older_standing_is_not_taken_and_one_from_the_future_is_overruled() -> None:
    board = Board()
    assert board.take(standing(100.0, 7), 101.0)
    assert not board.take(standing(95.0, 3), 101.0)
    assert board.take(standing(105.0, 8), 106.0)
    assert board.take(standing(500.0, 9), 107.0)  # somebody's clock was ahead
    assert board.take(standing(110.0, 6), 111.0)
    assert board.services() == (CHAT,)


# --- triggers --------------------------------------------------------------------------------------------------------


class Replica:
    """What one replica has heard."""

    def __init__(self, clock: Clock) -> None:
        target = TargetSettings("", ReplicaList(ListKind.STATIC))
        self.directory = Directory([ServiceSettings(SPEC, (target,))])
        self.told: list[object] = []
        self.triggers = HeardTriggers(self.directory, clock, self.told.append)

    def most(self) -> int:
        return self.directory.spec(CHAT).roles[0].max_replicas

    def show(self, metadata: Mapping[str, str]) -> None:
        self.triggers.resolve("default", "chat", metadata)


def test_a_trigger_is_told_when_it_changes_and_not_when_it_is_shown_again() -> None:
    clock = Clock()
    one = Replica(clock)
    for most in ("5", "5", "7", "5"):
        one.show({"maxReplicas": most})
        clock.at_s += 15.0
    assert len(one.told) == 3
    assert one.most() == 5


def test_the_trigger_that_keda_showed_last_counts_whoever_was_shown_it() -> None:
    clock = Clock()
    owner, old = Replica(clock), Replica(clock)
    old.show({"maxReplicas": "5"})
    clock.at_s = 1100.0
    owner.show({"maxReplicas": "9"})
    (key,) = old.triggers.keys()
    heard = old.triggers.get(key)
    assert heard is not None
    assert not owner.triggers.take(heard)
    assert owner.most() == 9
    newer = owner.triggers.get(key)
    assert newer is not None
    assert old.triggers.take(newer)
    assert old.most() == 9
    assert not old.triggers.take(newer)  # and an echo changes nothing


def test_a_trigger_that_names_nothing_here_is_left_to_the_replica_that_keda_called() -> None:
    one = Replica(Clock())
    assert not one.triggers.take(Heard("default", "nobody", (), 2000.0))
    with pytest.raises(ConfigError):
        one.triggers.resolve("default", "nobody", {})
    assert one.triggers.keys() == ()


def test_two_services_do_not_share_a_log() -> None:
    relay, other = Relay(Board()), ServiceId("default", "other")
    with relay.listen() as subscription:
        relay.keep(CHAT, Saved(1.0, b"a"))
        relay.keep(other, Saved(1.0, b"b"))
        for kind, service in subscription.take():
            assert kind is Kind.LEARNED
            assert isinstance(service, ServiceId)
            log = relay.log(service)
            assert log is not None
            assert subscription.missing(service, replace(log)) == (log.saved, [])
