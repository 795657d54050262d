"""llm-d's token-aware path on worked examples and in a small world."""

from __future__ import annotations

import pytest

from autoscaler.simulation.engines import LLAMA_70B_H100X4
from autoscaler.simulation.policies import llmd_token_aware
from autoscaler.simulation.policies.llmd_saturation import Pace, behavior
from autoscaler.simulation.policies.llmd_token_aware import LlmdTokenAware, peak_prefill
from autoscaler.simulation.policy import AverageValue, desired_of_all
from autoscaler.simulation.scenario import Fault, FaultKind
from autoscaler.simulation.view import View
from tests.fakes.small_worlds import most_replicas, replicas_at, run_small, small_scenario, steps
from tests.fakes.views import deployment, totals, view

PEAK = 10_000.0  # prompt tokens per second


def path(backlog_s: float = 1.5, kv_use: float = 0.8, *, peak: float = PEAK, pace: Pace = Pace.HPA) -> LlmdTokenAware:
    return LlmdTokenAware(peak, backlog_s, kv_use, behavior(pace, 60.0))


def page(at_s: float, arrivals: int, first: int, *, held: int = 0, cached: float = 0.0, kv: float = 0.0) -> View:
    """Two replicas; prompts of 2,000 tokens, a share of them cached."""
    told = totals(prompt_tokens=2000.0 * first, cached_tokens=2000.0 * cached * first, first_tokens=first)
    return view(at_s=at_s, waiting=[0, 0], kv_usage=[kv, kv], arrivals=arrivals, held=held, totals_=told)


def values(policy: LlmdTokenAware, page: View, now_s: float) -> tuple[float, float]:
    backlog, kv_use = policy.metrics(page, now_s)
    assert isinstance(backlog, AverageValue)
    assert isinstance(kv_use, AverageValue)
    return backlog.value, kv_use.value


def test_an_idle_replica_prefills_what_a_full_step_takes() -> None:
    # 2,048 tokens in 16.73 + 0.04 + 2,048 x 0.0625 = 144.8 ms: 14,143 a second.
    assert peak_prefill(LLAMA_70B_H100X4) == pytest.approx(14_143, rel=1e-3)


def test_the_published_setting_is_1_5_seconds_and_0_8_one_pod_in_three_minutes() -> None:
    policy = next(s for s in llmd_token_aware.PEERS[0].settings if s.default).build(deployment())
    assert isinstance(policy, LlmdTokenAware)
    assert (policy.backlog_s, policy.kv_use) == (1.5, 0.8)
    assert (policy.keda.up.value.tolist(), policy.keda.up.period_s.tolist()) == ([1.0], [180.0])
    assert policy.peak_tokens_s == pytest.approx(14_143, rel=1e-3)


def test_the_backlog_is_tokens_without_a_first_token_over_the_peak() -> None:
    policy = path()
    assert values(policy, page(0.0, 0, 0), 0.0) == (0.0, 0.0)
    # 130 came, 5 are held, 100 have a first token: 25 x 2,000 / 10,000 = 5 s.
    now = page(15.0, 130, 100, held=5)
    assert values(policy, now, 15.0) == (5.0, 0.0)
    assert desired_of_all(policy.metrics(now, 15.0), now, policy.keda) == 4  # 5 / 1.5 = 3.3


def test_cached_prompt_tokens_are_no_backlog() -> None:
    policy = path()
    policy.metrics(page(0.0, 0, 0), 0.0)
    assert values(policy, page(15.0, 125, 100, cached=0.4), 15.0)[0] == pytest.approx(3.0)


def test_an_eight_times_longer_prompt_is_eight_times_the_backlog() -> None:
    policy = path()
    policy.metrics(page(0.0, 0, 0), 0.0)
    told = totals(prompt_tokens=16_000.0 * 100, first_tokens=100)
    assert values(policy, view(at_s=15.0, arrivals=125, totals_=told), 15.0)[0] == pytest.approx(40.0)


def test_the_kv_caches_in_use_count_together() -> None:
    policy, now = path(), page(15.0, 0, 0, kv=0.9)
    assert values(policy, now, 15.0) == (0.0, 1.8)
    assert desired_of_all(policy.metrics(now, 15.0), now, policy.keda) == 3  # 1.8 / 0.8 = 2.25


def test_when_pages_fail_the_kv_use_reads_zero() -> None:
    policy, now = path(), page(15.0, 0, 0, kv=0.9)
    assert values(policy, now, 37.0) == (0.0, 1.8)
    assert values(policy, now, 38.0) == (0.0, 0.0)
    assert desired_of_all(policy.metrics(now, 38.0), now, policy.keda) == 0  # the HPA's minimum


def test_in_a_small_world_a_step_is_followed_and_left() -> None:
    # A replica takes 1.2 a second and then holds 8 x 100 of 2,000 tokens: 0.4.
    trace = steps((120.0, 0.4), (480.0, 2.4), (900.0, 0.4))
    run = run_small(path(kv_use=0.3, peak=4000.0), small_scenario(trace, 1500.0))
    assert replicas_at(run, 119.0) == 1
    assert most_replicas(run) >= 2
    assert replicas_at(run, 1499.0) == 1


def test_in_a_small_world_a_blackout_at_full_load_shrinks_the_fleet() -> None:
    # 3 replicas at 3.0 a second hold 0.4 each: 1.2 / 0.3 = 4. Blind, the KV use reads 0 and after 300 s one is left.
    fault = Fault(FaultKind.BLACKOUT, 400.0, 500.0)
    run = run_small(path(kv_use=0.3, peak=1e9), small_scenario(steps((900.0, 3.0)), 900.0, initial=4, fault=fault))
    assert replicas_at(run, 399.0) >= 3
    assert replicas_at(run, 800.0) == 1


def test_in_a_small_world_the_hpa_buys_again_before_the_last_has_started() -> None:
    # 4 a second need 3.4 replicas; the backlog of those that wait grows all the 120 s that a start takes.
    scenario = small_scenario(steps((60.0, 0.4), (600.0, 4.0)), 600.0, start_s=120.0)
    at_once = run_small(path(0.05, 0.8, peak=2000.0), scenario)
    after_a_start = run_small(LlmdTokenAware(2000.0, 0.05, 0.8, behavior(Pace.START, 120.0)), scenario)
    assert most_replicas(at_once) == 20
    assert replicas_at(after_a_start, 170.0) < replicas_at(at_once, 170.0)
