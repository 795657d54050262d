"""The HPA on queue, KV cache, batch and latency, on worked examples and in a small world."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autoscaler.core.records import Objective
from autoscaler.simulation.engines import TPOT_BOUNDS, TTFT_BOUNDS
from autoscaler.simulation.policies.hpa_queue_kv import (
    BATCH,
    QUEUE,
    HpaLatency,
    HpaPerPod,
    HpaQueueKv,
    HpaQueueKvMean,
)
from autoscaler.simulation.policy import AverageValue, HpaPolicy, Value, desired_of_all
from autoscaler.simulation.scenario import Fault, FaultKind
from autoscaler.simulation.view import View
from tests.fakes.small_worlds import most_replicas, replicas_at, run_small, small_scenario, steps
from tests.fakes.views import totals, view

OBJECTIVE = Objective(ttft_s=3.0, tpot_s=0.060)


def asked(policy: HpaPolicy, page: View, now_s: float | None = None) -> int | None:
    return desired_of_all(policy.metrics(page, page.at_s if now_s is None else now_s), page, policy.keda)


def told(at_s: float, ready: int = 2, waiting: int = 0) -> View:
    """A page a second of which 10 requests of 101 tokens finish: TTFT in (0.75, 1], TPOT in (0.05, 0.075] seconds."""
    count = round(10 * at_s)
    ttft, tpot = [0] * (len(TTFT_BOUNDS) + 1), [0] * (len(TPOT_BOUNDS) + 1)
    ttft[TTFT_BOUNDS.index(1.0)] = count
    tpot[TPOT_BOUNDS.index(0.075)] = count
    page_totals = totals(finished=count, generated_tokens=101.0 * count, first_tokens=count, ttft=ttft, tpot=tpot)
    return view(at_s=at_s, waiting=[waiting] + [0] * (ready - 1), totals_=page_totals)


def test_the_larger_of_queue_over_three_and_kv_use_over_0_6() -> None:
    policy = HpaQueueKv(3.0, 0.6)
    assert asked(policy, view(waiting=[10, 0], kv_usage=[0.5, 0.5])) == 4  # 10 / 3 = 3.3; 1 / 0.6 = 1.7
    assert asked(policy, view(waiting=[0, 0], kv_usage=[0.9, 0.9])) == 3  # 1.8 / 0.6
    assert asked(policy, view(waiting=[0, 0], kv_usage=[0.6, 0.66])) == 2  # 1.26 / 1.2 = 1.05: within the tolerance


def test_a_jump_from_nothing_to_150_waiting_asks_for_fifty() -> None:
    assert asked(HpaQueueKv(3.0, 0.6), view(waiting=[150])) == 50


def test_as_means_they_count_pods_that_load_as_idle() -> None:
    policy = HpaQueueKvMean(30.0, 0.6)
    assert asked(policy, view(waiting=[0, 0], kv_usage=[0.9, 0.9])) == 3  # 2 x 0.9 / 0.6
    # One uses 0.9, one loads: 0.9 / 2 / 0.6 = 0.75 would turn the direction: 2 stay. A sum asks 0.9 / 0.6 = 2 as well.
    assert asked(policy, view(waiting=[0], kv_usage=[0.9], coming=1)) == 2
    # 100 waiting on the one that serves: 100 / 2 / 30 = 1.67, of 2: 4.
    assert asked(policy, view(waiting=[100], kv_usage=[0.3], coming=1)) == 4


def test_gke_takes_the_mean_of_one_of_queue_and_batch() -> None:
    page = view(waiting=[12, 4], running=[40, 50])
    assert asked(HpaPerPod(QUEUE, 5.0), page) == 4  # 2 x 8 / 5 = 3.2
    assert asked(HpaPerPod(BATCH, 30.0), page) == 3  # 2 x 45 / 30


def test_long_outputs_without_a_queue_are_seen_by_batch_and_not_by_queue() -> None:
    page = view(waiting=[0, 0], running=[120, 120])
    assert asked(HpaPerPod(QUEUE, 5.0), page) == 0  # the HPA's minimum
    assert asked(HpaPerPod(BATCH, 30.0), page) == 8


def test_the_guardrail_is_the_tail_to_the_first_token_and_of_the_rest() -> None:
    # TTFT: 0.75 + 0.95 x 0.25 = 0.9875 s; TPOT: 50 + 0.95 x 25 = 73.75 ms for 100 tokens more; at the objective 3 + 6.
    policy = HpaLatency(OBJECTIVE, 0.5)
    policy.metrics(told(0.0), 0.0)
    queue, latency = policy.metrics(told(15.0, waiting=7), 15.0)
    assert queue == AverageValue(7.0, 5.0)
    assert isinstance(latency, Value)
    assert latency.value == pytest.approx(0.9875 + 7.375)
    assert latency.target == pytest.approx(0.5 * 9.0)


def test_the_guardrail_multiplies_the_replicas_that_serve() -> None:
    policy = HpaLatency(OBJECTIVE, 0.5)
    policy.metrics(told(0.0), 0.0)
    assert asked(policy, told(15.0)) == 4  # 2 x 8.36 / 4.5 = 3.7
    assert asked(policy, told(30.0, waiting=40)) == 8  # the queue asks for more


def test_an_empty_query_is_an_error_to_the_adapter_and_zero_to_keda() -> None:
    for policy in (HpaQueueKv(3.0, 0.6), HpaQueueKvMean(30.0, 0.6), HpaPerPod(QUEUE, 5.0)):
        assert asked(policy, view(at_s=0.0, waiting=[40]), 22.0) is not None
        assert asked(policy, view(at_s=0.0, waiting=[40]), 23.0) is None
    latency = HpaLatency(OBJECTIVE, 1.0)
    latency.metrics(told(0.0), 0.0)
    latency.metrics(told(15.0, waiting=9), 15.0)
    queue, tail = latency.metrics(told(15.0, waiting=9), 40.0)
    assert queue == AverageValue(0.0, 5.0)
    assert isinstance(tail, Value)
    assert tail.value == pytest.approx(8.3625)  # a window of a minute still holds both pages
    assert latency.metrics(told(15.0, waiting=9), 76.0) == (queue, Value(0.0, tail.target))


@pytest.mark.parametrize(
    "policy",
    [lambda: HpaQueueKv(3.0, 0.4), lambda: HpaQueueKvMean(3.0, 0.4), lambda: HpaPerPod(BATCH, 5.0)],
)
def test_in_a_small_world_a_step_is_followed_and_left(policy: Callable[[], HpaPolicy]) -> None:
    # A replica takes 1.2 requests a second: 0.4, then 2.4, then 0.4.
    trace = steps((120.0, 0.4), (480.0, 2.4), (900.0, 0.4))
    run = run_small(policy(), small_scenario(trace, 1500.0))
    assert replicas_at(run, 119.0) == 1
    assert most_replicas(run) >= 2
    assert replicas_at(run, 1499.0) == 1


def test_in_a_small_world_the_guardrail_lets_go_only_by_its_ratio_every_five_minutes() -> None:
    # At rest 52 ms a token, told as 50 to 75 ms: 99 x 73.75 ms and 0.2 s are 0.84 of 3 s + 99 x 60 ms: from 20 to 17,
    # 15, 13.
    trace = steps((120.0, 0.4), (480.0, 2.4), (900.0, 0.4))
    run = run_small(HpaLatency(OBJECTIVE, 1.0), small_scenario(trace, 1500.0))
    assert replicas_at(run, 119.0) == 1
    assert [count for _, count in run.steps[-4:]] == [20, 17, 15, 13]


def test_in_a_small_world_a_step_of_eight_times_takes_the_report_far_beyond_the_three_that_would_do() -> None:
    run = run_small(HpaQueueKv(3.0, 0.6), small_scenario(steps((120.0, 0.4), (180.0, 3.2)), 300.0, start_s=120.0))
    assert replicas_at(run, 240.0) == 20  # the most there may be


def test_in_a_small_world_a_blackout_holds_what_the_adapter_feeds() -> None:
    fault = Fault(FaultKind.BLACKOUT, 600.0, 500.0)
    run = run_small(HpaPerPod(BATCH, 5.0), small_scenario(steps((1200.0, 3.0)), 1200.0, initial=4, fault=fault))
    assert replicas_at(run, 640.0) == replicas_at(run, 1090.0) >= 3
