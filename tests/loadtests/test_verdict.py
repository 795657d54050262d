"""Comparisons, intervals and what follows from a cell's rows."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from autoscaler.simulation.trace import Trace
from loadtests.benchmark import bootstrap, disturbed, faults, rows
from loadtests.benchmark.grid import Extent, Workload, cells
from loadtests.benchmark.plan import Scope, best_peers, closer_looks, last_jobs, later_jobs, sized_cells
from loadtests.benchmark.rows import CEILING, HINDSIGHT, OURS, Row
from loadtests.benchmark.verdict import below_bound, compare, families, mean_ratio

HOURS = (10.0, 12.0, 30.0, 8.0, 9.0, 11.0)


def row(policy: str, gpu_hours: float, attainment: float = 0.96, knobs: str | None = None, **other: object) -> Row:
    """A row of one cell whose GPU-hours have the shape of HOURS."""
    hours = tuple(gpu_hours * value / sum(HOURS) for value in HOURS)
    made = Row(
        "t", "daily", "small", 1.0, 120.0, 2048, None, policy, knobs, False, 0, 0.95, attainment, 0.95, gpu_hours,
        (gpu_hours, gpu_hours), None, 0.1, 1.0, 1000, hours_gpu=hours,
    )  # fmt: skip
    return replace(made, **other)  # type: ignore[arg-type]


def test_the_same_hours_are_drawn_for_both() -> None:
    ours = [2.0 * hour for hour in HOURS]
    assert np.allclose(bootstrap.ratios("cell", ours, HOURS), 2.0)
    low, high = bootstrap.interval(bootstrap.sums("cell", HOURS))
    assert low < 0.85 * sum(HOURS) < sum(HOURS) < high  # one figure alone hangs on the hour of 30


def test_the_cheapest_peer_that_attains_as_much_is_the_one_compared() -> None:
    some = [
        row(OURS, 90.0),
        row("a", 100.0, 0.951),
        row("b", 80.0, 0.94),
        row("c", 120.0),
        row("a", 95.0, 0.949, "k=2"),
    ]
    (one,) = compare(some)
    assert one.best is not None
    assert one.best.name == "a (k=2)"  # 0.949 is within 0.2 points
    assert one.over_best is not None
    assert one.over_best == pytest.approx((90 / 95, 90 / 95, 90 / 95))
    assert one.verdict == "less"
    assert mean_ratio([one], lambda cell: cell.best) == pytest.approx((90 / 95, 90 / 95, 90 / 95))


def test_where_ours_attains_less_peers_that_attain_as_little_are_compared() -> None:
    (one,) = compare([row(OURS, 90.0, 0.90), row("a", 80.0, 0.90), row("b", 100.0, 0.95)])
    assert not one.attains
    assert one.best is not None
    assert one.best.first.policy == "a"
    assert one.verdict == "more"


def test_a_static_fleet_of_the_most_replicas_is_the_yardstick_where_it_attains_less_than_is_asked() -> None:
    (reaches,) = compare([row(OURS, 90.0, 0.916), row(CEILING, 400.0, 0.92)])
    (misses,) = compare([row(OURS, 90.0, 0.914), row(CEILING, 400.0, 0.92)])
    assert reaches.attains
    assert not misses.attains


def test_of_equals_the_same_one_is_chosen_in_whatever_order_they_ended() -> None:
    # keda-kaito-legacy gave the same run for thresholds of 0.1 and 0.25 in a cell of azure2023-conv.
    some = [row(OURS, 90.0), row("b", 80.0, knobs="k=2"), row("b", 80.0, knobs="k=1"), row("a", 80.0), row("c", 80.0)]
    for order in (some, some[::-1]):
        (one,) = compare(order)
        assert one.best is not None
        assert one.best.name == "a"
        assert [f"{peer.policy} {peer.knobs}" for peer in best_peers(order, 0.95)] == ["a None", "b k=1", "c None"]


def test_figures_are_means_over_seeds() -> None:
    (one,) = compare([row(OURS, 90.0), row(OURS, 110.0, seed=1), row("a", 100.0)])
    assert one.ours.gpu_hours == 100.0
    assert one.over_best is not None
    assert one.over_best[0] == 1.0


def test_a_peer_dominates_a_family_that_is_cheaper_and_attains_as_much_in_each_cell() -> None:
    cheap = [row(OURS, 100.0), row("a", 80.0, knobs="k=1"), row("a", 90.0, knobs="k=2")]
    dear = [row(OURS, 100.0), row("a", 130.0, knobs="k=1"), row("a", 95.0, knobs="k=2"), row("b", 50.0)]
    (family,) = families(compare([*cheap, *(replace(one, lead_time_s=30.0) for one in dear)]))
    assert family.dominating == (("a (k=2)", pytest.approx(0.925)),)
    assert family.dominating_tuned == (("a", pytest.approx(0.875)),)


def test_a_policy_cheaper_than_the_bound_by_more_than_one_per_cent_is_listed() -> None:
    bound = row(HINDSIGHT, 100.0, 0.951, clairvoyant_gpu_hours=100.0)
    some = [bound, row("a", 98.9), row("b", 99.1), row("c", 50.0, 0.94), row(OURS, 98.0)]
    assert [one.policy for one in below_bound(some)] == ["a", OURS]


def test_more_seeds_go_to_the_cheapest_setting_of_three_peers_and_a_beaten_bound_is_looked_at_anew() -> None:
    some = [row(OURS, 90.0), row("static", 100.0, knobs="share=0.5"), row("static", 95.0, knobs="share=0.25")]
    some += [row("knative", 91.0, 0.90), row("rate-rule", 99.0, knobs="share=0.7"), row("mpc-v3", 120.0, knobs="k")]
    best = best_peers(some, 0.95)
    assert [(one.policy, one.knobs) for one in best] == [
        ("static", "share=0.25"), ("rate-rule", "share=0.7"), ("mpc-v3", "k"),
    ]  # fmt: skip
    trace = Trace(np.arange(0.0, 7200.0, 2.0), np.full(3600, 500.0), np.full(3600, 100.0))
    sized = sized_cells([Workload("t", "smooth", trace)], Extent())[0]
    scope = Scope(Path(), Extent(), (0.95,), (OURS, "static", "rate-rule", "mpc-v3", "knative"), 5)
    planned = [one for job in later_jobs(sized, scope, some, frozenset()) for one in job.planned]
    assert sum(one.kind == "run" for one in planned) == 4 * 4  # seeds 1 to 4 of ours and three peers
    assert sum(one.kind == "faults" for one in planned) == 4
    assert not list(last_jobs(sized, scope, some, frozenset()))
    both = replace(scope, asked=(0.95, 0.99))
    strict = [replace(one, attainment=0.995, attainment_asked=0.99) for one in some if one.policy != "static"]
    told = [
        (job.asked, one.policy, one.kind)
        for job in last_jobs(sized, both, some + strict, frozenset())
        for one in job.planned
    ]
    assert set(told) == {((0.99,), name, "run") for name in (OURS, "rate-rule", "mpc-v3", "knative")}
    assert len(told) == 4 * 4
    beaten = [*some, row(HINDSIGHT, 99.0, clairvoyant_gpu_hours=99.0)]
    again = [
        one for job in later_jobs(sized, scope, beaten, frozenset()) for one in job.planned if one.kind == "better"
    ]
    assert [one.knobs for one in again] == ["0.95\tsecond look\tours\t\t0"]


def test_the_bound_is_looked_at_again_when_more_seeds_lie_below_it_and_not_for_ever() -> None:
    trace = Trace(np.arange(0.0, 7200.0, 2.0), np.full(3600, 500.0), np.full(3600, 100.0))
    sized = sized_cells([Workload("t", "smooth", trace)], Extent())[0]
    scope = Scope(Path(), Extent(), (0.95,), (OURS, "static"), 5)
    seed = row("static", 98.0, knobs="share=0.5", seed=3)
    for look, told in ((None, "second look"), ("second look", "third look"), ("third look", None)):
        bound = row(HINDSIGHT, 100.0, 0.951, knobs=look, clairvoyant_gpu_hours=100.0)
        found = [one.knobs for job in closer_looks(sized, scope, [bound, seed]) for one in job.planned]
        assert found == ([f"0.95\t{told}\tstatic\tshare=0.5\t3"] if told else [])


def test_rows_are_read_back_and_a_cut_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first, second = row(HINDSIGHT, 100.0, clairvoyant_gpu_hours=100.0), row("a", 110.0)
    rows.append(path, [first, second])
    look = row(HINDSIGHT, 95.0, knobs="second look", clairvoyant_gpu_hours=95.0)
    rows.append(path, [look])
    with path.open("a") as file:
        file.write(json.dumps(asdict(second))[:50])
    read = rows.read(path)
    assert set(read) == {look, second}  # a second look takes the place of the first
    assert {one.clairvoyant_gpu_hours for one in rows.with_bounds(read)} == {95.0}


def test_replicas_are_lost_when_they_are_missed_for_a_minute() -> None:
    calm = ((0.0, 4), (500.0, 6))
    assert faults.replicas_lost(((0.0, 4), (300.0, 2), (400.0, 4)), calm, 200.0, 900.0) == 2
    assert faults.replicas_lost(((0.0, 4), (300.0, 2), (330.0, 4)), calm, 200.0, 900.0) == 0  # a matter of timing
    assert faults.replicas_lost(((0.0, 4),), calm, 200.0, 900.0) == 0  # a rise that did not come is no loss


def test_a_fault_may_cost_two_points() -> None:
    calm = {"undisturbed_attainment": 0.96, "undisturbed_gpu_hours": 10.0, "replicas_lost": 0}
    held, lost = (row(OURS, 10.0, attained, fault="blackout", **calm) for attained in (0.945, 0.93))
    assert disturbed.answers([held, replace(lost, fleet="large")]) == [
        "blackout: within 2 points of the undisturbed run in 1 of 2 cells (most lost: 3.0); "
        "replicas taken away by it in 0."
    ]


def test_a_trace_with_next_to_nothing_in_it_has_cells_too() -> None:
    lonely = Trace(np.array([5.0]), np.array([100.0]), np.array([10.0]))
    for cell in cells(Workload("lonely", "idle", lonely), Extent()):
        assert cell.fleet_multiplier <= 1000.0
        assert cell.window_s == (0.0, 600.0)


@pytest.mark.parametrize("rate_rps", [0.2, 1.0, 2.0, 3.3, 4.7, 8.0, 31.0, 45.0])
def test_a_large_fleet_needs_eight_to_forty_replicas_and_a_small_one_one_to_four(rate_rps: float) -> None:
    # Whole copies of the nearest number made 7.2 of DeepSeek-R1 (one copy) and 7.5 of others (five, six).
    arrival_s = np.arange(0.0, 1800.0, 1.0 / rate_rps)
    even = Trace(arrival_s, np.full(len(arrival_s), 1500.0), np.full(len(arrival_s), 200.0))
    for cell in cells(Workload("even", "smooth", even), Extent()):
        low, high = (8.0, 40.0) if cell.fleet == "large" else (1.0, 4.0)
        assert low <= cell.peak_need <= high
