"""Managed platforms' rules, on worked examples and in a small world."""

from __future__ import annotations

import pytest

from autoscaler.simulation.policies.hf_baseten_runpod import (
    GPU,
    PENDING,
    Baseten,
    HfEndpoints,
    RunPodCount,
    RunPodDelay,
)
from autoscaler.simulation.policy import ScalePolicy
from autoscaler.simulation.view import View
from tests.fakes.small_worlds import most_replicas, replicas_at, run_small, small_scenario, steps
from tests.fakes.views import view


def flying(at_s: float, requests: int, ready: int = 1, coming: int = 0) -> View:
    """`ready` replicas, all requests on the first."""
    return view(at_s=at_s, waiting=[0] * ready, running=[requests] + [0] * (ready - 1), coming=coming)


# --- Baseten ---------------------------------------------------------------------------------------------------------


def test_baseten_takes_the_mean_of_a_minute_over_0_7_of_the_target() -> None:
    policy = Baseten(10.0, 1, 100)
    # Pages of 15 s with 0, 0, 28, 28, 28, 28 in flight: means of the last four 0, 0, 9.3, 14, 21, 28; over 7.
    wanted = [policy.decide(flying(15.0 * k, 28 if k > 1 else 0), 15.0 * k) for k in range(6)]
    assert wanted == [1, 1, 2, 2, 3, 4]


def test_baseten_takes_half_of_the_excess_after_fifteen_minutes_and_again() -> None:
    policy, spec, seen = Baseten(10.0, 1, 100), 8, []
    for k in range(200):
        spec = policy.decide(flying(15.0 * k, 7, ready=spec), 15.0 * k)
        seen.append(spec)
    # Excess 7: 4 go at 900 s; excess 3: 2 at 1,800 s; excess 1: 1 at 2,700 s.
    assert [seen.index(count) * 15.0 for count in (8, 4, 2, 1)] == [0.0, 900.0, 1800.0, 2700.0]


def test_baseten_starts_the_delay_anew_when_traffic_returns() -> None:
    policy = Baseten(10.0, 1, 100, down_s=60.0)
    requests = (7, 7, 7, 28, 28, 28, 28, 7, 7, 7, 7, 7)
    wanted = [policy.decide(flying(15.0 * k, n, ready=3), 15.0 * k) for k, n in enumerate(requests)]
    # Means 7, 7, 7, 12, 17.5: three are wanted again at 60 s, four at 90 s; two at most from 135 s on, and 60 s later
    # one goes.
    assert wanted[4] == 3
    assert wanted[6] == 4
    assert wanted[9:] == [3, 3, 3]


def test_baseten_goes_to_zero_and_back_at_once() -> None:
    policy = Baseten(10.0, 0, 100, down_s=30.0)
    assert [policy.decide(flying(15.0 * k, 0), 15.0 * k) for k in range(3)] == [1, 1, 0]
    assert policy.decide(view(at_s=45.0, waiting=[], held=1), 45.0) == 1


# --- Hugging Face ----------------------------------------------------------------------------------------------------


def test_hf_adds_one_a_minute_from_eighty_per_cent_of_gpus_used_on() -> None:
    policy, spec, seen = HfEndpoints(GPU, 0.8, 1), 1, []
    for k in range(19):
        page = view(at_s=10.0 * k, waiting=[0] * spec, running=[1] * min(spec, 4) + [0] * max(0, spec - 4))
        spec = policy.decide(page, 10.0 * k)
        seen.append(spec)
    # All busy: 2 at 0 s, 3 at 60 s, 4 at 120 s, 5 at 180 s: 4 of 5 would still be enough.
    assert [seen.index(count) * 10.0 for count in (2, 3, 4, 5)] == [0.0, 60.0, 120.0, 180.0]
    assert HfEndpoints(GPU, 0.8, 1).decide(view(waiting=[0] * 5, running=[1] * 4 + [0]), 0.0) == 6
    assert HfEndpoints(GPU, 0.8, 1).decide(view(waiting=[0] * 6, running=[1] * 4 + [0] * 2), 0.0) == 6


def test_hf_counts_replicas_that_load_as_idle() -> None:
    assert HfEndpoints(GPU, 0.8, 1).decide(view(waiting=[0], running=[9], coming=1), 0.0) == 2


def test_hf_adds_one_above_a_half_more_than_one_pending_request_per_replica() -> None:
    assert HfEndpoints(PENDING, 1.5, 1).decide(flying(0.0, 3, ready=2), 0.0) == 2
    assert HfEndpoints(PENDING, 1.5, 1).decide(flying(0.0, 4, ready=2), 0.0) == 3


def test_hf_takes_one_away_every_two_minutes_but_not_within_five_of_a_change() -> None:
    policy, spec, seen = HfEndpoints(PENDING, 1.5, 1), 3, []
    for k in range(100):
        spec = policy.decide(flying(10.0 * k, 2, ready=spec), 10.0 * k)
        seen.append(spec)
    # 2 over the 2 that would be left is 1: at 360 s, the third look; with one of two left it would be 2: stays.
    assert [seen.index(count) * 10.0 for count in (3, 2)] == [0.0, 360.0]
    assert seen[-1] == 2


def test_hf_goes_to_zero_after_an_hour_without_requests_and_back_with_the_first() -> None:
    policy = HfEndpoints(PENDING, 1.5, 0)
    wanted = [policy.decide(flying(10.0 * k, int(k == 0)), 10.0 * k) for k in range(361)]
    assert wanted == [1] * 360 + [0]
    assert policy.decide(view(at_s=3700.0, waiting=[], held=1), 3700.0) == 1


def test_in_a_small_world_gpu_use_takes_three_for_what_one_could_do() -> None:
    # 0.4 requests a second of 6 s: 2.4 in flight of the 8 that one could hold keep three busy.
    run = run_small(HfEndpoints(GPU, 0.8, 1), small_scenario(steps((900.0, 0.4)), 900.0))
    assert replicas_at(run, 899.0) >= 3


# --- RunPod ----------------------------------------------------------------------------------------------------------


def queue_page(at_s: float, arrivals: int, requests: int, ready: int = 1) -> View:
    return view(at_s=at_s, waiting=[0] * ready, running=[requests] + [0] * (ready - 1), arrivals=arrivals)


def test_runpod_knows_since_when_the_first_in_line_waits() -> None:
    policy = RunPodDelay(5, 1)
    for at_s, arrivals in ((0.0, 10), (5.0, 20)):
        policy.decide(queue_page(at_s, arrivals, 1), at_s)
    page = queue_page(10.0, 30, 20)
    policy.decide(page, 10.0)
    # Of 30 that came 15 queue: the 15th came half way between 0 s and 5 s.
    assert policy.waited_s(page, 15) == 7.5


def test_runpod_adds_a_worker_at_every_look_while_the_first_waits_longer_than_four_seconds() -> None:
    policy, spec, seen = RunPodDelay(5, 1), 1, []
    for k in range(6):  # one a second comes and none leaves
        spec = policy.decide(queue_page(5.0 * k, 5 * k, 5 * k, ready=spec), 5.0 * k)
        seen.append(spec)
    # 10 s: 10 in flight, 5 queue, the first since 5 s ago. Then every worker takes 5: never more than 5 s behind.
    assert seen == [1, 1, 2, 3, 4, 5]
    assert RunPodDelay(30, 1).decide(queue_page(0.0, 30, 30), 0.0) == 1


def test_runpod_stops_a_worker_that_was_not_needed_for_the_idle_timeout() -> None:
    policy = RunPodDelay(5, 1)
    assert policy.decide(queue_page(0.0, 20, 20, ready=4), 0.0) == 4
    assert policy.decide(queue_page(5.0, 20, 9, ready=4), 5.0) == 4  # needed 5 s ago
    assert policy.decide(queue_page(10.0, 20, 4, ready=4), 10.0) == 2
    patient = RunPodDelay(5, 1, idle_s=60.0)
    wanted = [patient.decide(queue_page(5.0 * k, 20, 20 if k == 0 else 4, ready=4), 5.0 * k) for k in range(14)]
    assert wanted == [4] * 13 + [1]


@pytest.mark.parametrize(("requests", "workers"), [(0, 1), (4, 1), (5, 2), (9, 3)])
def test_runpod_count_is_requests_over_four(requests: int, workers: int) -> None:
    assert RunPodCount(4.0, 1).decide(queue_page(0.0, 9, requests), 0.0) == workers


def test_runpod_wakes_from_zero() -> None:
    page = view(waiting=[], held=1, arrivals=1)
    assert RunPodDelay(30, 0).decide(page, 0.0) == 1
    assert RunPodCount(4.0, 0).decide(page, 0.0) == 1


def test_in_a_small_world_queue_delay_adds_workers_until_the_queue_is_gone() -> None:
    # 0.4 then 3.2 requests a second: 3 would do. From some 10 s after the step on one more every 5 s: about 10 until
    # the first has started at 190 s, and as many again until what has queued is gone.
    run = run_small(RunPodDelay(8, 1), small_scenario(steps((120.0, 0.4), (180.0, 3.2)), 300.0))
    assert replicas_at(run, 119.0) == 1
    assert 10 <= replicas_at(run, 185.0) <= 14
    assert most_replicas(run) == 20


# --- all of them -----------------------------------------------------------------------------------------------------

BLIND: list[tuple[str, ScalePolicy, ScalePolicy]] = [
    ("baseten", Baseten(10.0, 1, 100), Baseten(10.0, 1, 100)),
    ("hf", HfEndpoints(PENDING, 5.0, 1), HfEndpoints(PENDING, 5.0, 1)),
    ("runpod-count", RunPodCount(4.0, 1), RunPodCount(4.0, 1)),
    ("runpod-delay", RunPodDelay(8, 1), RunPodDelay(8, 1)),
]


@pytest.mark.parametrize(("short", "long"), [pair for _, *pair in BLIND], ids=[name for name, *_ in BLIND])
def test_long_prompts_at_a_flat_concurrency_change_nothing(short: ScalePolicy, long: ScalePolicy) -> None:
    pages = [view(waiting=[0] * 3, running=[10] * 3, kv_usage=[use] * 3, arrivals=30) for use in (0.1, 0.9)]
    assert short.decide(pages[0], 0.0) == long.decide(pages[1], 0.0)


@pytest.mark.parametrize(
    "policy",
    [Baseten(5.0, 1, 20, down_s=120.0), HfEndpoints(PENDING, 5.0, 1), RunPodDelay(5, 1), RunPodCount(5.0, 1)],
    ids=["baseten", "hf", "runpod-delay", "runpod-count"],
)
def test_in_a_small_world_a_step_is_followed_and_left(policy: ScalePolicy) -> None:
    # A replica takes 1.2 requests a second: 0.4, then 2.4, then 0.4.
    trace = steps((120.0, 0.4), (480.0, 2.4), (1500.0, 0.4))
    run = run_small(policy, small_scenario(trace, 2100.0))
    assert replicas_at(run, 119.0) == 1
    assert replicas_at(run, 599.0) >= 3
    assert replicas_at(run, 2099.0) == 1
