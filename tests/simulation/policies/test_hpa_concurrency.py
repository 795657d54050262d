"""Concurrency through the HPA and KEDA, on worked examples and in a small world."""

from __future__ import annotations

import pytest

from autoscaler.simulation.policies.hpa_concurrency import HpaConcurrency, KedaConcurrency
from autoscaler.simulation.policy import AverageValue, HpaPolicy, desired_of_all
from autoscaler.simulation.scenario import Fault, FaultKind
from autoscaler.simulation.score import score
from autoscaler.simulation.view import View
from tests.fakes.small_worlds import most_replicas, replicas_at, run_small, small_scenario, steps
from tests.fakes.views import view


def asked(policy: HpaPolicy, page: View, now_s: float | None = None) -> int | None:
    return desired_of_all(policy.metrics(page, page.at_s if now_s is None else now_s), page, policy.keda)


@pytest.mark.parametrize(
    ("running", "wanted"),
    [
        ([14, 14], 3),  # a mean of 14 over 10: 2 x 1.4 = 2.8
        ([11, 11], 2),  # 1.1: within the tolerance
        ([12, 11], 3),  # 1.15: 2.3
        ([4, 5], 1),  # 0.45: 0.9
    ],
)
def test_pods_times_their_mean_over_the_target(running: list[int], wanted: int) -> None:
    assert asked(HpaConcurrency(10.0), view(waiting=[0] * len(running), running=running)) == wanted


def test_waiting_requests_count_like_running_ones() -> None:
    assert asked(HpaConcurrency(10.0), view(waiting=[20], running=[10])) == 3


def test_pods_that_load_count_as_idle_on_the_way_up() -> None:
    # One serves 60, two load: (60 + 0 + 0) / 3 / 10 = 2, 6 in all. It serves 15: 0.5 would turn the direction: 3 stay.
    assert asked(HpaConcurrency(10.0), view(waiting=[0], running=[60], coming=2)) == 6
    assert asked(HpaConcurrency(10.0), view(waiting=[0], running=[15], coming=2)) == 3


def test_pods_that_load_count_as_on_target_on_the_way_down() -> None:
    # Two serve 2 each, two load: (4 + 20) / 4 / 10 = 0.6: 2.4.
    assert asked(HpaConcurrency(10.0), view(waiting=[0, 0], running=[2, 2], coming=2)) == 3


def test_keda_divides_what_the_router_knows() -> None:
    page = view(waiting=[3, 4], running=[20, 20], held=2)  # 49
    assert KedaConcurrency(10.0).metrics(page, 0.0) == (AverageValue(49.0, 10.0),)
    assert asked(KedaConcurrency(10.0), page) == 5


def test_only_the_pods_metric_needs_pages() -> None:
    page = view(at_s=0.0, waiting=[0], running=[40])
    assert asked(HpaConcurrency(10.0), page, 23.0) is None
    assert asked(KedaConcurrency(10.0), page, 23.0) == 4


def test_requests_held_at_zero_wake() -> None:
    policy = KedaConcurrency(10.0)
    assert not policy.active(view(waiting=[]), 0.0)
    assert policy.active(view(waiting=[], held=1), 0.0)


def test_long_prompts_at_a_flat_concurrency_change_nothing() -> None:
    short, long = (view(waiting=[0] * 3, running=[10] * 3, kv_usage=[use] * 3) for use in (0.1, 0.9))
    for policy in (HpaConcurrency(10.0), KedaConcurrency(10.0)):
        assert asked(policy, short) == asked(policy, long) == 3


@pytest.mark.parametrize("rule", [HpaConcurrency, KedaConcurrency])
def test_in_a_small_world_a_step_is_followed_and_left(rule: type[HpaConcurrency] | type[KedaConcurrency]) -> None:
    # 0.4, 2.4, 0.4 requests a second that take some 6 s: 2.4, 14 and 2.4 in flight over 4 are 1, 4 and 1.
    trace = steps((120.0, 0.4), (480.0, 2.4), (600.0, 0.4))
    run = run_small(rule(4.0), small_scenario(trace, 1200.0))
    assert replicas_at(run, 119.0) == 1
    assert 3 <= replicas_at(run, 599.0) <= most_replicas(run)
    assert replicas_at(run, 1199.0) == 1
    assert score(run, 500.0, 600.0).attainment > 0.9 > score(run, 150.0, 200.0).attainment


def test_in_a_small_world_keda_goes_to_zero_and_back() -> None:
    # Five requests, ten minutes of nothing, five more.
    trace = steps((10.0, 0.5), (600.0, 1e-9), (10.0, 0.5))
    run = run_small(KedaConcurrency(10.0), small_scenario(trace, 900.0, least=0))
    assert [count for _, count in run.steps[:3]] == [1, 0, 1]
    assert 300.0 <= run.steps[1][0] <= 360.0
    assert 610.0 <= run.steps[2][0] <= 650.0


def test_in_a_small_world_a_blackout_holds_the_hpa() -> None:
    fault = Fault(FaultKind.BLACKOUT, 600.0, 500.0)
    scenario = small_scenario(steps((600.0, 2.4), (600.0, 0.1)), 1200.0, initial=4, fault=fault)
    run = run_small(HpaConcurrency(4.0), scenario)
    assert replicas_at(run, 1090.0) == replicas_at(run, 640.0) >= 3
