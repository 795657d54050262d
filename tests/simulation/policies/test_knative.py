"""Knative's rule on worked examples."""

from __future__ import annotations

from autoscaler.simulation.policies import knative
from autoscaler.simulation.policies.knative import Knative
from autoscaler.simulation.policies.signals import Samples
from autoscaler.simulation.view import View
from tests.fakes.views import deployment, view


def in_pods(at_s: float, total: int, ready: int = 1) -> View:
    return view(at_s=at_s, waiting=[0] * ready, running=[total] + [0] * (ready - 1))


def test_the_published_target_is_seventy_requests() -> None:
    policy = next(s for s in knative.PEERS[0].settings if s.default).build(deployment())
    assert isinstance(policy, Knative)
    assert policy.target == 70.0


def test_stable_is_the_mean_of_a_minute_over_the_target() -> None:
    policy = Knative(target=10.0)
    policy.seen = Samples(60.0)
    policy.seen.add(-1000.0, 0.0)  # not a new autoscaler: that would begin in panic
    # 30 pages of 2 s: 15 with 8 in flight, 15 with 14: mean 11, ceil(11 / 10) = 2; the panic mean asks for
    # ceil(14 / 10) = 2 with 2 ready, below the threshold of twice.
    wanted = [policy.decide(in_pods(2.0 * k, 8 if k < 15 else 14, ready=2), 2.0 * k) for k in range(30)]
    assert wanted[14] == 1  # ceil(8 / 10)
    assert wanted[29] == 2


def test_twice_what_is_ready_is_panic_and_panic_only_scales_up_for_a_minute() -> None:
    policy = Knative(target=7.0)
    assert policy.decide(in_pods(0.0, 14), 0.0) == 2  # ceil(14 / 7) = 2 over 1 ready: panic
    assert policy.decide(in_pods(2.0, 28), 2.0) == 3  # mean of 6 s is 21: 3
    # Then nothing: the 6 s means are 14, 9.3 and 0, so it is over the threshold last at 6 s (ceil(9.3 / 7) = 2 over 1).
    for k in range(2, 34):
        assert policy.decide(in_pods(2.0 * k, 0), 2.0 * k) == 3
    # 68 s: out of panic, the minute holds only zeros; the last replica has its 30 s of grace.
    assert [policy.decide(in_pods(2.0 * k, 0), 2.0 * k) for k in (34, 48, 49)] == [1, 1, 0]


def test_a_new_autoscaler_keeps_what_it_finds_for_a_minute_then_halves_at_most() -> None:
    policy = Knative(target=7.0)
    wanted = [policy.decide(in_pods(2.0 * k, 1, ready=8), 2.0 * k) for k in range(32)]
    assert wanted[:31] == [8] * 31
    assert wanted[31] == 4  # ceil(1 / 7) = 1, but no less than floor(8 / 2)


def test_without_a_new_page_nothing_moves() -> None:
    policy = Knative(target=7.0)
    policy.decide(in_pods(0.0, 14), 0.0)
    assert policy.decide(view(at_s=0.0, spec=5, waiting=[0], running=[14]), 2.0) == 5


def test_long_prompts_at_a_flat_concurrency_change_nothing() -> None:
    short, long = Knative(target=7.0), Knative(target=7.0)
    for k in range(40):
        pages = [view(at_s=2.0 * k, waiting=[0], running=[13], kv_usage=[use]) for use in (0.1, 0.9)]
        assert short.decide(pages[0], 2.0 * k) == long.decide(pages[1], 2.0 * k) == 2


def test_from_zero_the_activator_holds_and_one_is_wanted() -> None:
    assert Knative(target=7.0).decide(view(at_s=0.0, waiting=[], held=1), 0.0) == 1
