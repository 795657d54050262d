"""Ray Serve's rule on worked examples."""

from __future__ import annotations

from autoscaler.simulation.policies.ray_serve import RayServe
from autoscaler.simulation.view import View
from tests.fakes.views import view


def page(second: int, requests: int, ready: int = 1, spec: int | None = None) -> View:
    return view(at_s=second // 10 * 10.0, spec=spec, waiting=[0] * ready, running=[requests] + [0] * (ready - 1))


def test_more_is_believed_after_thirty_seconds_in_a_row() -> None:
    policy = RayServe(2.0, 1, 100)
    wanted = [policy.decide(page(s, 8), float(s)) for s in range(31)]
    assert wanted == [1] * 30 + [4]  # 8 / 2


def test_one_smaller_wish_starts_the_row_anew() -> None:
    policy = RayServe(2.0, 1, 100)
    for s in range(20):
        policy.decide(page(s, 8), float(s))
    assert policy.decide(page(20, 8, ready=4), 20.0) == 4  # as many as are wished
    wanted = [policy.decide(page(s, 8), float(s)) for s in range(21, 52)]
    assert wanted == [1] * 30 + [4]


def test_fewer_are_believed_after_ten_minutes_in_a_row() -> None:
    policy = RayServe(2.0, 1, 100)
    wanted = [policy.decide(page(s, 2, ready=5), float(s)) for s in range(601)]
    assert wanted == [5] * 600 + [1]


def test_requests_are_the_mean_of_the_pages_of_thirty_seconds() -> None:
    policy = RayServe(2.0, 1, 100)
    for s, requests in ((0, 90), (10, 4), (20, 6), (30, 8)):
        policy.decide(page(s, requests), float(s))
    assert policy.mean == 6.0  # of 4, 6, 8: the first is 30 s old


def test_a_factor_below_one_that_gets_stuck_gives_up_one() -> None:
    # From 4 towards 2.5: 4 - 0.1 x 1.5 = 3.85 rounds up to 4, so 3; towards 3.6 the wish itself rounds up to 4: 4.
    policy = RayServe(2.0, 1, 100, down_factor=0.1)
    assert policy._wished(2.5, 4) == 3
    assert policy._wished(3.6, 4) == 4


def test_factors_scale_the_difference() -> None:
    # 2 + 0.5 x (8 - 2) = 5; 8 + 0.5 x (2 - 8) = 5.
    policy = RayServe(2.0, 1, 100, up_factor=0.5, down_factor=0.5)
    assert policy._wished(8.0, 2) == policy._wished(2.0, 8) == 5


def test_at_zero_the_first_request_makes_one_at_once() -> None:
    policy = RayServe(2.0, 0, 100)
    assert policy.decide(view(at_s=0.0, waiting=[]), 0.0) == 0
    assert policy.decide(view(at_s=10.0, waiting=[], held=40), 10.0) == 1


def test_the_last_goes_only_from_one() -> None:
    policy = RayServe(2.0, 0, 100)
    wanted = [policy.decide(page(s, 0, ready=3), float(s)) for s in range(601)]
    assert wanted[-1] == 1
    wanted = [policy.decide(page(s, 0), float(s)) for s in range(601, 1202)]
    assert wanted == [1] * 600 + [0]


def test_long_prompts_at_a_flat_rate_change_nothing() -> None:
    policies = [RayServe(2.0, 1, 100) for _ in range(2)]
    for s in range(40):
        pages = [view(at_s=s // 10 * 10.0, waiting=[0], running=[8], kv_usage=[use]) for use in (0.1, 0.9)]
        first, second = (policy.decide(one, float(s)) for policy, one in zip(policies, pages, strict=True))
        assert first == second
