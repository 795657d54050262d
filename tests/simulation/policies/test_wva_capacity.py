"""WVA's V2 on worked examples and in a small world."""

from __future__ import annotations

import pytest

from autoscaler.simulation.engines import Params
from autoscaler.simulation.policies import wva_capacity
from autoscaler.simulation.policies.wva_capacity import WvaV2, combined
from autoscaler.simulation.view import View
from tests.fakes.small_worlds import SLOW, most_replicas, replicas_at, run_small, small_scenario, steps
from tests.fakes.views import deployment, totals, view

# Steps of 1,000 tokens and 64 sequences; a cache of 10,000 tokens, 8,000 of which count.
PROFILE = Params(0.010, 0.0005, 0.0, 0.0, 10_000.0, 64, 1000.0)
CACHE = 10_000.0


def v2() -> WvaV2:
    """A policy that saw one idle page."""
    policy = WvaV2(deployment(profile=PROFILE))
    policy._see(view(at_s=-600.0))
    return policy


def fed(policy: WvaV2, prompt: float, output: float) -> WvaV2:
    """With sizes of the last five minutes: 100 requests."""
    policy._see(view(at_s=-300.0))
    told = totals(prompt_tokens=100.0 * prompt, generated_tokens=100.0 * output, finished=100, first_tokens=100)
    policy._see(view(at_s=-15.0, totals_=told))
    return policy


def page(
    kv_usage: tuple[float, ...], waiting: tuple[int, ...] | None = None, *, coming: int = 0, held: int = 0
) -> View:
    count = len(kv_usage)
    return view(waiting=waiting or (0,) * count, kv_usage=kv_usage, kv_tokens=CACHE, coming=coming, held=held)


def test_the_published_shares_are_0_85_and_0_70() -> None:
    policy = next(s for s in wva_capacity.PEERS[0].settings if s.default).build(deployment())
    assert isinstance(policy, WvaV2)
    assert (policy.more, policy.less) == pytest.approx((0.85, 0.70))
    assert policy.keda.up.stabilization_s == 240.0


def test_without_sizes_a_replica_takes_0_8_of_its_cache() -> None:
    # 2 x 9,000 / 0.85 = 21,176 tokens over 8,000 are 2.6: 0.6 more than 2, so one.
    policy = v2()
    assert policy.analysis(page((0.9, 0.9))) == pytest.approx((18_000 / 0.85 / 8000 - 2.0, 0.0))
    assert policy.decide(page((0.9, 0.9))) == 3


def test_it_adds_as_many_as_are_required_at_once() -> None:
    # 10,000 in use and 4 x 1,000 queued: 14,000 / 0.85 / 8,000 = 2.06; a queue of 4 is no observation.
    assert fed(v2(), 1000.0, 1000.0).decide(page((1.0,), (4,))) == 3
    assert fed(v2(), 1000.0, 1000.0).analysis(page((1.0,), (4,)))[0] == pytest.approx(14_000 / 0.85 / 8000 - 1.0)


def test_replicas_that_come_are_capacity_on_the_way_up_and_none_on_the_way_down() -> None:
    policy = v2()
    assert policy.decide(page((0.9, 0.9), coming=1)) == 3  # 2.6 of 3
    # 2 x 2,000 / 0.70 / 8,000 = 0.7: 1.3 of the two ready are spare, one goes, from the three there are.
    assert policy.analysis(page((0.2, 0.2), coming=1))[1] == pytest.approx(2.0 - 4000 / 0.7 / 8000)
    assert v2().decide(page((0.2, 0.2), coming=1)) == 2


def test_between_the_shares_nothing_moves() -> None:
    # 2 replicas: up above 0.85 x 16,000 = 13,600, down below (2 - 1) x 8,000 x 0.70 = 5,600.
    assert [v2().decide(page((use, use))) for use in (0.29, 0.60, 0.67)] == [2, 2, 2]
    assert [v2().decide(page((use, use))) for use in (0.27, 0.69)] == [1, 3]


def test_a_queue_of_five_shows_what_compute_can_hold() -> None:
    # 3,000 tokens in use while 5 wait: that is full. D = 3,000 + 5 x 100 over 0.85 and 3,000: 1.4.
    policy = fed(v2(), 100.0, 200.0)
    assert policy.decide(page((0.3,), (5,))) == 2
    # It is remembered for outputs of 100 to 500 tokens: 2 x 0.3 is 1.2 x 2 replicas' worth of 0.85.
    assert policy.capacities[1][0] == 3000.0
    assert policy.analysis(page((0.3, 0.3)))[0] == pytest.approx(6000 / 0.85 / 3000 - 2.0)


def test_ten_observations_are_averaged_and_a_bucket_of_outputs_has_its_own() -> None:
    policy = fed(v2(), 100.0, 200.0)
    for _ in range(12):
        policy.decide(page((0.3,), (5,)))
    policy.decide(page((0.5,), (5,)))
    assert list(policy.capacities[1]) == [3000.0] * 9 + [5000.0]
    # For outputs of 600 tokens nothing was seen: steady state has 1,000 x 600 / 700 = 857 of at most 64 sequences of
    # 100 + 300 tokens: 25,600, so that the cache limits.
    longer = fed(v2(), 100.0, 600.0)
    longer.capacities = policy.capacities
    assert longer.analysis(page((0.5,)))[0] == 0.0
    assert policy.analysis(page((0.5,)))[0] == pytest.approx(5000 / 0.85 / 3200 - 1.0)


def test_a_restarted_one_forgets_what_it_saw_beneath_a_queue() -> None:
    old = fed(v2(), 100.0, 200.0)
    old.decide(page((0.3,), (5,)))
    new = fed(v2(), 100.0, 200.0)
    # 3 x 3,000 in use: with 3,000 for each it is too much for three, with the cache's 8,000 one of them is spare.
    busy = page((0.3, 0.3, 0.3))
    assert old.decide(busy) == 4
    assert new.decide(busy) == 2


def test_what_the_engine_is_told_limits_a_replica_that_was_never_seen_full() -> None:
    # 900 in, 10 out: 1,000 x 10 / 910 = 11 sequences of 905 tokens are 9,945: the cache's 8,000 count.
    # 100 in, 10 out: 64 sequences of 105 tokens are 6,720.
    assert fed(v2(), 100.0, 10.0).analysis(page((0.9,)))[0] == pytest.approx(9000 / 0.85 / 6720 - 1.0)
    assert fed(v2(), 900.0, 10.0).analysis(page((0.9,)))[0] == pytest.approx(9000 / 0.85 / 8000 - 1.0)


def test_the_median_replica_counts() -> None:
    # One of three is seen full at 2,000; the others take that average too.
    policy = fed(v2(), 100.0, 200.0)
    assert policy.analysis(page((0.2, 0.4, 0.4), (5, 0, 0)))[0] == pytest.approx((10_000 + 500) / 0.85 / 2000 - 3.0)


def test_what_is_held_counts_with_prompt_and_output() -> None:
    policy = fed(v2(), 1000.0, 600.0)
    # 5 x 1,600 and nothing in use: 8,000 / 0.85 / 8,000.
    assert policy.analysis(page((0.0,), held=5))[0] == pytest.approx(1 / 0.85 - 1.0)


def test_any_analysis_adds_and_only_all_take_away() -> None:
    four = view(waiting=[0] * 4)
    assert combined(four, [(0.2, 0.0), (0.0, 2.0)]) == 5
    assert combined(four, [(0.0, 1.9), (0.0, 3.0)]) == 3
    assert combined(four, [(0.0, 0.0), (0.0, 3.0)]) == 4
    assert combined(four, [(0.0, 9.0)]) == 1


def test_in_a_small_world_a_step_is_followed_at_once_and_left() -> None:
    # The cache takes 0.8 x 2,000; a busy replica holds 800: at a share of 0.6 that is 0.83 replicas.
    policy = WvaV2(deployment(profile=SLOW, max_replicas=20), 0.6, is_fast=True)
    run = run_small(policy, small_scenario(steps((120.0, 0.4), (480.0, 3.6), (900.0, 0.4)), 1500.0))
    assert replicas_at(run, 119.0) == 1
    assert replicas_at(run, 300.0) >= 3
    assert replicas_at(run, 1499.0) == 1


def test_in_a_small_world_replicas_that_come_stop_the_cascade() -> None:
    # What waits during a start of 120 s is asked for once: fewer than the bound of 20.
    policy = WvaV2(deployment(profile=SLOW, max_replicas=20), 0.85, is_fast=True)
    run = run_small(policy, small_scenario(steps((60.0, 0.4), (300.0, 2.0)), 360.0, start_s=120.0))
    assert 2 <= most_replicas(run) < 20
