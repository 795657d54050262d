"""llm-d's SLO-aware path on worked examples and in a small world."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from autoscaler.core.records import Objective
from autoscaler.simulation.engines import TPOT_BOUNDS, TTFT_BOUNDS
from autoscaler.simulation.policies import llmd_slo
from autoscaler.simulation.policies.llmd_slo import LlmdSlo
from autoscaler.simulation.policy import AverageValue
from autoscaler.simulation.view import View
from tests.fakes.small_worlds import most_replicas, replicas_at, run_small, small_scenario, steps
from tests.fakes.views import deployment, totals, view

OBJECTIVE = Objective(ttft_s=3.0, tpot_s=0.060)


def page(at_s: float, ttft: Sequence[int], tpot: Sequence[int], *, ready: int = 4, coming: int = 0) -> View:
    """Requests so far per bucket; of TTFT: to 0.75, 1, 2.5, 5 and 10 s; of TPOT: to 25, 50, 75 and 100 ms."""
    first, each = [0] * (len(TTFT_BOUNDS) + 1), [0] * (len(TPOT_BOUNDS) + 1)
    for bound, count in zip((0.75, 1.0, 2.5, 5.0, 10.0), ttft, strict=False):
        first[TTFT_BOUNDS.index(bound)] = count
    for bound, count in zip((0.025, 0.05, 0.075, 0.1), tpot, strict=False):
        each[TPOT_BOUNDS.index(bound)] = count
    return view(at_s=at_s, waiting=[0] * ready, coming=coming, totals_=totals(ttft=first, tpot=each))


def held(s: float, *, grow: float = 0.55, shrink: float = 0.40) -> LlmdSlo:
    """A policy whose signal of the last 45 s is s."""
    policy = LlmdSlo(OBJECTIVE, grow, shrink)
    for at_s in (15.0, 30.0, 45.0):
        policy.saturation.add(at_s, s)
    return policy


def wanted(policy: LlmdSlo, ready: int, coming: int = 0) -> float:
    (metric,) = policy.metrics(view(at_s=45.0, waiting=[0] * ready, coming=coming), 45.0)
    assert isinstance(metric, AverageValue)
    assert metric.target == 1.0
    return metric.value


def test_the_published_band_is_0_55_and_0_40_fast_up_and_slow_down() -> None:
    policy = next(s for s in llmd_slo.PEERS[0].settings if s.default).build(deployment())
    assert isinstance(policy, LlmdSlo)
    assert (policy.grow, policy.shrink) == (0.55, 0.40)
    up, down = policy.keda.up, policy.keda.down
    assert (up.value.tolist(), up.period_s.tolist(), up.stabilization_s) == ([100.0, 4.0], [60.0, 60.0], 30.0)
    assert (down.value.tolist(), down.period_s.tolist(), down.stabilization_s) == ([1.0], [120.0], 180.0)


def test_the_signal_is_the_larger_tail_over_its_limit_averaged_over_45_seconds() -> None:
    policy = LlmdSlo(OBJECTIVE, 0.55, 0.40)
    assert policy.metrics(page(0.0, [], []), 0.0) == (None,)
    # 80 to 0.75 s and 20 to 1 s: the 90th of 100 is half way: 0.875 s of 3. TPOT 90 % within 50 ms: 50 of 60 ms.
    policy.metrics(page(15.0, [80, 20], [0, 90, 10]), 15.0)
    assert policy.saturation.mean() == pytest.approx(0.05 / 0.06)
    # 100 more, all between 2.5 and 5 s: over the minute the 180th of 200 is 80 % into that bucket: 4.5 s of 3.
    policy.metrics(page(30.0, [80, 20, 0, 100], [0, 190, 10]), 30.0)
    assert policy.saturation.mean() == pytest.approx((0.05 / 0.06 + 1.5) / 2.0)


def test_a_spike_counts_as_twice_the_limit_at_most() -> None:
    policy = LlmdSlo(OBJECTIVE, 0.55, 0.40)
    policy.metrics(page(0.0, [], []), 0.0)
    policy.metrics(page(15.0, [0, 0, 0, 0, 100], [100]), 15.0)  # 9.5 s of 3
    assert policy.saturation.mean() == 2.0


def test_above_the_band_it_grows_by_the_share_below_it_shrinks_by_the_share_and_within_it_holds() -> None:
    # 4 + ceil(4 (0.8 / 0.55 - 1)) = 4 + ceil(1.8); 10 - floor(10 (1 - 0.3 / 0.4)) = 10 - floor(2.5).
    assert wanted(held(0.8), 4) == 6
    assert wanted(held(0.3), 10) == 8
    assert [wanted(held(s), 10) for s in (0.40, 0.47, 0.55)] == [10, 10, 10]
    assert wanted(held(0.0), 4) == 0  # the HPA's minimum


def test_replicas_that_come_are_credited_on_the_way_up_only() -> None:
    # 4 of 6 serve: 6 + ceil(6 (1.1 x 4 / 6 / 0.55 - 1)) = 6 + ceil(2.0); uncredited 12.
    assert wanted(held(1.1), 4, coming=2) == 8
    # 1 of 4: 0.8 / 4 / 0.55 = 0.36; it asks for no fewer than there are.
    assert wanted(held(0.8), 1, coming=3) == 4
    # Below the band the signal counts as it is: 6 - floor(6 (1 - 0.2 / 0.4)).
    assert wanted(held(0.2), 4, coming=2) == 3


def test_at_ten_replicas_one_more_is_within_the_hpas_tolerance() -> None:
    assert wanted(held(0.6), 10) == 11  # 10 + ceil(10 (0.6 / 0.55 - 1)) = 11, which is 1.1 times 10


def test_when_pages_fail_it_keeps_its_signal() -> None:
    policy = held(0.8)
    for now_s in (60.0, 600.0):
        (metric,) = policy.metrics(view(at_s=45.0, waiting=[0] * 4), now_s)
        assert metric == AverageValue(6.0, 1.0)


def test_in_a_small_world_a_step_is_followed_and_left_one_at_a_time() -> None:
    # A lone request's token takes 52 ms here, told as 50 to 75: 72.5 of 300 ms are 0.24, from which it shrinks.
    policy = LlmdSlo(Objective(ttft_s=1.0, tpot_s=0.300), 0.55, 0.40)
    run = run_small(policy, small_scenario(steps((120.0, 0.4), (480.0, 2.4), (900.0, 0.4)), 1500.0))
    assert replicas_at(run, 119.0) == 1
    assert most_replicas(run) >= 3
    falls = [(a, b) for (_, a), (_, b) in pairwise(run.steps) if b < a]
    assert falls
    assert all(a - b == 1 for a, b in falls)


def test_in_a_small_world_a_limit_near_the_base_latency_never_lets_go() -> None:
    # 72.5 of 200 ms are 0.36: floor(n (1 - 0.36 / 0.40)) is 0 below 11 replicas, and above one, within the tolerance.
    policy = LlmdSlo(Objective(ttft_s=1.0, tpot_s=0.200), 0.55, 0.40)
    run = run_small(policy, small_scenario(steps((120.0, 0.4), (480.0, 2.4), (900.0, 0.4)), 1500.0))
    assert replicas_at(run, 1499.0) == most_replicas(run) >= 3


def test_in_a_small_world_it_sees_a_step_only_in_its_tail_and_so_one_start_too_late() -> None:
    # 1.0 to 4.8 a second with 120 s to start: what comes in that time waits.
    policy = LlmdSlo(Objective(ttft_s=1.0, tpot_s=0.200), 0.55, 0.40)
    run = run_small(policy, small_scenario(steps((300.0, 0.6), (300.0, 4.8)), 600.0, start_s=120.0))
    during = (run.arrival_s > 300.0) & (run.arrival_s < 420.0)
    late = run.first_s[during] - run.arrival_s[during] > 1.0
    assert late.mean() > 0.9
    assert replicas_at(run, 420.0) > 1
