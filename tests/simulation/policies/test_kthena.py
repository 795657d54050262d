"""Kthena's rule on worked examples, as coded and as intended."""

from __future__ import annotations

import pytest

from autoscaler.simulation.policies.kthena import REQUESTS, WAITING, Kthena
from tests.fakes.views import view


def kthena(*, is_intended: bool = False, least: int = 1, most: int = 100) -> Kthena:
    return Kthena(REQUESTS, 20.0, least, most, is_intended=is_intended)


@pytest.mark.parametrize(("requests", "coded", "intended"), [(21, 4, 2), (24, 2, 2), (84, 5, 4)])
def test_four_replicas_at_1_05_targets_together_stay_four_while_1_2_asks_two(
    requests: int, coded: int, intended: int
) -> None:
    # As coded 21 / 20 = 1.05 is within a tenth of 1, 24 / 20 = 1.2 is not: ceil(1.2) = 2. As intended 84 / (4 x 20) is.
    page = view(waiting=[0] * 4, running=[requests, 0, 0, 0])
    assert kthena().decide(page, 0.0) == coded
    assert kthena(is_intended=True).decide(page, 0.0) == intended


def test_unready_pods_dampen_the_way_up() -> None:
    # Two of six do not serve. 50 / (3 x 20) < 1 as coded: stays. 180 / (3 x 20) = 3: ceil(180 / 20) = 9.
    # 70 / (3 x 20) = 1.17: ceil(70 / 20) = 4 is fewer than there are: stays.
    for requests, wanted in ((50, 6), (180, 9), (70, 6)):
        assert kthena().decide(view(spec=6, waiting=[0] * 4, running=[requests, 0, 0, 0]), 0.0) == wanted


def test_up_by_four_or_a_doubling_a_minute() -> None:
    policy, spec, seen = kthena(), 2, []
    for k in range(7):
        spec = policy.decide(view(at_s=15.0 * k, waiting=[0] * spec, running=[400] + [0] * (spec - 1)), 15.0 * k)
        seen.append(spec)
    # 400 / 20 = 20. From the 2 of the last minute 2 + 4 = 6; at 75 s the fewest of the minute is 6: 6 + 6 = 12.
    assert seen == [6, 6, 6, 6, 6, 12, 12]


def test_down_to_the_largest_recommendation_of_five_minutes() -> None:
    policy = kthena()
    assert policy.decide(view(at_s=0.0, waiting=[0] * 5, running=[80, 0, 0, 0, 0]), 0.0) == 4
    for k in range(1, 21):  # 300 s later the 4 still counts
        assert policy.decide(view(at_s=15.0 * k, waiting=[0] * 5, running=[40, 0, 0, 0, 0]), 15.0 * k) == 4
    assert policy.decide(view(at_s=315.0, waiting=[0] * 5, running=[40, 0, 0, 0, 0]), 315.0) == 2


def test_outside_its_bounds_it_goes_to_the_bound() -> None:
    assert kthena(least=3).decide(view(waiting=[0], running=[400]), 0.0) == 3
    assert kthena(most=3).decide(view(waiting=[0] * 5, running=[0] * 5), 0.0) == 3


def test_its_guide_waits_for_a_queue() -> None:
    policy = Kthena(WAITING, 10.0, 1, 100, is_intended=False)
    # However many run, one replica stays one; 25 waiting over 10 are 3.
    assert policy.decide(view(at_s=0.0, waiting=[0], running=[500]), 0.0) == 1
    assert policy.decide(view(at_s=15.0, waiting=[25], running=[500]), 15.0) == 3


def test_a_failing_scrape_skips_the_tick() -> None:
    policy = kthena()
    policy.decide(view(at_s=0.0, waiting=[0], running=[20]), 0.0)
    assert policy.decide(view(at_s=0.0, spec=7, waiting=[0], running=[20]), 15.0) == 7
