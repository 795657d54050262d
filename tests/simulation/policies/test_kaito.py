"""keda-kaito-scaler's rules, on worked examples and in a small world."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from autoscaler.simulation.engines import TTFT_S
from autoscaler.simulation.policies.kaito import Kaito, KaitoLegacy
from autoscaler.simulation.policy import HpaPolicy, Value, desired_of_all
from autoscaler.simulation.scenario import Fault, FaultKind
from autoscaler.simulation.view import View
from tests.fakes.small_worlds import replicas_at, run_small, small_scenario, steps
from tests.fakes.views import view


def asked(policy: HpaPolicy, page: View, now_s: float | None = None) -> int | None:
    return desired_of_all(policy.metrics(page, page.at_s if now_s is None else now_s), page, policy.keda)


def told(at_s: float, waiting: int, first_tokens: Sequence[int], seconds: Sequence[float]) -> View:
    """One replica per entry, with what it told since it started."""
    page = view(at_s=at_s, waiting=[waiting] * len(seconds))
    page.floats[:, TTFT_S] = seconds
    page.ttft[:, 5] = first_tokens
    return page


def test_above_the_upper_threshold_it_asks_for_twice_below_the_lower_for_half() -> None:
    # Means per replica of 11, 10, 1 and 0.5 against 10 and 1.
    for waiting, wanted in (([12, 10], 4), ([12, 8], 2), ([1, 1], 2), ([1, 0], 1)):
        assert asked(Kaito(), view(waiting=waiting)) == wanted


def test_up_only_while_every_replica_is_ready() -> None:
    assert asked(Kaito(), view(waiting=[40], coming=1)) == 2
    assert Kaito().metrics(view(waiting=[40], coming=1), 0.0) == (Value(1.0, 1.0),)


def test_down_needs_no_gate() -> None:
    assert Kaito().metrics(view(waiting=[0], coming=1), 0.0) == (Value(0.5, 1.0),)


def test_with_two_metrics_both_must_be_beyond() -> None:
    # In 300 s 10 first tokens after 400 s together: 40 s; after 200 s: 20 s, which is not above 30.
    for seconds, waiting, wanted in (
        (400.0, 11, 2.0),
        (200.0, 11, 1.0),
        (400.0, 10, 1.0),
        (5.0, 0, 0.5),
        (20.0, 0, 1.0),
    ):
        policy = Kaito((10.0, 1.0), (30.0, 1.0))
        policy.metrics(told(0.0, waiting, [5], [100.0]), 0.0)
        assert policy.metrics(told(300.0, waiting, [15], [100.0 + seconds]), 300.0) == (Value(wanted, 1.0),)


def test_the_mean_is_an_error_until_four_fifths_of_its_window_are_known() -> None:
    policy = Kaito((10.0, 1.0), (30.0, 1.0))
    wanted = [policy.metrics(told(15.0 * k, 11, [10 * k], [400.0 * k]), 15.0 * k) for k in range(17)]
    assert wanted[:16] == [(None,)] * 16
    assert wanted[16] == (Value(2.0, 1.0),)  # 240 s of 300 s


def test_a_replica_that_goes_takes_its_counters_with_it_and_the_mean_reads_zero() -> None:
    policy = Kaito((10.0, 1.0), (30.0, 1.0))
    policy.metrics(told(0.0, 11, [5, 5], [200.0, 200.0]), 0.0)
    # The one that stays told 5 more after 40 s each, but the sum fell from 400 s to 400 s and the count from 10 to 10.
    assert policy.metrics(told(300.0, 11, [10], [400.0]), 300.0) == (Value(1.0, 1.0),)


def test_the_former_rule_is_the_sum_of_what_waits_over_ten() -> None:
    assert asked(KaitoLegacy(10.0), view(waiting=[31])) == 4
    # 7 over 10 x 1 is above a half: one of two would do, but its tolerance down is a half: 14 of 20 stay, 9 do not.
    assert asked(KaitoLegacy(10.0), view(waiting=[7, 7])) == 2
    assert asked(KaitoLegacy(10.0), view(waiting=[4, 5])) == 1


def test_pages_older_than_45_seconds_are_an_error() -> None:
    page = view(at_s=0.0, waiting=[40])
    for policy in (Kaito(), KaitoLegacy(10.0)):
        assert policy.metrics(page, 45.0) != (None,)
        assert policy.metrics(page, 45.1) == (None,)


def test_in_a_small_world_a_step_of_eight_times_brings_one_replica_in_five_minutes() -> None:
    # 0.4 then 3.2 requests a second: 3 replicas of 1.2 would do. What waits passes 10 some 6 s after the step; the
    # window of 60 s has passed at 180 s to 200 s, the next step is allowed 300 s later, and two can take 2.4.
    run = run_small(Kaito(), small_scenario(steps((120.0, 0.4), (480.0, 3.2)), 600.0))
    assert [replicas_at(run, at_s) for at_s in (165.0, 215.0, 475.0, 540.0)] == [1, 2, 2, 3]


def test_in_a_small_world_quick_settings_still_wait_for_every_start() -> None:
    run = run_small(Kaito(is_quick=True), small_scenario(steps((120.0, 0.4), (480.0, 3.2)), 600.0))
    ups = [at_s for at_s, count in run.steps if count > 1]
    assert ups[0] <= 150.0
    assert min(after_s - before_s for before_s, after_s in pairwise(ups)) >= 60.0  # a start


def test_in_a_small_world_one_goes_in_five_minutes() -> None:
    run = run_small(Kaito(), small_scenario(steps((1000.0, 0.2)), 1000.0, initial=4))
    assert [count for _, count in run.steps] == [4, 3, 2, 1]
    assert all(
        300.0 <= after_s - before_s <= 315.0 for before_s, after_s in pairwise(at_s for at_s, _ in run.steps[1:])
    )


def test_in_a_small_world_a_blackout_at_the_peak_holds() -> None:
    fault = Fault(FaultKind.BLACKOUT, 600.0, 600.0)
    run = run_small(Kaito(is_quick=True), small_scenario(steps((1200.0, 3.0)), 1200.0, initial=4, fault=fault))
    assert replicas_at(run, 650.0) == replicas_at(run, 1190.0)
