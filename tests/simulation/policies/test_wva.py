"""WVA's loop and V1 on worked examples and in a small world."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from autoscaler.simulation.policies import wva
from autoscaler.simulation.policies.wva import WvaLoop, WvaV1, behavior
from autoscaler.simulation.policy import AverageValue, desired
from autoscaler.simulation.scenario import Fault, FaultKind
from autoscaler.simulation.view import View
from tests.fakes.small_worlds import SLOW, most_replicas, replicas_at, run_small, small_scenario, steps
from tests.fakes.views import deployment, totals, view


def wish(policy: WvaLoop, page: View, now_s: float | None = None) -> float | None:
    (metric,) = policy.metrics(page, page.at_s if now_s is None else now_s)
    assert metric is None or isinstance(metric, AverageValue)
    return None if metric is None else metric.value


def v1(page: View) -> float | None:
    """The wish of a policy that sees this page first."""
    return wish(WvaV1(deployment()), page)


def test_its_chart_waits_240_seconds_both_ways_and_moves_ten_pods_in_150() -> None:
    policy = next(s for s in wva.PEERS[0].settings if s.default).build(deployment())
    assert isinstance(policy, WvaV1)
    assert (policy.full_kv, policy.spare_kv) == pytest.approx((0.80, 0.10))
    for direction in (policy.keda.up, policy.keda.down):
        assert (direction.value.tolist(), direction.period_s.tolist()) == ([10.0], [150.0])
        assert (direction.stabilization_s, direction.tolerance) == (240.0, 0.1)
    fast = behavior(is_fast=True)
    assert (fast.up.stabilization_s, fast.up.tolerance, fast.down.stabilization_s) == (30.0, 0.0, 240.0)


@pytest.mark.parametrize(
    ("kv_usage", "waiting", "wanted"),
    [
        ((0.65, 0.72), (0, 0), 2),  # mean spare 0.115 of at least 0.1; two on one: 1.37, not safe
        ((0.65, 0.76), (0, 0), 3),  # 0.095
        ((0.1, 0.1), (2, 3), 3),  # mean spare queue 2.5 of at least 3
        ((0.1, 0.1), (2, 2), 2),  # 3; on one 4 wait: 1, not safe
        ((0.35, 0.35), (1, 1), 1),  # on one 0.70 and 2: spares 0.1 and 3
        ((0.36, 0.35), (1, 1), 2),  # 0.71: 0.09
        ((0.85, 0.60), (0, 0), 2),  # the full one is left out, and one alone is never given away
        ((0.85, 0.85), (0, 0), 3),  # all are full: no spare at all
        ((0.1, 0.1), (5, 7), 3),
        ((0.1,), (0,), 1),
    ],
)
def test_one_more_or_one_less_by_the_mean_spare_of_those_not_full(
    kv_usage: tuple[float, ...], waiting: tuple[int, ...], wanted: int
) -> None:
    assert v1(view(waiting=waiting, kv_usage=kv_usage)) == wanted


def test_two_variants_of_one_cache_size_only_percent_counts() -> None:
    # A cache twice as large at the same share holds twice the tokens and is asked for the same.
    small, large = (view(waiting=[0, 0], kv_usage=[0.75, 0.75], kv_tokens=tokens) for tokens in (1e5, 2e5))
    assert v1(small) == v1(large) == 3


def test_it_decides_every_thirty_seconds_from_the_peaks_of_a_minute() -> None:
    policy = WvaV1(deployment())
    assert wish(policy, view(at_s=0.0, waiting=[0], kv_usage=[0.75])) == 2
    assert wish(policy, view(at_s=15.0, waiting=[0, 0], kv_usage=[0.1, 0.1])) == 2  # not yet
    # At 30 s the first replica's peak is still 0.75: two together (0.75 + 0.1) / 1 are too much for one.
    assert wish(policy, view(at_s=30.0, waiting=[0, 0], kv_usage=[0.1, 0.1])) == 2
    assert wish(policy, view(at_s=60.0, waiting=[0, 0], kv_usage=[0.1, 0.1])) == 1  # it was a minute ago


def test_a_replica_that_left_takes_its_peak_with_it() -> None:
    policy = WvaV1(deployment())
    policy._see(view(at_s=0.0, waiting=[0, 9], kv_usage=[0.1, 0.9]))
    kv_use, queue = policy.peaks(view(at_s=15.0, waiting=[1], kv_usage=[0.2]))
    assert (kv_use.tolist(), queue.tolist()) == ([0.2], [1])


def test_nothing_moves_while_the_fleet_is_not_as_it_wished_or_a_replica_tells_nothing() -> None:
    policy = WvaV1(deployment())
    assert wish(policy, view(at_s=0.0, waiting=[0], kv_usage=[0.75])) == 2
    assert wish(policy, view(at_s=30.0, waiting=[9], kv_usage=[0.9])) == 2  # the HPA has not moved
    assert wish(policy, view(at_s=60.0, waiting=[9], kv_usage=[0.9], coming=1)) == 2  # it loads
    assert wish(policy, view(at_s=90.0, waiting=[9, 0], kv_usage=[0.9, 0.75])) == 3


def test_at_ten_replicas_a_wish_of_one_more_is_within_the_hpas_tolerance_for_ever() -> None:
    page = view(waiting=[6] * 10)
    published, quick = WvaV1(deployment()), WvaV1(deployment(), is_fast=True)
    for policy, replicas in ((published, 10), (quick, 11)):
        (metric,) = policy.metrics(page, 0.0)
        assert metric == AverageValue(11.0, 1.0)
        assert metric is not None
        assert desired(metric, page, policy.keda) == replicas


def test_when_pages_fail_it_repeats_itself() -> None:
    policy = WvaV1(deployment())
    page = view(at_s=0.0, waiting=[0, 0], kv_usage=[0.75, 0.75])
    assert [wish(policy, page, now_s) for now_s in (0.0, 30.0, 600.0)] == [3, 3, 3]


def test_the_zero_rule_counts_what_finished_and_so_forgets_a_long_generation() -> None:
    policy = WvaV1(deployment(min_replicas=0))
    pages = [
        view(at_s=15.0 * k, waiting=[0], running=[1], totals_=totals(finished=7.0 if k else 0.0)) for k in range(60)
    ]
    active = [policy.active(page, page.at_s) for page in pages]
    # The last one finished at 15 s; a request runs all the time.
    assert active[:41] == [True] * 41
    assert not any(active[41:])


def test_from_zero_one_request_at_the_gateway_wakes_it() -> None:
    policy = WvaV1(deployment(min_replicas=0))
    assert not policy.active(view(spec=0, waiting=[]), 0.0)
    assert policy.active(view(spec=0, waiting=[], held=1), 0.0)
    assert wish(policy, view(spec=0, waiting=[])) is None


def test_in_a_small_world_it_adds_one_at_a_time_and_waits_for_each() -> None:
    # 4.8 a second need 4 replicas of 1.2; each step waits for the HPA's window of 30 s, 60 s of start and its pages.
    world = small_scenario(steps((60.0, 0.4), (900.0, 4.8)), 900.0)
    run = run_small(WvaV1(deployment(profile=SLOW, max_replicas=20), is_fast=True), world)
    ups = [(at_s, count) for at_s, count in run.steps if count > 1]
    assert most_replicas(run) >= 5
    assert all(b == a + 1 for (_, a), (_, b) in pairwise(ups))
    assert min(later - sooner for (sooner, _), (later, _) in pairwise(ups)) >= 90.0


def test_in_a_small_world_the_published_window_makes_each_step_four_minutes_longer() -> None:
    world = small_scenario(steps((60.0, 0.4), (900.0, 4.8)), 900.0)
    slow, quick = (run_small(WvaV1(deployment(max_replicas=20), is_fast=fast), world) for fast in (False, True))
    assert replicas_at(slow, 290.0) == 1
    assert most_replicas(slow) < most_replicas(quick)


def test_in_a_small_world_a_blackout_holds_the_wish() -> None:
    fault = Fault(FaultKind.BLACKOUT, 300.0, 500.0)
    world = small_scenario(steps((900.0, 3.0)), 900.0, initial=4, fault=fault)
    run = run_small(WvaV1(deployment(max_replicas=20), is_fast=True), world)
    assert len({replicas_at(run, at_s) for at_s in np.arange(580.0, 790.0, 10.0).tolist()}) == 1
