"""llm-d's blueprint on the endpoint picker's queue, on worked examples and in a small world."""

from __future__ import annotations

import pytest

from autoscaler.simulation.policies import llmd_queue
from autoscaler.simulation.policies.llmd_queue import LlmdQueue, LlmdQueueGuard, dispatched, queued
from autoscaler.simulation.policy import AverageValue, HpaPolicy, desired_of_all
from autoscaler.simulation.view import View
from tests.fakes.small_worlds import most_replicas, replicas_at, run_small, small_scenario, steps
from tests.fakes.views import deployment, view


def asked(policy: HpaPolicy, page: View) -> int | None:
    return desired_of_all(policy.metrics(page, page.at_s), page, policy.keda)


def guard_wants(page: View, running: float | None = None) -> float:
    (metric,) = LlmdQueueGuard(running).metrics(page, page.at_s)
    assert isinstance(metric, AverageValue)
    assert metric.target == 1.0
    return metric.value


def test_the_picker_holds_what_waits_beyond_five_in_each_server() -> None:
    page = view(waiting=[9, 4], running=[20, 30], held=2)
    assert queued(page) == 2 + 13 - 10
    assert dispatched(page) == 63 + 2 - 5


def test_the_larger_of_queued_over_one_and_dispatched_over_sixteen() -> None:
    policy = LlmdQueue(16.0, 300.0)
    assert asked(policy, view(waiting=[0, 0], running=[30, 30])) == 4  # 60 / 16 = 3.75
    assert asked(policy, view(waiting=[9, 9], running=[30, 30])) == 8  # 8 queued; 70 / 16 = 4.4
    assert asked(policy, view(waiting=[0, 0], running=[17, 18])) == 2  # 35 / 32: within the tolerance


def test_the_windows_are_300_seconds_or_the_measured_start() -> None:
    windows = {
        setting.knobs: setting.build(deployment(start_s=70.0)).keda.up.stabilization_s  # type: ignore[union-attr]
        for setting in llmd_queue.PEERS[0].settings
    }
    assert windows["running=16 window=300"] == 300.0
    assert windows["running=17 window=start"] == 70.0
    assert windows["running=2 window=0"] == 0.0


@pytest.mark.parametrize(
    ("queue", "ready", "coming", "wanted"),
    [
        (3, 2, 2, 3.0),  # no more than the 4 there are: as it is
        (10, 2, 2, 8.0),  # 10 less the 2 that come
        (5, 2, 2, 4.0),  # 5 less 2, but no fewer than there are
        (10, 4, 0, 10.0),
    ],
)
def test_the_guard_takes_off_what_comes(queue: int, ready: int, coming: int, wanted: float) -> None:
    assert guard_wants(view(waiting=[5] * ready, coming=coming, held=queue)) == wanted


def test_the_guard_does_not_round_before_the_hpa_does() -> None:
    # 34 / 16 = 2.125 of 2: within the tolerance, where 3 would not be.
    assert guard_wants(view(waiting=[0, 0], running=[17, 17]), 16.0) == 2.125
    assert asked(LlmdQueueGuard(16.0), view(waiting=[0, 0], running=[17, 17])) == 2


def test_as_published_the_guard_asks_for_nothing_below_saturation() -> None:
    page = view(waiting=[5, 5], running=[200, 200])
    assert guard_wants(page) == 0.0
    policy = LlmdQueueGuard(None)
    assert [policy.active(page, now_s) for now_s in (0.0, 15.0)] == [True, False]  # before the run it was active
    assert LlmdQueue(16.0, 300.0).active(page, 0.0)


def test_the_queue_has_no_series_before_a_replica_was_ready() -> None:
    policy = LlmdQueue(16.0, 300.0)
    assert policy.metrics(view(waiting=[], held=9), 0.0)[0] == AverageValue(0.0, 1.0)
    assert not policy.active(view(waiting=[], held=9), 0.0)
    policy.metrics(view(at_s=15.0, waiting=[0]), 15.0)
    assert policy.metrics(view(at_s=30.0, waiting=[], held=9), 30.0)[0] == AverageValue(9.0, 1.0)
    assert policy.active(view(at_s=30.0, waiting=[], held=9), 30.0)


def test_in_a_small_world_the_window_holds_a_step_back_for_five_minutes() -> None:
    # 0.4 then 3.2 requests a second, 1.2 a replica.
    trace = steps((120.0, 0.4), (480.0, 3.2))
    slow = run_small(LlmdQueue(16.0, 300.0), small_scenario(trace, 600.0))
    quick = run_small(LlmdQueue(16.0, 0.0), small_scenario(trace, 600.0))
    assert replicas_at(slow, 400.0) == 1
    assert replicas_at(slow, 480.0) >= 2
    assert replicas_at(quick, 180.0) >= 4


def test_in_a_small_world_it_doubles_at_most_at_every_sync() -> None:
    run = run_small(LlmdQueue(16.0, 0.0), small_scenario(steps((120.0, 0.4), (180.0, 3.2)), 300.0))
    ups = [count for _, count in run.steps]
    assert ups[:4] == [1, 2, 4, 8]


def test_in_a_small_world_the_guard_asks_for_less_while_replicas_come() -> None:
    # Just above what one replica takes: the queue grows by 0.4 a second, 18 after 78 s; 7 of 8 come and are taken off.
    scenario = small_scenario(steps((120.0, 0.4), (180.0, 1.6)), 300.0)
    plain, guard = run_small(LlmdQueue(8.0, 0.0), scenario), run_small(LlmdQueueGuard(8.0), scenario)
    assert [count for _, count in plain.steps] == [1, 2, 4, 8, 16, 20]
    assert [count for _, count in guard.steps] == [1, 2, 4, 8, 11, 14]


def test_in_a_small_world_a_fresh_pool_at_zero_never_wakes() -> None:
    run = run_small(LlmdQueue(16.0, 0.0), small_scenario(steps((300.0, 0.5)), 300.0, initial=0, least=0))
    assert most_replicas(run) == 0


def test_in_a_small_world_the_guard_alone_gives_back_what_is_needed() -> None:
    # 3 requests a second fill three of four replicas; nothing is queued, so after the window down only one is left.
    run = run_small(LlmdQueueGuard(None), small_scenario(steps((600.0, 3.0)), 600.0, initial=4))
    assert min(count for _, count in run.steps) == 1
    assert run_small(LlmdQueue(6.0, 0.0), small_scenario(steps((600.0, 3.0)), 600.0, initial=4)).steps[-1][1] >= 3
