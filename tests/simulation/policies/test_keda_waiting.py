"""KEDA on waiting requests, on worked examples and in a small world."""

from __future__ import annotations

import pytest

from autoscaler.simulation.policies.keda_waiting import KedaWaiting, KedaWaitingIdle0, KedaWaitingUnaggregated
from autoscaler.simulation.policy import AverageValue, HpaPolicy, desired_of_all
from autoscaler.simulation.scenario import Fault, FaultKind
from autoscaler.simulation.view import View
from tests.fakes.small_worlds import most_replicas, replicas_at, run_small, small_scenario, steps
from tests.fakes.views import view


def asked(policy: HpaPolicy, page: View, now_s: float | None = None) -> int | None:
    return desired_of_all(policy.metrics(page, page.at_s if now_s is None else now_s), page, policy.keda)


def test_the_sum_of_what_waits_over_five() -> None:
    # 11 waiting over 5 are 3; 11 over 5 x 2 is 1.1, within the tolerance: 2 stay; 12 over 10 is not.
    assert asked(KedaWaiting(5.0), view(waiting=[11])) == 3
    assert asked(KedaWaiting(5.0), view(waiting=[6, 5])) == 2
    assert asked(KedaWaiting(5.0), view(waiting=[6, 6])) == 3


def test_the_ramp_of_zero_to_150_waiting_asks_fifty_with_a_threshold_of_three() -> None:
    assert asked(KedaWaiting(3.0), view(waiting=[150])) == 50


def test_replicas_that_load_do_not_lower_what_is_asked() -> None:
    # 40 waiting over 5: 8, whether or not 7 are on their way.
    assert asked(KedaWaiting(5.0), view(waiting=[40])) == asked(KedaWaiting(5.0), view(waiting=[40], coming=7)) == 8


def test_an_empty_answer_counts_as_zero() -> None:
    policy = KedaWaiting(5.0)
    page = view(at_s=0.0, waiting=[40, 40])
    assert policy.metrics(page, 22.0) == (AverageValue(80.0, 5.0),)
    assert policy.metrics(page, 23.0) == (AverageValue(0.0, 5.0),)  # the scrape due at 15 s failed


def test_the_zero_variant_is_active_while_requests_came_in_the_last_minute() -> None:
    policy = KedaWaiting(5.0)
    assert [policy.active(view(at_s=at_s, arrivals=count), at_s) for at_s, count in ((0.0, 3), (15.0, 4))] == [True] * 2
    wanted = [policy.active(view(at_s=15.0 * k, arrivals=4), 15.0 * k) for k in range(2, 7)]
    assert wanted == [True, True, True, False, False]  # the request is older than a minute from 75 s on


def test_unaggregated_errs_with_two_replicas_and_serves_the_fallback_after_three_errors() -> None:
    policy = KedaWaitingUnaggregated(5.0)
    assert asked(policy, view(waiting=[40])) == 8
    pages = [view(at_s=15.0 * k, waiting=[40, 40, 40]) for k in range(5)]
    # An error holds; the fourth in a row is the fallback, 2 replicas x 5 over 5.
    assert [asked(policy, page) for page in pages] == [None, None, None, 2, 2]
    assert asked(policy, view(waiting=[40], coming=1)) == 8  # one series again


def test_polls_count_as_errors_too() -> None:
    policy = KedaWaitingUnaggregated(5.0)
    page = view(waiting=[40, 40, 40])
    assert policy.active(page, 0.0)
    assert asked(policy, page) is None
    assert policy.active(page, 0.0)
    assert asked(policy, page) == 2


def test_idle0_is_inactive_while_requests_run_and_none_waits() -> None:
    policy = KedaWaitingIdle0(5.0)
    assert policy.active(view(waiting=[0], running=[8]), 0.0)  # before the run it was active
    assert not policy.active(view(waiting=[0], running=[8]), 15.0)
    assert policy.active(view(at_s=30.0, waiting=[1], running=[8]), 30.0)
    assert not policy.active(view(at_s=45.0, waiting=[], held=9), 45.0)


def test_in_a_small_world_a_step_of_eight_times_overshoots() -> None:
    # 0.4 then 3.2 requests a second, 1.2 a replica: 3 would do. While the first ones start, what waits on one replica
    # grows by 2 a second: 40 after 20 s ask for 8, and so on every 15 s.
    trace = steps((120.0, 0.4), (180.0, 3.2))
    run = run_small(KedaWaiting(5.0), small_scenario(trace, 300.0))
    assert replicas_at(run, 119.0) == 1
    assert replicas_at(run, 180.0) >= 12


def test_in_a_small_world_unaggregated_ends_at_two_under_a_load_of_four() -> None:
    trace = steps((900.0, 4.0))
    scenario = small_scenario(trace, 900.0)
    assert replicas_at(run_small(KedaWaitingUnaggregated(5.0), scenario), 899.0) == 2
    assert replicas_at(run_small(KedaWaiting(5.0), scenario), 899.0) >= 4


@pytest.mark.parametrize("least", [0, 1])
def test_in_a_small_world_idle0_takes_away_a_server_that_works_and_never_wakes(least: int) -> None:
    # 0.6 requests a second run on one replica that could take 1.2: none waits. A minimum of 1 does not hold it.
    trace = steps((900.0, 0.6))
    scenario = small_scenario(trace, 900.0, least=least)
    idle = run_small(KedaWaitingIdle0(5.0), scenario)
    assert [count for _, count in idle.steps] == [1, 0]
    assert 360.0 <= idle.steps[-1][0] <= 390.0
    assert most_replicas(run_small(KedaWaiting(5.0), scenario)) == 1
    assert replicas_at(run_small(KedaWaiting(5.0), scenario), 899.0) == 1


def test_in_a_small_world_a_blackout_at_the_peak_takes_it_to_its_minimum() -> None:
    trace = steps((1200.0, 4.0))
    fault = Fault(FaultKind.BLACKOUT, 600.0, 400.0)
    run = run_small(KedaWaiting(0.5), small_scenario(trace, 1200.0, initial=6, fault=fault))
    assert replicas_at(run, 599.0) >= 4
    assert replicas_at(run, 990.0) == 1
