"""What sizing makes of a wake-up, of a growing fleet and of what pages tell, each by its sentence."""

from __future__ import annotations

import pytest

from autoscaler.core import Planner
from autoscaler.core.attained import Evidence
from autoscaler.core.fitting import mix_of
from autoscaler.core.records import (
    Decision,
    HeldReading,
    Histogram,
    Observation,
    Replica,
    ReplicaPhase,
    RoleObservation,
    Sample,
)
from autoscaler.core.tracking import Tracked, observe_role
from tests.fakes.observations import SPEC

T0 = 1_000_000.0
LIMITS = (3.0, 0.060)


def page(at_s: float, *, begun: float, running: float, generated: float, waiting: float = 0.0) -> Sample:
    return Sample(
        at_s,
        "vllm",
        waiting=waiting,
        running=running,
        arrivals_counter=begun,
        arrivals_pending=waiting,
        prompt_tokens=1200.0 * begun,
        generation_tokens=generated,
    )


def tracked_after(*samples: Sample) -> Tracked:
    tracked = Tracked()
    for sample in samples:
        replica = Replica("r0", ReplicaPhase.READY, sample=sample)
        observe_role(tracked, RoleObservation("", (replica,)), sample.at_s, 15.0, LIMITS)
    return tracked


def test_output_sizes_are_not_read_low_while_a_fleet_fills() -> None:
    # 150 requests of 200 tokens began, 100 of them are half-way: 20,000 tokens over 150 requests read as 133, and a
    # demo that believed 18 tokens after a wake-up asked for 16 replicas where 5 were right.
    tracked = tracked_after(
        page(T0, begun=0, running=0, generated=0),
        page(T0 + 20, begun=150, running=100, generated=50 * 200 + 100 * 100),
    )
    mix, assumed = mix_of(tracked, T0 + 20, "")
    assert not assumed
    assert mix.outputs.mean == pytest.approx(200.0, rel=0.01)
    assert mix.prompts.mean == pytest.approx(1200.0, rel=0.01)


def test_too_few_requests_leave_the_mix_assumed() -> None:
    tracked = tracked_after(
        page(T0, begun=0, running=0, generated=0), page(T0 + 20, begun=99, running=0, generated=99 * 7)
    )
    assert mix_of(tracked, T0 + 20, "")[1]


def _woken(at_s: float, held: float, arrived: float, replicas: tuple[Replica, ...]) -> Observation:
    return Observation(SPEC, (RoleObservation("", replicas),), (HeldReading("gw", at_s, held, arrived),))


def _wake(rate_rps: float, loading: int) -> Decision:
    """The decision 40 s into a wake-up at a constant rate, with some replicas asked for 30 s ago."""
    planner = Planner()
    planner.observe(_woken(T0, 0.0, 0.0, ()), T0)
    decision = None
    for i in range(1, 41):
        replicas = tuple(Replica(f"r{k}", ReplicaPhase.STARTING, T0 + 10) for k in range(loading)) if i >= 10 else ()
        decision = planner.observe(_woken(T0 + i, rate_rps * i, rate_rps * i, replicas), T0 + i)
    assert decision is not None
    return decision


def test_replicas_that_load_already_count_against_a_backlog() -> None:
    # Not counted, the demo asked for 11 replicas 59 s after its first request, kept them for 75 s and needed 5.
    assert "backlog" in {reason.code for reason in _wake(4.0, 1).roles[0].reasons}
    assert "backlog" not in {reason.code for reason in _wake(4.0, 8).roles[0].reasons}


def test_what_a_gateway_lets_go_at_once_is_not_read_as_a_rate() -> None:
    # 100 held requests reach one server within a second: counted there, 60 s of 2 req/s read as 3.7 req/s.
    planner, arrived = Planner(), 0.0
    planner.observe(_woken(T0, 0.0, 0.0, ()), T0)
    for i in range(1, 100):
        arrived += 2.0
        ready = i >= 50
        sample = page(T0 + i, begun=arrived if ready else 0.0, running=20.0, generated=arrived * 150)
        phase = ReplicaPhase.READY if ready else ReplicaPhase.STARTING
        replica = Replica("r0", phase, T0 + 5, ready_at_s=T0 + 50 if ready else None, sample=sample if ready else None)
        held = 0.0 if ready else arrived
        decision = planner.observe(_woken(T0 + i, held, arrived, (replica,)), T0 + i)
        if i > 20:
            assert decision.estimates[0].arrivals_rps == pytest.approx(2.0, rel=0.1)


def test_times_between_single_tokens_do_not_stand_in_for_the_mean_per_request() -> None:
    itl = Histogram((0.05, 0.1, float("inf")), (900.0, 950.0, 1000.0), 50.0)
    tracked = Tracked()
    for i in range(3):
        sample = Sample(T0 + i, "sglang", running=5.0, arrivals_counter=100.0 * i, itl=itl)
        observe_role(
            tracked, RoleObservation("", (Replica("r0", ReplicaPhase.READY, sample=sample),)), T0 + i, 15.0, LIMITS
        )
    assert tracked.learned.attained.tpot == Evidence(speeds=True)


def test_nothing_is_asked_for_on_assumed_sizes_while_pages_are_about_to_tell() -> None:
    # A restarted planner took requests of 350 and 38 tokens for ones of 1,000 and 200 in its first half minute, asked
    # for nine replicas where three were right, and kept them for eight minutes: 41 % more GPU-hours in the first hour.
    planner = Planner()
    counts = []
    for i in range(4):  # pages are read whole every 20 s
        at_s = T0 + 5.0 * i
        sample = page(at_s, begun=10.0 * 5.0 * i, running=20.0, generated=0.0)
        replicas = tuple(Replica(f"r{k}", ReplicaPhase.READY, T0 - 900, T0 - 900, T0 - 800, sample) for k in range(3))
        counts.append(planner.observe(Observation(SPEC, (RoleObservation("", replicas),)), at_s).roles[0].replicas)
    assert counts == [3, 3, 3, 3]
