"""Laws of the planner, over generated loads."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core import Planner
from tests.fakes.observations import SPEC, Fleet, run

LOADS = st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=40)


def counts(loads: list[float], planner: Planner | None = None, fleet: Fleet | None = None) -> list[int]:
    decisions = run(planner or Planner(), fleet or Fleet(), loads, 6)
    return [decision.roles[0].replicas for decision in decisions]


@settings(max_examples=40, deadline=None)
@given(LOADS, st.floats(1.0, 2.0))
def test_more_load_never_asks_for_less(loads: list[float], factor: float) -> None:
    less, more = counts(loads), counts([load * factor for load in loads])
    assert all(a <= b for a, b in zip(less, more, strict=True))


@settings(max_examples=40, deadline=None)
@given(LOADS, st.integers(0, 4), st.integers(4, 20))
def test_the_count_stays_within_its_bounds(loads: list[float], least: int, most: int) -> None:
    role = replace(SPEC.roles[0], min_replicas=least, max_replicas=most)
    decided = counts(loads, fleet=Fleet(spec=replace(SPEC, roles=(role,))))
    assert all(least <= n <= most for n in decided)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 15.0, allow_nan=False))
def test_a_constant_load_settles_within_one_replica(load: float) -> None:
    # Between two whole numbers it goes from one to the other, so that the day gets the share that was asked.
    decided = counts([load] * 260)[-60:]
    assert max(decided) - min(decided) <= 1
    assert sum(a != b for a, b in itertools.pairwise(decided)) <= 1


@settings(max_examples=30, deadline=None)
@given(LOADS, LOADS)
def test_a_restored_planner_decides_the_same(before: list[float], after: list[float]) -> None:
    planner, fleet = Planner(), Fleet()
    run(planner, fleet, before, 6)
    restored, copy = Planner(), Fleet(counters=dict(fleet.counters))
    restored.restore(planner.snapshot())
    from_s = fleet.start_s + 5.0 * len(before)
    assert run(planner, fleet, after, 6, from_s) == run(restored, copy, after, 6, from_s)


@settings(max_examples=30, deadline=None)
@given(LOADS)
def test_the_same_observations_give_the_same_decisions(loads: list[float]) -> None:
    assert run(Planner(), Fleet(), loads, 6) == run(Planner(), Fleet(), loads, 6)


@settings(max_examples=30, deadline=None)
@given(LOADS, st.sampled_from([0.0, 1e6, 2**30]))
def test_the_origin_of_time_does_not_matter(loads: list[float], shift_s: float) -> None:
    assert counts(loads) == counts(loads, fleet=Fleet(start_s=1_000_000.0 + shift_s))
