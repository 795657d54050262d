"""Kthena's autoscaler on a latency, on worked examples and in a small world."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from autoscaler.simulation.engines import TTFT_BOUNDS
from autoscaler.simulation.policies import kthena_latency
from autoscaler.simulation.policies.kthena_latency import TTFT, KthenaLatency
from autoscaler.simulation.view import View
from tests.fakes.small_worlds import most_replicas, replicas_at, run_small, small_scenario, steps
from tests.fakes.views import deployment, view


def policy(target_s: float = 1.0) -> KthenaLatency:
    return KthenaLatency(TTFT, target_s, 1, 20)


def page(at_s: float, *pods: Sequence[int], coming: int = 0) -> View:
    """Observations so far of each pod: up to 0.75 s, 1 s, 2.5 s."""
    now = view(at_s=at_s, waiting=[0] * len(pods), coming=coming)
    for row, counts in zip(now.ttft, pods, strict=True):
        for bound, count in zip((0.75, 1.0, 2.5), counts, strict=True):
            row[TTFT_BOUNDS.index(bound)] = count
    return now


def test_without_a_published_target_the_default_is_the_limit() -> None:
    default = next(s for s in kthena_latency.PEERS[0].settings if s.default).build(deployment())
    assert isinstance(default, KthenaLatency)
    assert (default.metric, default.target) == (TTFT, 3.0)


def test_a_pod_counts_as_its_95th_percentile_of_the_last_minute() -> None:
    one = policy()
    # 80 to 0.75 s and 20 to 1 s: three quarters into the second bucket.
    assert one.total(page(0.0, [80, 20, 0])) == pytest.approx(0.75 + 0.25 * 0.75)
    # 100 more, all between 1 and 2.5 s, are all of the next minute.
    assert one.total(page(60.0, [80, 20, 100])) == pytest.approx(1.0 + 1.5 * 0.95)
    assert one.total(page(120.0, [80, 20, 100])) == 0.0


def test_pods_are_summed_which_for_a_latency_is_the_ratio_rule() -> None:
    # Three pods at 2.425 s each are 7.3 targets of 1 s: 8, of which a minute allows 3 + 4. Of 1.2 s they are 6.1.
    slow = [0, 0, 100]
    assert policy().decide(page(0.0, slow, slow, slow), 0.0) == 7
    assert policy(2.425).decide(page(0.0, slow, slow, slow), 0.0) == 3
    assert policy(1.2).decide(page(0.0, slow, slow, slow), 0.0) == 7


def test_the_tolerance_is_that_of_one_pod() -> None:
    # Four pods at 0.27 of the target each: 1.08 is within a tenth of 1, though 2 would do.
    fast = [0, 100, 0]  # 0.9875 s
    assert policy(0.9875 / 0.27).decide(page(0.0, fast, fast, fast, fast), 0.0) == 4
    assert policy(0.9875 / 0.29).decide(page(0.0, fast, fast, fast, fast), 0.0) == 2


def test_pods_that_load_dampen_it() -> None:
    # 2.425 over 1 + 2 pods of 1 is below 1.
    assert policy().decide(page(0.0, [0, 0, 100], coming=2), 0.0) == 3


def test_counters_that_begin_again_are_taken_as_they_are() -> None:
    one = policy()
    one.total(page(0.0, [500, 0, 0]))
    assert one.total(page(15.0, [0, 100, 0])) == pytest.approx(0.75 + 0.25 * 0.95)


def test_in_a_small_world_a_step_is_followed_and_left() -> None:
    # 1.2 a second fill a replica; a TTFT alone is 60 to 130 ms.
    run = run_small(
        KthenaLatency(TTFT, 1.0, 1, 20), small_scenario(steps((120.0, 0.4), (480.0, 2.4), (900.0, 0.4)), 1500.0)
    )
    assert replicas_at(run, 119.0) == 1
    assert most_replicas(run) >= 3
    assert replicas_at(run, 1499.0) < most_replicas(run)
