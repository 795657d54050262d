"""Planner-gym's reactive baseline on worked examples and in a small world."""

from __future__ import annotations

from itertools import pairwise

import pytest

from autoscaler.simulation.policies import arena_reactive
from autoscaler.simulation.policies.arena_reactive import DEFAULT, KV, QUEUE, ArenaReactive
from tests.fakes.small_worlds import most_replicas, replicas_at, run_small, small_scenario, steps
from tests.fakes.views import deployment, view


def reactive(signal: str = QUEUE, up: float = 4.0, down: float = 1.0, step: int = 1) -> ArenaReactive:
    return ArenaReactive((signal, up, down, step), 1, 8)


def test_the_published_default_is_four_and_one_by_one() -> None:
    policy = next(s for s in arena_reactive.PEERS[0].settings if s.default).build(deployment())
    assert isinstance(policy, ArenaReactive)
    assert (policy.signal, policy.up, policy.down, policy.step) == DEFAULT == (QUEUE, 4.0, 1.0, 1)


@pytest.mark.parametrize(("waiting", "wanted"), [((3, 2), 3), ((2, 2), 2), ((1, 0), 2), ((0, 0), 1)])
def test_one_more_above_four_that_wait_in_all_servers_one_fewer_below_one(
    waiting: tuple[int, ...], wanted: int
) -> None:
    assert reactive().decide(view(waiting=waiting, running=[99, 99]), 0.0) == wanted


def test_a_step_is_counted_from_the_replicas_that_serve_or_start() -> None:
    assert reactive(step=4).decide(view(waiting=[9], coming=1), 0.0) == 6
    assert reactive(step=4).decide(view(waiting=[9, 0, 0], coming=3), 0.0) == 8  # the most
    assert reactive(step=4).decide(view(waiting=[0, 0]), 0.0) == 1


@pytest.mark.parametrize(("usage", "wanted"), [((0.9, 0.8), 3), ((0.9, 0.7), 2), ((0.3, 0.3), 2), ((0.3, 0.2), 1)])
def test_its_other_rule_is_on_the_mean_kv_use(usage: tuple[float, ...], wanted: int) -> None:
    assert reactive(KV, 0.8, 0.3).decide(view(waiting=[9, 9], kv_usage=usage), 0.0) == wanted


def test_without_a_new_page_or_a_server_nothing_moves() -> None:
    policy = reactive()
    assert policy.decide(view(at_s=0.0, waiting=[9]), 0.0) == 2
    assert policy.decide(view(at_s=0.0, spec=2, waiting=[9]), 15.0) == 2
    assert reactive().decide(view(waiting=[], coming=3), 0.0) == 3


def test_in_a_small_world_it_buys_one_every_15_seconds_until_the_first_has_started() -> None:
    # 4.8 a second need 4 replicas; in the 120 s of a start the queue asks for 7 or 8 more.
    run = run_small(
        ArenaReactive(DEFAULT, 1, 20), small_scenario(steps((60.0, 0.4), (600.0, 4.8)), 400.0, start_s=120.0)
    )
    ups = [(at_s, count) for at_s, count in run.steps if count > 1 and at_s < 190.0]
    assert all(b == a + 1 and later - sooner == pytest.approx(15.0) for (sooner, a), (later, b) in pairwise(ups))
    assert 8 <= replicas_at(run, 190.0) <= 10


def test_in_a_small_world_under_constant_load_it_swings() -> None:
    # 3.0 a second need 2.5 replicas: with 3 nothing waits and one goes, with 2 the queue grows.
    run = run_small(ArenaReactive(DEFAULT, 1, 20), small_scenario(steps((1800.0, 3.0)), 1800.0, initial=3))
    late = [count for at_s, count in run.steps if at_s > 600.0]
    assert min(late) <= 2
    assert max(late) >= 4
    assert most_replicas(run) > 4
