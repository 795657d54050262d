"""How long a start takes, and which replicas on their way are capacity."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoscaler.core import Planner
from autoscaler.core.records import Replica, ReplicaPhase, RoleObservation
from autoscaler.core.starting import STUCK, Lead, lead_of, stuck_reason
from autoscaler.core.tracking import Tracked, observe_role
from tests.fakes.observations import Fleet, run

T0 = 1_000_000.0
MEASURED = Lead(120.0, node_s=60.0, measured=True)


def coming(age_s: float, node_after_s: float | None = 0.0) -> Replica:
    scheduled_s = None if node_after_s is None else T0 - age_s + node_after_s
    phase = ReplicaPhase.PENDING if scheduled_s is None else ReplicaPhase.STARTING
    return Replica("c", phase, T0 - age_s, scheduled_s)


def test_a_replica_that_began_a_minute_ago_serves_a_minute_before_one_asked_for_now() -> None:
    assert MEASURED.served_s(coming(60.0), T0) == 60.0
    assert MEASURED.served_s(coming(150.0), T0) == 120.0  # overdue, as one start in ten


def test_a_replica_without_a_node_has_all_of_its_start_before_it() -> None:
    # Created 100 s ago and still without a node, it was counted as if it served in 20 s; it loads for 60 from then.
    assert MEASURED.served_s(coming(100.0, None), T0) == 60.0


def test_a_replica_that_should_have_served_long_ago_is_no_capacity() -> None:
    # Four that waited for a node for two hours stood for 560 requests worked off.
    for stuck in (coming(7200.0, None), coming(STUCK * 120.0 + 1.0)):
        assert MEASURED.is_stuck(stuck, T0)
        assert MEASURED.served_s(stuck, T0) == 0.0
    assert not MEASURED.is_stuck(coming(STUCK * 120.0), T0)


def test_before_a_start_was_measured_nothing_is_stuck_for_twenty_minutes() -> None:
    # A lead time that is only assumed says 120 s; a first start with images to pull takes ten minutes.
    assert not Lead(120.0).is_stuck(coming(1200.0), T0)
    assert Lead(120.0).is_stuck(coming(1201.0), T0)
    assert not Lead(900.0).is_stuck(coming(1800.0), T0)


def test_stuck_replicas_are_named_with_their_numbers() -> None:
    reason = stuck_reason(MEASURED, [coming(30.0), coming(500.0), coming(700.0, None)], T0)
    assert reason is not None
    assert reason.text == (
        "2 replicas do not serve after 700 s, 1 of them without a node, where a start takes 120 s: not counted on"
    )
    assert dict(reason.numbers) == {"stuck": 2.0, "without_node": 1.0, "lead_time_s": 120.0}
    assert stuck_reason(MEASURED, [coming(200.0)], T0) is None


def test_the_wait_for_a_node_is_learned_apart_from_the_start_of_the_pod() -> None:
    tracked = Tracked()
    for place in range(10):
        begun = T0 + 1000.0 * place
        made = Replica(f"r{place}", ReplicaPhase.PENDING, begun)
        ready = replace(
            made, phase=ReplicaPhase.READY, scheduled_at_s=begun + 30.0 + place, ready_at_s=begun + 100.0 + 2 * place
        )
        for at_s, one in ((begun, made), (begun + 130.0, ready)):
            seen = Fleet().observe(at_s, 1, 0.0).roles[0].replicas
            assert seen is not None
            sample = seen[0].sample if one is ready else None
            observe_role(tracked, RoleObservation("", (replace(one, sample=sample),)), at_s, 15.0, (3.0, 0.06))
    assert lead_of(tracked, 60.0) == Lead(100.0 + 2 * 8, node_s=30.0 + 8, measured=True)


def test_until_a_start_was_seen_the_lead_time_is_the_prior() -> None:
    assert lead_of(Tracked(), 90.0) == Lead(90.0)


@pytest.mark.parametrize(("age_s", "counted"), [(60.0, True), (7200.0, False)])
def test_stuck_replicas_do_not_work_off_a_backlog(age_s: float, counted: bool) -> None:
    """One of 8 serves, 7 have a start behind them or hang for two hours: only then more are asked for."""
    fleet, planner = Fleet(), Planner()
    run(planner, fleet, [1.0] * 60, 1)
    at_s = T0 + 300.0
    seen = fleet.observe(at_s, 1, 1.0)
    (ready,) = seen.roles[0].replicas or ()
    assert ready.sample is not None
    flooded = replace(ready, sample=replace(ready.sample, waiting=900.0))
    others = tuple(Replica(f"c{k}", ReplicaPhase.PENDING, at_s - age_s) for k in range(7))
    state = planner._state.roles[""].tracked
    state.starts_s = [120.0] * 5
    decision = planner.observe(replace(seen, roles=(RoleObservation("", (flooded, *others)),)), at_s).roles[0]
    codes = {reason.code for reason in decision.reasons}
    assert ("stuck" in codes) is not counted
    assert ("backlog" in codes) is not counted
