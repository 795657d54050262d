"""llm-d's saturation path on worked examples and in a small world."""

from __future__ import annotations

from itertools import pairwise

import pytest

from autoscaler.simulation.policies import llmd_saturation
from autoscaler.simulation.policies.llmd_saturation import LlmdSaturation, Pace, behavior, saturation
from autoscaler.simulation.policy import AverageValue, Value, desired_of_all
from autoscaler.simulation.view import View
from tests.fakes.small_worlds import replicas_at, run_small, small_scenario, steps
from tests.fakes.views import deployment, view


def path(
    target: float = 0.7, running: float = 16.0, *, pace: Pace = Pace.HPA, is_intended: bool = False
) -> LlmdSaturation:
    return LlmdSaturation(target, running, behavior(pace, 60.0), is_intended=is_intended)


def asked(policy: LlmdSaturation, page: View, now_s: float = 0.0) -> int | None:
    return desired_of_all(policy.metrics(page, now_s), page, policy.keda)


def test_saturation_is_the_mean_over_servers_of_the_fuller_of_queue_and_cache() -> None:
    # 8 / 5 = 1.6 beats 0.4 / 0.8; 0.72 / 0.8 = 0.9 beats 1 / 5; nothing: 2.5 / 3.
    assert saturation(view(waiting=[8, 1, 0], kv_usage=[0.4, 0.72, 0.0]), 0.0) == pytest.approx(2.5 / 3.0)


def test_an_empty_pool_and_a_stale_page_read_one() -> None:
    assert saturation(view(waiting=[]), 0.0) == 1.0
    assert saturation(view(at_s=0.0, waiting=[0]), 22.0) == 0.0
    assert saturation(view(at_s=0.0, waiting=[0]), 23.0) == 1.0


def test_the_published_setting_is_0_7_and_16_one_pod_in_three_minutes() -> None:
    for peer in llmd_saturation.PEERS:
        policy = next(s for s in peer.settings if s.default).build(deployment())
        assert isinstance(policy, LlmdSaturation)
        assert (policy.target, policy.running) == (0.7, 16.0)
        assert policy.keda.up.value.tolist() == [1.0]
        assert (policy.keda.up.period_s.tolist(), policy.keda.down.period_s.tolist()) == ([180.0], [300.0])
        assert (policy.keda.up.stabilization_s, policy.keda.down.stabilization_s) == (0.0, 300.0)


def test_six_saturated_replicas_ask_for_two_as_coded_and_nine_as_intended() -> None:
    page = view(waiting=[5] * 6, running=[0] * 6)
    # As coded ceil(1 / 0.7); the 30 requests over 16 are 2 as well. As intended 6 x 1 / 0.7 = 8.6.
    assert path().metrics(page, 0.0) == (AverageValue(1.0, 0.7), AverageValue(30.0, 16.0))
    assert asked(path(), page) == 2
    assert path(is_intended=True).metrics(page, 0.0)[0] == Value(1.0, 0.7)
    assert asked(path(is_intended=True), page) == 9


def test_running_requests_save_what_the_mean_would_give_away() -> None:
    # 6 x 40 / 16 = 15 against the 2 of saturation.
    assert asked(path(), view(waiting=[5] * 6, running=[35] * 6)) == 15


def test_a_window_of_one_start_and_a_doubling_is_the_other_pace() -> None:
    start = behavior(Pace.START, 240.0)
    assert (start.up.stabilization_s, start.up.value.tolist(), start.down.stabilization_s) == (240.0, [100.0], 300.0)


def test_an_empty_pool_is_active_for_ever() -> None:
    policy = path()
    assert [policy.active(view(at_s=15.0 * k, spec=0, waiting=[]), 15.0 * k) for k in range(3)] == [True] * 3
    idle = view(at_s=45.0, waiting=[0], running=[0])
    assert not policy.active(idle, 45.0)
    assert policy.active(idle, 80.0)  # a stale page


def test_in_a_small_world_running_requests_add_one_pod_every_three_minutes() -> None:
    # 4 replicas carry 4.8 a second; with 3.0 there are 8 a replica of 16 allowed until a queue stands.
    trace = steps((120.0, 0.4), (1500.0, 3.0))
    run = run_small(path(pace=Pace.PUBLISHED), small_scenario(trace, 1600.0))
    ups = [(at_s, count) for at_s, count in run.steps[1:] if at_s < 900.0]
    assert replicas_at(run, 119.0) == 1
    assert [count for _, count in ups] == list(range(2, 2 + len(ups)))
    assert len(ups) >= 3
    assert all(later - sooner >= 179.0 for (sooner, _), (later, _) in pairwise(ups))


def test_in_a_small_world_six_busy_replicas_become_one_as_coded_and_four_as_intended() -> None:
    # 5.5 a second need 4.6 replicas. Each of six holds about 6 requests of 100 tokens in 2,000: 0.3 / 0.8 = 0.4, over
    # 0.7 one replica; as intended 6 x 0.4 / 0.7 = 3.4. Running requests are out of the way.
    scenario = small_scenario(steps((700.0, 5.5)), 700.0, initial=6)
    coded = run_small(path(running=1000.0), scenario)
    intended = run_small(path(running=1000.0, is_intended=True), scenario)
    assert (replicas_at(coded, 290.0), min(count for _, count in coded.steps)) == (6, 1)
    assert (replicas_at(intended, 290.0), min(count for _, count in intended.steps)) == (6, 4)
