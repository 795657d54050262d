"""Dynamo's load loop on worked examples."""

from __future__ import annotations

from collections.abc import Sequence

from autoscaler.core.records import Objective
from autoscaler.simulation.engines import Params
from autoscaler.simulation.policies.dynamo_load import DynamoLoad, EasyRule, SlaRule
from autoscaler.simulation.policies.dynamo_throughput import Predictor, ThroughputLoop
from autoscaler.simulation.view import View
from tests.fakes.views import totals, view

# 20 ms, 1 ms a sequence, 0.1 ms a prompt token; 1000 tokens a step, a cache of 1 000 000.
PROFILE = Params(0.020, 0.001, 0.0001, 0.0, 1e6, 100, 1000.0)
OBJECTIVE = Objective(ttft_s=3.0, tpot_s=0.050)


def page(
    at_s: float, running: Sequence[int], waiting: Sequence[int] | None = None, kv: Sequence[float] | None = None
) -> View:
    """In 5 s 50 prompts of 100 tokens, and steps of 50 ms: with two workers 25 prompt tokens in a step of each."""
    k = at_s / 5.0
    told = totals(
        prompt_tokens=5000.0 * k,
        first_tokens=50.0 * k,
        finished=50.0 * k,
        generated_tokens=500.0 * k,
        itl_s=50.0 * k,
        itl_count=1000.0 * k,
    )
    return view(
        at_s=at_s,
        waiting=waiting or [0] * len(running),
        running=running,
        kv_usage=kv,
        kv_tokens=1e6,
        totals_=told,
        arrivals=int(250 * k),
    )


def sla(running: Sequence[int], waiting: Sequence[int] | None = None, kv: Sequence[float] | None = None) -> int:
    policy = DynamoLoad(SlaRule(PROFILE, OBJECTIVE, 1.0))
    policy.decide(page(0.0, running), 0.0)
    return policy.decide(page(5.0, running, waiting, kv), 5.0)


def test_up_when_every_worker_exceeds_the_itl_and_not_before() -> None:
    # ITL with 30 running and one more: 20 + 31 + 2.5 = 53.5 ms; with 20: 43.5 ms. Target 50.
    assert sla([30, 30]) == 3
    assert sla([30, 20]) == 2


def test_up_when_every_worker_exceeds_the_ttft() -> None:
    # 250 waiting prompts of 100 and the next: 26 steps of 20 + 1 ms and 25 100 x 0.1 ms: 3.06 s.
    assert sla([1, 1], [250, 250]) == 3
    assert sla([1, 1], [250, 0]) == 2


def test_down_when_what_remains_stays_within_0_8_of_the_targets() -> None:
    # One of two left has twice as many and one more: 20 + 11 + 2.5 = 33.5 ms < 40; 20 + 21 + 2.5 = 43.5 ms is not.
    assert sla([5, 5]) == 1
    assert sla([10, 10]) == 2


def test_not_down_when_the_queue_would_take_too_long_or_the_cache_too_little() -> None:
    # Own TTFT 22 + 10 ms. 90 waiting twice: 19 steps of 20 + 2 ms and 18 100 x 0.1 ms, less own 2.2 s: within
    # 0.8 x (3 s - own) = 2.37 s; 150 twice: 31 steps and 30 100 tokens: 3.66 s.
    assert sla([1, 1], [90, 90]) == 1
    assert sla([1, 1], [150, 150]) == 2
    # Half a cache twice is a whole one.
    assert sla([1, 1], kv=[0.49, 0.49]) == 1
    assert sla([1, 1], kv=[0.51, 0.49]) == 2


def test_never_while_a_replica_is_starting() -> None:
    policy = DynamoLoad(EasyRule("latency"))
    assert policy.decide(view(at_s=0.0, waiting=[0], kv_usage=[0.9], coming=1), 0.0) == 2
    assert policy.decide(view(at_s=5.0, spec=3, waiting=[0, 0], kv_usage=[0.9, 0.9]), 5.0) == 3
    assert policy.decide(view(at_s=10.0, waiting=[0, 0], kv_usage=[0.9, 0.9]), 10.0) == 3


def test_easy_modes_go_up_for_any_worker_and_down_for_all() -> None:
    for mode, kv, wanted in (
        ("latency", [0.41, 0.0], 3),
        ("latency", [0.4, 0.1], 2),
        ("latency", [0.09, 0.09], 1),
        ("throughput", [1.0, 0.9], 2),
        ("throughput", [0.59, 0.59], 1),
        ("throughput", [0.6, 0.1], 2),
    ):
        assert DynamoLoad(EasyRule(mode)).decide(view(waiting=[0, 0], kv_usage=kv), 0.0) == wanted


def test_easy_modes_count_waiting_prompts_as_use_of_the_cache() -> None:
    policy = DynamoLoad(EasyRule("throughput"))
    policy.decide(page(0.0, [9, 9], kv=[0.9, 0.9]), 0.0)
    # 0.95 and 600 prompts of 100 tokens in 1 000 000: 1.01.
    assert policy.decide(page(5.0, [9, 9], [600, 0], [0.95, 0.9]), 5.0) == 3


def test_the_last_worker_stays() -> None:
    assert DynamoLoad(EasyRule("latency")).decide(view(waiting=[0]), 0.0) == 1


def test_the_throughput_loop_is_a_floor() -> None:
    loop = ThroughputLoop(PROFILE, OBJECTIVE, 1.0, Predictor)
    policy = DynamoLoad(SlaRule(PROFILE, OBJECTIVE, 1.0), loop)
    # 50 per second of 100 in and 10 out. A step of n: 20 + n + 0.1 x 10 n = 20 + 2 n ms <= 50: n = 15, and
    # 15 / (10 x 0.05) = 30 per second: 2.
    assert policy.decide(page(0.0, [5, 5]), 0.0) == 2  # nothing is known yet
    assert policy.decide(page(5.0, [5, 5]), 5.0) == 1  # the floor is 1 until an interval is over
    assert policy.decide(page(180.0, [5, 5]), 180.0) == 2
    assert policy.decide(page(185.0, [5]), 185.0) == 2
