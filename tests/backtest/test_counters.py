"""Counters to requests: rises, resets, gaps and new replicas; what is drawn adds up to what was counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.backtest.counters import Grown, Look, Reading, counted
from autoscaler.backtest.history import Gap
from autoscaler.backtest.reconstruct import draw_sizes, requests_of
from autoscaler.core.records import Histogram

INF = float("inf")


def looks(*rows: dict[str, float | Reading], step_s: float = 10.0) -> list[Look]:
    """Looks ten seconds apart: arrivals counted, by replica."""
    return [
        Look(step_s * k, {name: one if isinstance(one, Reading) else Reading(one) for name, one in row.items()})
        for k, row in enumerate(rows)
    ]


def arrivals(found: list[Look], step_s: float = 10.0) -> list[float]:
    told = counted(found, step_s)
    assert told is not None
    return [step.arrivals for step in told.steps]


def test_what_was_counted_before_the_first_look_is_left_out() -> None:
    assert arrivals(looks({"a": 1000}, {"a": 1004}, {"a": 1009})) == [4, 5]


def test_a_counter_that_falls_was_reset_and_counts_from_zero() -> None:
    told = counted(looks({"a": 1000}, {"a": 1004}, {"a": 3}), 10.0)
    assert told is not None
    assert [step.arrivals for step in told.steps] == [4, 3]
    assert told.resets == 1


def test_requests_that_wait_are_arrivals_before_they_are_counted() -> None:
    found = looks({"a": Reading(10, 0)}, {"a": Reading(12, 5)}, {"a": Reading(17, 0)})
    assert arrivals(found) == [7, 0], "five of them waited, and were counted ten seconds later"


def test_a_replica_met_late_keeps_its_past_and_one_seen_to_start_does_not() -> None:
    late = looks({"a": 10}, {"a": 20, "b": 5000}, {"a": 30, "b": 5001})
    assert arrivals(late) == [10, 11]
    first, second = looks({"a": 10}, {"a": 20, "b": 4})
    starting = Look(0.0, first.readings, starting=frozenset({"b"}))
    assert arrivals([starting, second]) == [14]


def test_a_process_that_began_a_short_while_ago_is_new_once_the_fleet_is_known() -> None:
    rows: list[dict[str, float | Reading]] = [{"a": 10.0 * k} for k in range(12)]
    rows[11]["b"] = Reading(6.0, started_at_s=60.0)
    assert arrivals(looks(*rows))[-1] == 16
    early: list[dict[str, float | Reading]] = [{"a": 0}, {"a": 10, "b": Reading(6.0, started_at_s=-500.0)}]
    assert arrivals(looks(*early)) == [10], "in the first looks it may have served for minutes"


def test_what_a_silent_replica_counted_is_spread_over_its_silence() -> None:
    assert arrivals(looks({"a": 0, "b": 0}, {"a": 5}, {"a": 10}, {"a": 15, "b": 9})) == pytest.approx([8, 8, 8])


def test_a_gap_is_told_and_what_was_counted_over_it_is_left_out() -> None:
    rows = [*looks({"a": 0}, {"a": 5}), Look(500.0, {"a": Reading(400)}), Look(510.0, {"a": Reading(404)})]
    told = counted(rows, 10.0)
    assert told is not None
    assert told.gaps == (Gap(10.0, 500.0),)
    assert [step.arrivals for step in told.steps] == [5, 4]


def test_nothing_known_is_a_gap_and_no_replica_is_not() -> None:
    blind = [Look(10.0 * k, {"a": Reading(k)} if k < 2 or k > 20 else {}, is_known=not 2 <= k <= 20) for k in range(25)]
    told = counted(blind, 10.0)
    assert told is not None
    assert told.gaps == (Gap(10.0, 210.0),)
    zero = [Look(10.0 * k, {"a": Reading(k)} if k < 2 or k > 20 else {}) for k in range(25)]
    told = counted(zero, 10.0)
    assert told is not None
    assert told.gaps == ()
    assert told.ran == ((0.0, 1), (20.0, 0), (210.0, 1))


def test_bounds_that_change_do_not_mix() -> None:
    grown = Grown()
    grown.add(None, Histogram((1.0, INF), (2.0, 3.0), 5.0))
    grown.add(None, Histogram((2.0, INF), (9.0, 9.0), 9.0))
    assert grown.counts == [2.0, 1.0]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 30), min_size=3, max_size=3), min_size=2, max_size=30),
    st.integers(0, 2**16),
)
def test_drawn_requests_are_as_many_as_were_counted_and_inside_their_steps(rises: list[list[int]], seed: int) -> None:
    sums = np.cumsum(np.array([[0, 0, 0], *rises]), axis=0)
    rows: list[dict[str, float | Reading]] = [
        {f"r{i}": Reading(float(n), 0.0, 1000.0 * n + 1, 100.0 * n + 1) for i, n in enumerate(row)}
        for row in sums.tolist()
    ]
    told = counted(looks(*rows), 10.0)
    assert told is not None
    if not sums[-1].sum():
        return
    trace, how = requests_of(told, seed)
    per_step = np.bincount((trace.arrival_s // 10.0).astype(int), minlength=len(rises))
    assert per_step.tolist() == [sum(row) for row in rises]
    assert (np.diff(trace.arrival_s) >= 0.0).all()
    assert "Reconstructed from counters" in how


def test_the_same_seed_draws_the_same_requests_and_another_does_not() -> None:
    rows: list[dict[str, float | Reading]] = [{"a": Reading(50.0 * k, 0.0, 6e4 * k, 9e3 * k)} for k in range(20)]
    told = counted(looks(*rows), 10.0)
    assert told is not None
    one, two, other = (requests_of(told, seed)[0] for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert not (one.arrival_s == other.arrival_s).all()
    assert one.prompt_tokens.mean() == pytest.approx(1200.0, rel=0.1)
    assert one.output_tokens.mean() == pytest.approx(180.0, rel=0.1)


def test_sizes_keep_the_mean_and_the_buckets() -> None:
    grown = Grown((100.0, 1000.0, INF), [700.0, 250.0, 50.0], 0.0)
    rng = np.random.default_rng(0)
    sizes = draw_sizes(grown, 260.0, 20_000, rng)
    assert sizes.mean() == pytest.approx(260.0, rel=0.03)
    assert sizes.min() >= 1.0
    stretch = 260.0 / np.mean(draw_sizes(grown, 1e9, 20_000, np.random.default_rng(0)) / 2.0)
    assert (sizes <= 100.0 * stretch).mean() == pytest.approx(0.7, abs=0.02)


def test_a_source_without_sizes_is_refused() -> None:
    told = counted(looks({"a": 0}, {"a": 100}), 10.0)
    assert told is not None
    with pytest.raises(ValueError, match="no counter of prompt"):
        requests_of(told, 1)
