"""AIBrix's KPA on worked examples, as coded and as intended."""

from __future__ import annotations

import pytest

from autoscaler.simulation.policies.aibrix_kpa import KV, REQUESTS, AibrixKpa, Cooldown
from tests.fakes.views import view


def coded(target: float, metric: str = REQUESTS) -> AibrixKpa:
    return AibrixKpa(metric, target, is_intended=False)


def intended(target: float) -> AibrixKpa:
    return AibrixKpa(REQUESTS, target, is_intended=True)


def test_four_pods_at_2x_per_pod_target_aibrix_kpa_scales_in() -> None:
    page = view(waiting=[0] * 4, running=[20] * 4)
    # Mean 20 over 10 = 2; floor(4 / 2) = 2 allows it.
    assert coded(10.0).decide(page, 0.0) == 2
    # Sum 80 over 10 = 8; 2 x 4 allows it.
    assert intended(10.0).decide(page, 0.0) == 8


def test_its_sample_on_kv_use_never_wants_more_than_two() -> None:
    # Four full caches: 1 / 0.5 = 2.
    assert coded(0.5, KV).decide(view(waiting=[9] * 4, kv_usage=[1.0] * 4), 0.0) == 2


def test_within_a_tenth_of_the_target_nothing_moves() -> None:
    assert coded(10.0).decide(view(waiting=[0] * 4, running=[11] * 4), 0.0) == 4
    assert intended(10.0).decide(view(waiting=[0] * 4, running=[11] * 4), 0.0) == 4


@pytest.mark.parametrize(("is_intended", "wanted"), [(False, 2), (True, 3)])
def test_a_smaller_count_is_the_smallest_of_five_minutes_as_coded_the_largest_as_intended(
    is_intended: bool, wanted: int
) -> None:
    cooldown = Cooldown(is_intended=is_intended)
    cooldown.settle(2, 2, 0.0)
    assert cooldown.settle(4, 2, 10.0) == 4  # up at once
    cooldown = Cooldown(is_intended=is_intended)
    cooldown.settle(2, 4, 0.0)
    assert cooldown.settle(3, 4, 290.0) == wanted
    assert cooldown.settle(3, 4, 300.0) == 3  # the 2 is 300 s old


def through_a_burst(policy: AibrixKpa, pods: int) -> int:
    """Twelve quiet loops, then a minute at seven requests a pod; three replicas all the time."""
    for k in range(1, 19):
        running = [1 if k <= 12 else 7] * pods
        wanted = policy.decide(view(at_s=10.0 * k, spec=3, waiting=[0] * pods, running=running), 10.0 * k)
    return wanted


def test_panic_is_a_minute_at_more_than_twice_the_mean_of_three_and_holds_nothing_as_coded() -> None:
    policy = coded(2.0)
    # S = (12 x 1 + 6 x 7) / 18 = 3, P = 7, P / S = 2.33: max(ceil(3 / 2), ceil(7 / 2)) = 4.
    assert through_a_burst(policy, pods=3) == 4
    # S = (11 + 42 + 0) / 18 = 2.94, P = 35 / 6 = 5.8, P / S = 1.98: ceil(2.94 / 2) = 2, and 1 was asked while quiet.
    assert policy.decide(view(at_s=190.0, spec=4, waiting=[0] * 3), 190.0) == 1


def test_panic_holds_its_largest_count_as_intended() -> None:
    policy = intended(2.0)
    # One ready pod, so sums are as above: ceil(7 / 2) = 4 of at most 6.
    assert through_a_burst(policy, pods=1) == 4
    assert policy.decide(view(at_s=190.0, spec=4, waiting=[0]), 190.0) == 4


def test_from_zero_there_is_no_way_up() -> None:
    assert coded(2.0).decide(view(waiting=[], held=9), 0.0) == 0
