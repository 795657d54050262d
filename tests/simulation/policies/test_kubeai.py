"""KubeAI's rule on worked examples."""

from __future__ import annotations

from autoscaler.simulation.policies.kubeai import KubeAi
from tests.fakes.views import view


def warm(target: float, requests: int) -> KubeAi:
    """An autoscaler whose ten minutes are full."""
    policy = KubeAi(target, 0, 100)
    policy.window = [requests] * 60
    return policy


def test_a_step_needs_minutes() -> None:
    policy = KubeAi(10.0, 1, 100)
    wanted = [policy.decide(view(at_s=10.0 * k, waiting=[0], running=[30]), 10.0 * k) for k in range(60)]
    # After k pages the mean is k x 30 / 60: above 10 from the 21st on, above 20 from the 41st; the step alone needs 3.
    assert wanted == [1] * 20 + [2] * 20 + [3] * 20


def test_a_smaller_count_is_obeyed_from_the_fourth_in_a_row_on() -> None:
    policy = warm(10.0, 30)
    pages = [view(at_s=10.0 * k, spec=5, waiting=[0], running=[30]) for k in range(5)]
    assert [policy.decide(page, page.at_s) for page in pages] == [5, 5, 5, 3, 3]


def test_an_equal_count_starts_the_row_anew() -> None:
    policy = warm(10.0, 30)
    specs = (5, 5, 3, 5, 5, 5, 5)
    wanted = [
        policy.decide(view(at_s=10.0 * k, spec=spec, waiting=[0], running=[30]), 10.0 * k)
        for k, spec in enumerate(specs)
    ]
    assert wanted == [5, 5, 3, 5, 5, 5, 3]


def test_the_first_request_at_zero_makes_one() -> None:
    assert warm(100.0, 0).decide(view(at_s=0.0, waiting=[], held=1), 0.0) == 1


def test_long_prompts_at_a_flat_rate_change_nothing() -> None:
    short, long = warm(10.0, 30), warm(10.0, 30)
    pages = [view(waiting=[0] * 3, running=[10] * 3, kv_usage=[use] * 3) for use in (0.1, 0.9)]
    assert short.decide(pages[0], 0.0) == long.decide(pages[1], 0.0) == 3


def test_without_a_new_page_nothing_moves() -> None:
    policy = warm(10.0, 30)
    policy.decide(view(at_s=0.0, waiting=[0]), 0.0)
    assert policy.decide(view(at_s=0.0, spec=9, waiting=[0]), 10.0) == 9
