"""What arrived, slot by slot, and the moving extremes it is rehearsed with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.demand import KEPT, SLOT_S, Demand, trailing, trailing_mean

T0 = 1_000_005.0  # the first slot begins here


def test_what_was_read_late_is_spread_over_the_slots_it_fell_into() -> None:
    demand = Demand()
    demand.add(T0, T0 + 4 * SLOT_S + 1.0, 610.0, 1000.0, 100.0)
    assert demand.rates_rps == pytest.approx([10.0] * 4)
    assert demand.arrived == pytest.approx(10.0)


def test_a_slot_nobody_told_of_is_as_the_one_before() -> None:
    demand = Demand()
    demand.add(T0, T0 + SLOT_S, 150.0, 1000.0, 100.0)
    demand.add(T0 + 3 * SLOT_S, T0 + 4 * SLOT_S, 300.0, 1000.0, 100.0)
    assert demand.rates_rps == pytest.approx([10.0, 10.0, 10.0, 20.0])


def test_the_past_is_bounded() -> None:
    demand = Demand()
    for k in range(KEPT + 500):
        demand.add(T0 + k * SLOT_S, T0 + (k + 1) * SLOT_S, 1.0, 1000.0, 100.0)
    assert len(demand.rates_rps) == len(demand.prompts) == len(demand.outputs) == KEPT


def test_a_clock_that_jumps_by_years_begins_anew_at_once() -> None:
    # Slot by slot, 30 years took longer than a minute.
    demand = Demand()
    demand.add(T0, T0 + 10 * SLOT_S, 100.0, 1000.0, 100.0)
    demand.add(T0 + 10 * SLOT_S, T0 + 1e9, 100.0, 1000.0, 100.0)
    assert len(demand.rates_rps) <= 1
    demand.add(T0 + 20 * SLOT_S, T0 + 21 * SLOT_S, 100.0, 1000.0, 100.0)  # back again: too old to be told apart
    assert len(demand.rates_rps) <= 1


@given(st.lists(st.tuples(st.floats(0.1, 100.0), st.floats(0.0, 1e4)), min_size=1, max_size=60))
def test_no_request_is_lost_or_counted_twice(pieces: list[tuple[float, float]]) -> None:
    demand, now = Demand(), T0
    for seconds, arrived in pieces:
        demand.add(now, now + seconds, arrived, 1.0, 1.0)
        now += seconds
    kept = sum(rate * SLOT_S for rate in demand.rates_rps) + demand.arrived
    assert kept == pytest.approx(sum(arrived for _, arrived in pieces), rel=1e-5, abs=1e-6)


@given(st.lists(st.floats(0.0, 1e3), min_size=1, max_size=80), st.integers(1, 100), st.booleans())
def test_moving_extremes_are_those_of_a_loop(values: list[float], count: int, largest: bool) -> None:
    pick = max if largest else min
    expected = [pick(values[max(0, k + 1 - count) : k + 1]) for k in range(len(values))]
    assert trailing(np.array(values), count, largest=largest).tolist() == expected


@given(st.lists(st.floats(0.0, 1e3), min_size=1, max_size=80), st.integers(1, 100))
def test_moving_means_are_those_of_a_loop(values: list[float], count: int) -> None:
    expected = [np.mean(values[max(0, k + 1 - count) : k + 1]) for k in range(len(values))]
    assert trailing_mean(np.array(values), count).tolist() == pytest.approx(expected, rel=1e-6, abs=1e-6)
