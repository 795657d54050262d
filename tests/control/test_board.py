"""The board: what KEDA may be told right now."""

from __future__ import annotations

from dataclasses import replace

from autoscaler.control.board import Board
from autoscaler.core.records import (
    Decision,
    Mode,
    Observation,
    Reason,
    Replica,
    ReplicaPhase,
    RoleDecision,
    RoleObservation,
    ServiceId,
    ServiceSpec,
    TargetId,
)

CHAT = ServiceId("default", "chat")
TARGET = TargetId(CHAT)


def observed(replicas: int | None) -> Observation:
    listed = None if replicas is None else tuple(Replica(f"r{i}", ReplicaPhase.READY) for i in range(replicas))
    return Observation(ServiceSpec(CHAT, period_s=5.0, hold_limit_s=600.0), (RoleObservation("", listed),))


def decided(at_s: float, replicas: int, *, active: bool = True, mode: Mode = Mode.NORMAL) -> Decision:
    return Decision(CHAT, at_s, mode, active, (RoleDecision("", replicas, (Reason("floor", "x"),)),))


def test_a_target_never_decided_has_no_answer() -> None:
    assert Board().answer(TARGET, 100.0) is None


def test_an_unknown_role_has_no_answer() -> None:
    board = Board()
    board.publish(observed(2), decided(100.0, 3), 0.001)
    assert board.answer(TargetId(CHAT, "prefill"), 101.0) is None


def test_a_fresh_decision_is_answered_as_it_stands() -> None:
    board = Board()
    board.publish(observed(2), decided(100.0, 3), 0.001)
    answer = board.answer(TARGET, 115.0)  # exactly three periods old
    assert answer is not None
    assert (answer.mode, answer.active, answer.replicas) == (Mode.NORMAL, True, 3)


def test_a_decision_older_than_three_periods_is_held_and_never_below_what_is_listed() -> None:
    board = Board()
    board.publish(observed(5), decided(100.0, 3), 0.001)
    answer = board.answer(TARGET, 115.1)
    assert answer is not None
    assert (answer.mode, answer.active, answer.replicas) == (Mode.HOLD, True, 5)
    assert answer.reasons[0].code == "stale_decision"


def test_a_stale_decrease_that_the_cluster_has_taken_over_is_not_taken_back_while_replicas_leave() -> None:
    board, seen = Board(), observed(8)
    for told, held in ((2, 2), (5, 5), (8, 8), (1, 2)):
        board.publish(replace(seen, roles=(replace(seen.roles[0], spec_replicas=told),)), decided(100.0, 2), 0.001)
        answer = board.answer(TARGET, 130.0)
        assert answer is not None
        assert (answer.mode, answer.active, answer.replicas) == (Mode.HOLD, True, held)


def test_a_stale_scale_down_to_zero_is_not_carried_out_while_replicas_are_listed() -> None:
    board = Board()
    board.publish(observed(2), decided(100.0, 0, active=False), 0.001)
    answer = board.answer(TARGET, 130.0)
    assert answer is not None
    assert (answer.active, answer.replicas) == (True, 2)


def test_a_confident_zero_stays_zero_while_the_loop_is_late() -> None:
    board = Board()
    board.publish(observed(0), decided(100.0, 0, active=False), 0.001)
    answer = board.answer(TARGET, 130.0)
    assert answer is not None
    assert (answer.mode, answer.active, answer.replicas) == (Mode.HOLD, False, 0)


def test_past_the_hold_limit_the_answer_is_unknown() -> None:
    board = Board()
    board.publish(observed(2), decided(100.0, 3), 0.001)
    answer = board.answer(TARGET, 701.0)
    assert answer is not None
    assert answer.mode is Mode.UNKNOWN


def test_an_unreadable_list_keeps_the_count_last_listed() -> None:
    board = Board()
    board.publish(observed(6), decided(100.0, 3), 0.001)
    board.publish(observed(None), decided(105.0, 3), 0.001)
    answer = board.answer(TARGET, 130.0)
    assert answer is not None
    assert answer.replicas == 6


async def test_a_watcher_sees_every_decision_of_its_service_and_leaves_nothing_behind() -> None:
    board = Board()
    with board.watch(CHAT) as event:
        assert not event.is_set()
        board.publish(observed(1), decided(100.0, 1), 0.001)
        assert event.is_set()
    assert len(board._watchers) == 0
