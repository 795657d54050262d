"""The planner's rules, each by its sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoscaler.core import Planner
from autoscaler.core.records import (
    HeldReading,
    Mode,
    Observation,
    Replica,
    ReplicaPhase,
    RoleObservation,
    RoleSpec,
    ServiceMode,
    Wake,
)
from autoscaler.core.snapshot import SnapshotError
from tests.fakes.observations import CHAT, ROLE, SPEC, Fleet, run, without_samples

T0 = 1_000_000.0


def empty(at_s: float, *, held: float | None = 0.0, spec: object = SPEC, wakes: tuple[Wake, ...] = ()) -> Observation:
    readings = (HeldReading("gw", at_s, held),) if held is not None else ()
    return Observation(spec, (RoleObservation("", ()),), readings, wakes)  # type: ignore[arg-type]


def codes(decision: object) -> set[str]:
    roles = decision.roles  # type: ignore[attr-defined]
    return {r.code for role in roles for r in role.reasons} | {r.code for r in decision.reasons}  # type: ignore[attr-defined]


def test_a_list_that_was_never_read_is_unknown_and_not_zero() -> None:
    decision = Planner().observe(Observation(SPEC, (RoleObservation("", None),)), T0)
    assert decision.mode is Mode.UNKNOWN


def test_an_empty_list_read_successfully_is_a_known_zero() -> None:
    decision = Planner().observe(empty(T0), T0)
    assert (decision.mode, decision.active, decision.roles[0].replicas) == (Mode.NORMAL, False, 0)


def test_at_zero_with_a_silent_wake_source_nothing_is_claimed() -> None:
    assert Planner().observe(empty(T0, held=None), T0).mode is Mode.UNKNOWN


def test_a_held_request_wakes_at_once() -> None:
    planner = Planner()
    planner.observe(empty(T0), T0)
    decision = planner.observe(empty(T0 + 1, held=1.0), T0 + 1)
    assert decision.active
    assert decision.roles[0].replicas >= 1
    assert decision.next_in_s == 1.0


def test_a_burst_held_at_zero_asks_for_what_it_needs_and_not_for_one() -> None:
    planner = Planner()
    planner.observe(empty(T0), T0)
    decision = planner.observe(empty(T0 + 1, held=200.0), T0 + 1)
    assert decision.roles[0].replicas >= 4
    assert "backlog" in codes(decision)


def test_a_wake_of_the_api_is_obeyed_until_it_expires() -> None:
    planner = Planner()
    planner.observe(empty(T0), T0)
    wake = (Wake(3, T0 + 300),)
    assert planner.observe(empty(T0 + 5, wakes=wake), T0 + 5).roles[0].replicas == 3
    assert not planner.observe(empty(T0 + 400, wakes=wake), T0 + 400).active


def test_without_a_wake_source_the_floor_is_one() -> None:
    spec = replace(SPEC, has_wake_source=False)
    decision = Planner().observe(empty(T0, held=None, spec=spec), T0)
    assert (decision.active, decision.roles[0].replicas) == (True, 1)
    assert "no_wake_source" in codes(decision)


def test_the_operator_may_say_that_there_is_no_way_back_from_zero() -> None:
    spec = replace(SPEC, has_wake_source=False, zero_without_wake_source=True)
    assert not Planner().observe(empty(T0, held=None, spec=spec), T0).active


def test_a_serving_target_without_history_is_held_on_first_sight() -> None:
    decision = Planner().observe(Fleet().observe(T0, 4, 0.0), T0)
    assert (decision.active, decision.roles[0].replicas) == (True, 4)
    assert "first_sight" in codes(decision)


def test_what_serves_at_first_sight_is_kept_until_a_window_and_a_rehearsal_are_known() -> None:
    # With a start of 60 s 5 replicas became 3 after a minute and 5 again three minutes later, for 2.5 points.
    counts = [decision.roles[0].replicas for decision in run(Planner(), Fleet(), [2.0] * 150, 5)]
    assert set(counts[:60]) == {5}
    assert counts[-1] < 5


def test_what_we_asked_for_ourselves_is_no_first_sight() -> None:
    # Woken to 7, of which 5 were too many: only the two that were found serving are kept for five minutes.
    wake = (Wake(7, T0 + 20.0),)
    fleet, planner = Fleet(), Planner()
    planner.observe(fleet.observe(T0, 2, 0.0), T0)
    at_s = [T0 + 5.0 * tick for tick in range(1, 8)]
    counts = [planner.observe(replace(fleet.observe(now, 7, 0.0), wakes=wake), now).roles[0].replicas for now in at_s]
    assert counts == [7, 7, 7, 2, 2, 2, 2]


def test_one_missed_page_takes_nothing_for_unseen() -> None:
    # A replica is scraped from the decision after it became ready on: one blind moment kept surplus for 200 s.
    fleet, planner = Fleet(), Planner()
    at_s = run(planner, fleet, [3.0] * 200, 4)[-1].at_s + 5.0
    planner.observe(without_samples(fleet.observe(at_s, 4, 3.0)), at_s)
    decision = planner.observe(fleet.observe(at_s + 5.0, 4, 3.0), at_s + 5.0)
    assert "settling" not in codes(decision)
    for tick in range(2, 8):
        planner.observe(without_samples(fleet.observe(at_s + 5.0 * tick, 8, 3.0)), at_s + 5.0 * tick)
    after_s = at_s + 40.0
    planner.observe(fleet.observe(after_s, 4, 0.5), after_s)
    assert planner.snapshot().count(b'"settled_at_s":%d' % (after_s + 200.0)) == 1


def test_an_idle_target_goes_to_zero_after_its_keep_warm_time_and_not_before() -> None:
    fleet = Fleet(spec=replace(SPEC, keep_warm_s=60.0))
    decisions = run(Planner(), fleet, [0.0] * 16, 2)
    assert [d.active for d in decisions] == [True] * 12 + [False] * 4


def test_a_loading_replica_is_never_taken_for_idle() -> None:
    planner = Planner()
    loading = RoleObservation("", (Replica("r0", ReplicaPhase.STARTING, T0),))
    for i in range(200):
        at_s = T0 + 5 * i
        decision = planner.observe(Observation(SPEC, (loading,), (HeldReading("gw", at_s, 0.0),)), at_s)
        assert decision.active


@pytest.mark.parametrize("leaving", ["refuses", "times out"])
def test_a_replica_that_is_removed_after_a_zero_wakes_nothing_while_a_list_still_names_it(leaving: str) -> None:
    # Under the real KEDA, with a list read every 5 s: 1 -> 0 by the poll, 0 -> 1 five seconds later, and so on.
    fleet, planner = Fleet(spec=replace(SPEC, keep_warm_s=20.0)), Planner()
    assert not run(planner, fleet, [0.0] * 8, 1)[-1].active
    gone = Replica("r0#1", ReplicaPhase.STARTING, T0 + 41, failure="nothing listens there", restarts=1)
    if leaving == "times out":
        gone = Replica("r0", ReplicaPhase.READY, T0 - 60, sample=fleet.sample("r0", T0, 0.0, 0.0), failure="no answer")
    for at_s in (T0 + 45, T0 + 50):
        seen = Observation(fleet.spec, (RoleObservation("", (gone,)),), (HeldReading("gw", at_s, 0.0),))
        assert not planner.observe(seen, at_s).active


def test_a_replica_that_restarts_while_it_is_wanted_is_waited_for() -> None:
    fleet, planner = Fleet(spec=replace(SPEC, keep_warm_s=20.0)), Planner()
    assert run(planner, fleet, [1.0] * 8, 1)[-1].active
    again = Replica("r0#1", ReplicaPhase.STARTING, T0 + 41, failure="nothing listens there", restarts=1)
    for i in range(20):
        at_s = T0 + 45 + 5 * i
        seen = Observation(fleet.spec, (RoleObservation("", (again,)),), (HeldReading("gw", at_s, 0.0),))
        assert planner.observe(seen, at_s).active


def test_blind_it_holds_what_is_there_and_unknown_only_after_the_limit() -> None:
    fleet, planner = Fleet(), Planner()
    last = run(planner, fleet, [5.0] * 40, 5)[-1]
    blind = without_samples(fleet.observe(T0, 5, 0.0))
    for after_s in (5.0, 300.0, 590.0):
        decision = planner.observe(blind, T0 + 200 + after_s)
        assert decision.mode is Mode.HOLD
        assert decision.active
        assert decision.roles[0].replicas == max(5, last.roles[0].replicas)
    assert planner.observe(blind, T0 + 200 + 700).mode is Mode.UNKNOWN


def test_a_blackout_right_after_a_decrease_neither_takes_it_back_nor_goes_below_what_the_scale_says() -> None:
    """8 replicas under almost nothing come down to 2; pages go dark while 6 are still listed."""
    fleet = Fleet(spec=replace(SPEC, roles=(replace(ROLE, min_replicas=2),)))
    planner = Planner()
    rates = [4.0] * 60 + [0.05] * 300
    last = run(planner, fleet, rates, 8)[-1].roles[0].replicas
    assert last == 2
    dark_s = T0 + 5.0 * len(rates)
    dark = without_samples(fleet.observe(dark_s, 8, 1.0)).roles[0]

    def held(spec: int | None, status: int | None) -> int:
        again = Planner()
        again.restore(planner.snapshot())
        role = replace(dark, spec_replicas=spec, status_replicas=status)
        decision = again.observe(Observation(fleet.spec, (role,)), dark_s)
        assert (decision.mode, decision.active) == (Mode.HOLD, True)
        return decision.roles[0].replicas

    assert held(spec=2, status=8) == 2  # taken over: what is beyond it leaves
    assert held(spec=8, status=8) == 8  # not taken over yet: what is there stays
    assert held(spec=5, status=8) == 5  # the HPA goes down in steps: it is not sent up again
    assert held(spec=1, status=8) == 2  # somebody else went lower: never below what was asked
    assert held(spec=None, status=None) == 8  # nobody can tell


def test_a_blackout_right_after_an_increase_keeps_the_increase() -> None:
    fleet, planner = Fleet(), Planner()
    last = run(planner, fleet, [10.0] * 60, 2)[-1].roles[0].replicas
    assert last > 3
    dark_s = T0 + 300.0
    dark = replace(without_samples(fleet.observe(dark_s, 2, 1.0)).roles[0], spec_replicas=2, status_replicas=2)
    assert planner.observe(Observation(fleet.spec, (dark,)), dark_s).roles[0].replicas == last


def test_a_partly_blind_fleet_is_not_shrunk() -> None:
    fleet, planner = Fleet(), Planner()
    before = run(planner, fleet, [7.0] * 60, 6)[-1].roles[0].replicas
    for i in range(60):
        at_s = T0 + 300 + 5 * i
        seen = fleet.observe(at_s, 6, 0.0)
        replicas = seen.roles[0].replicas
        assert replicas is not None
        lame = (replace(replicas[0], sample=None, failure="timeout"), *replicas[1:])
        decision = planner.observe(replace(seen, roles=(RoleObservation("", lame),)), at_s)
        assert decision.roles[0].replicas >= before


def test_after_the_dark_nothing_is_taken_away_until_a_whole_window_was_seen_again() -> None:
    """2 req/s where 10 were, then five minutes in which no page answered: the surplus goes 200 s later, not at once."""
    fleet, planner = Fleet(), Planner()
    before = run(planner, fleet, [10.0] * 240, 8)[-1].roles[0].replicas
    run(planner, fleet, [2.0] * 60, 8, T0 + 1200)
    for i in range(60):
        planner.observe(without_samples(fleet.observe(T0 + 1500 + 5 * i, 8, 2.0)), T0 + 1500 + 5 * i)
    after = run(planner, fleet, [2.0] * 160, 8, T0 + 1800)
    counts = [decision.roles[0].replicas for decision in after]
    assert set(counts[:40]) == {before}
    assert "settling" in codes(after[39])
    assert counts[-1] <= before // 2


def test_what_was_wanted_before_the_dark_is_kept_for_as_long_as_if_there_had_been_none() -> None:
    """Five minutes in which no page answered are not five of the eight for which a surplus replica is kept."""
    fleet, planner = Fleet(), Planner()
    before = run(planner, fleet, [10.0] * 240, 8)[-1].roles[0].replicas
    for i in range(60):
        planner.observe(without_samples(fleet.observe(T0 + 1200 + 5 * i, 8, 2.0)), T0 + 1200 + 5 * i)
    counts = [one.roles[0].replicas for one in run(planner, fleet, [2.0] * 200, 8, T0 + 1500)]
    assert set(counts[:60]) == {before}
    assert counts[-1] <= before // 2


def test_a_restored_planner_takes_nothing_away_before_it_saw_a_whole_window() -> None:
    fleet, planner = Fleet(), Planner()
    before = run(planner, fleet, [10.0] * 240, 8)[-1].roles[0].replicas
    quiet = run(planner, fleet, [2.0] * 70, 8, T0 + 1200)  # nearly as long as a surplus replica is kept
    assert quiet[-1].roles[0].replicas == before
    again = Planner()
    again.restore(planner.snapshot())
    after = run(again, fleet, [2.0] * 160, 8, T0 + 1550 + 30)
    counts = [decision.roles[0].replicas for decision in after]
    assert set(counts[:40]) == {before}
    assert counts[-1] <= before // 2


def test_counters_that_begin_anew_are_not_read_as_quiet() -> None:
    """All eight servers' counters start from zero: the rate stays within 3 %, and nothing is taken away for 200 s."""
    fleet, planner = Fleet(), Planner()
    last = run(planner, fleet, [10.0] * 240, 8)[-1]
    fleet.counters.clear()
    after = run(planner, fleet, [10.0] * 60, 8, T0 + 1200)
    assert all(one.roles[0].replicas >= last.roles[0].replicas for one in after)
    assert min(one.estimates[0].arrivals_rps for one in after) == pytest.approx(10.0, rel=0.03)


def test_load_above_capacity_is_answered_at_once_and_in_one_step() -> None:
    fleet, planner = Fleet(), Planner()
    before = run(planner, fleet, [2.0] * 60, 3)[-1].roles[0].replicas
    after = run(planner, fleet, [12.0] * 13, 3, T0 + 300)[-1].roles[0].replicas
    assert before <= 3
    assert after >= 7


def test_a_surplus_replica_stays_for_the_break_even_time_of_a_start() -> None:
    fleet, planner = Fleet(), Planner()
    high = run(planner, fleet, [10.0] * 60, 8)[-1].roles[0].replicas
    low = run(planner, fleet, [2.0] * 240, 8, T0 + 300)
    counts = [d.roles[0].replicas for d in low]
    assert set(counts[:9]) == {high}  # 40 s later, with a lead time of 45 s
    assert counts[-1] <= 0.5 * high


def test_bounds_name_themselves() -> None:
    spec = replace(SPEC, roles=(replace(ROLE, max_replicas=2),))
    decision = run(Planner(), Fleet(spec=spec), [10.0] * 30, 2)[-1]
    assert decision.roles[0].replicas == 2
    assert "max_replicas" in codes(decision)
    spec = replace(SPEC, roles=(replace(ROLE, min_replicas=3),))
    decision = run(Planner(), Fleet(spec=spec), [0.1] * 90, 3)[-1]
    assert decision.roles[0].replicas == 3
    assert "min_replicas" in codes(decision)


def test_a_quota_reaches_the_decision() -> None:
    fleet, planner = Fleet(), Planner()
    run(planner, fleet, [10.0] * 30, 4)
    seen = fleet.observe(T0 + 150, 4, 10.0)
    role = replace(seen.roles[0], max_replicas_now=5)
    decision = planner.observe(replace(seen, roles=(role,)), T0 + 150)
    assert decision.roles[0].replicas == 5
    assert "max_replicas_now" in codes(decision)


def test_shadow_decides_and_says_so() -> None:
    assert run(Planner(), Fleet(spec=replace(SPEC, mode=ServiceMode.SHADOW)), [1.0], 1)[-1].mode is Mode.SHADOW


def test_the_lead_time_is_what_was_measured() -> None:
    planner = Planner()
    planner.observe(empty(T0), T0)
    planner.observe(empty(T0 + 1, held=5.0), T0 + 1)
    starting = RoleObservation("", (Replica("r0", ReplicaPhase.STARTING, T0 + 4),))
    planner.observe(Observation(SPEC, (starting,), (HeldReading("gw", T0 + 5, 5.0),)), T0 + 5)
    fleet = Fleet()
    sample = fleet.sample("r0", T0 + 35, 1.0, 1.0)
    ready = RoleObservation("", (Replica("r0", ReplicaPhase.READY, T0 + 4, None, T0 + 34, sample),))
    decision = planner.observe(Observation(SPEC, (ready,), (HeldReading("gw", T0 + 35, 0.0),)), T0 + 35)
    assert decision.estimates[0].lead_time_s == pytest.approx(30.0 + 3.0)  # created to ready, decision to created


def test_two_roles_are_sized_apart_and_go_to_zero_together() -> None:
    roles = (replace(ROLE, role="prefill"), replace(ROLE, role="decode"))
    spec = replace(SPEC, roles=roles, keep_warm_s=30.0)
    fleets = {"prefill": Fleet(output=1.0), "decode": Fleet()}
    planner = Planner()

    def observe(at_s: float, rate_rps: float) -> object:
        seen = tuple(replace(fleet.observe(at_s, 4, rate_rps).roles[0], role=name) for name, fleet in fleets.items())
        return planner.observe(Observation(spec, seen, (HeldReading("gw", at_s, 0.0),)), at_s)

    for i in range(90):
        busy = observe(T0 + 5 * i, 12.0)
    counts = {role.role: role.replicas for role in busy.roles}  # type: ignore[attr-defined]
    assert counts.keys() == {"prefill", "decode"}
    assert counts["prefill"] != counts["decode"]
    restored = Planner()
    restored.restore(planner.snapshot())
    for i in range(30):
        idle = observe(T0 + 450 + 5 * i, 0.0)
    assert not idle.active  # type: ignore[attr-defined]
    assert [role.replicas for role in idle.roles] == [0, 0]  # type: ignore[attr-defined]


def test_a_stopped_workload_is_neither_an_error_nor_a_wish() -> None:
    stopped = Observation(SPEC, (RoleObservation("", (), stopped=True),))
    decision = Planner().observe(stopped, T0)
    assert (decision.mode, decision.active) == (Mode.HOLD, False)


def test_a_foreign_snapshot_is_refused_and_changes_nothing() -> None:
    planner = Planner()
    run(planner, Fleet(), [3.0] * 10, 2)
    before = planner.snapshot()
    for bad in (b"not json", b"{}", b'{"kind":"llm-autoscaler/planner","version":99,"state":{}}', before[:-2]):
        with pytest.raises(SnapshotError):
            planner.restore(bad)
    assert planner.snapshot() == before


def test_an_unknown_role_name_in_a_spec_only_sizes_that_role() -> None:
    spec = replace(SPEC, roles=(RoleSpec("decode", prior="no such prior"),))
    seen = Observation(spec, (RoleObservation("decode", ()),), (HeldReading("gw", T0, 3.0),))
    assert Planner().observe(seen, T0).roles[0].replicas >= 1
    assert CHAT.name == "chat"


def test_requests_that_were_held_too_long_are_made_up_for() -> None:
    planner, arrivals = Planner(), 0.0
    planner.observe(empty(T0), T0)
    for i in range(1, 60):
        arrivals += 5.0
        reading = (HeldReading("gw", T0 + i, 5.0 * i, arrivals),)
        decision = planner.observe(Observation(SPEC, (RoleObservation("", ()),), reading), T0 + i)
    assert "make_up" in codes(decision)


def test_requests_at_a_time_that_the_operator_told_bound_a_replica_and_are_advised_against() -> None:
    # A server that runs four at a time carries a fraction of what its GPUs could; pages of vLLM do not tell of it.
    found = {}
    for sequences in (None, 4):
        spec = replace(SPEC, roles=(replace(ROLE, max_batched_tokens=None, max_sequences=sequences),))
        found[sequences] = run(Planner(), Fleet(spec=spec), [3.0] * 200, 3)[-1]
    told = [reason.text for reason in found[4].roles[0].reasons if reason.code == "server_advice"]
    assert len(told) == 1
    assert "requests at a time instead of 4 (vLLM: --max-num-seqs) would save about" in told[0]
    assert "server_advice" not in codes(found[None])
    assert found[4].roles[0].replicas > found[None].roles[0].replicas
