"""Runs that are left, and settings that are not tried: nothing that could be among the best is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoscaler.core.records import Objective
from autoscaler.simulation.engines import LLAMA_70B_H100X4
from autoscaler.simulation.policies.peer import Deployment
from autoscaler.simulation.policies.registry import peers
from autoscaler.simulation.scenario import Scenario, Starts
from autoscaler.simulation.score import score
from autoscaler.simulation.trace import Trace
from autoscaler.simulation.world import World
from loadtests.benchmark.grid import Cell, Extent
from loadtests.benchmark.hopeless import CHECK_S, Bar, Hopeless, Watch, bars
from loadtests.benchmark.plan import Scope, Sized, peer_jobs, promise
from loadtests.benchmark.rows import CEILING, HINDSIGHT, OURS, Row

SOME = ("static", "rate-rule", "keda-waiting", "hpa-concurrency")


def hours_of_waves(hours: float, seed: int) -> Scenario:
    """Requests that come and go in waves of forty minutes, for about one to five replicas."""
    rng = np.random.default_rng(seed)
    at_s = np.arange(0.0, hours * 3600.0, 1.0)
    counts = rng.poisson(5.0 + 4.0 * np.sin(at_s / 2400.0 * 2.0 * np.pi))
    arrival_s = np.repeat(at_s, counts) + rng.random(counts.sum())
    arrival_s.sort()
    sizes = rng.lognormal(6.8, 0.7, len(arrival_s)), rng.lognormal(5.0, 0.7, len(arrival_s))
    trace = Trace(arrival_s, sizes[0].round() + 1.0, sizes[1].round() + 1.0)
    return Scenario(
        trace, 600.0, hours * 3600.0, LLAMA_70B_H100X4, Starts(60.0), Objective(), initial_replicas=3, max_replicas=16
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_that_is_left_would_have_missed_the_bar_at_its_end(seed: int) -> None:
    """Bars at 85 % and half the dearest run's GPU-hours; a bound of nothing, so that only what was paid counts."""
    scenario = hours_of_waves(2.0, seed)
    left = finished = 0
    for name in SOME:
        for setting in peers()[name].settings:
            whole = score(World(scenario, 0).run(setting.build(Deployment.of(scenario))))
            bar = Bar(0.85, 0.85, 40.0, (0.0, 0.0))
            try:
                run = World(scenario, 0, Watch(scenario, (bar,))).run(setting.build(Deployment.of(scenario)))
            except Hopeless:
                left += 1
                assert whole.attainment < bar.attainment or whole.gpu_hours > bar.gpu_hours, (name, setting.knobs)
            else:
                finished += 1
                assert score(run) == whole
    assert left >= 5
    assert finished >= 5


def test_what_the_bound_pays_for_the_rest_leaves_a_dear_run_before_it_paid_for_itself() -> None:
    """16 replicas of 4 GPUs pay 128 GPU-hours in two; the bar is 40, of which the bound pays 30 in the last hour."""
    scenario = replace(hours_of_waves(2.0, 3), initial_replicas=16)
    seen: list[float] = []

    class Told(Watch):
        def __call__(self, world: World) -> None:
            seen.append(world.now_s)
            super().__call__(world)

    static = peers()["static"].settings[-1].build(Deployment.of(scenario))
    with pytest.raises(Hopeless):
        World(scenario, 0, Told(scenario, (Bar(0.95, 0.9, 40.0, (10.0, 30.0)),))).run(static)
    assert seen[-1] <= scenario.start_s + 2.0 * CHECK_S


def row(policy: str, knobs: str | None, attainment: float, gpu_hours: float, asked: float = 0.95) -> Row:
    return Row(
        *("even", "daily", "large", 1.0, 120.0, 2048, None, policy, knobs, False, 0, asked),
        *(attainment, attainment, gpu_hours, (gpu_hours, gpu_hours), 90.0, 1.0, 1.0, 1000),
        hours_gpu=(40.0, 50.0) if policy == HINDSIGHT else (),
    )


def test_the_bar_is_what_the_third_best_peer_pays_and_a_little_less_than_ours_attains() -> None:
    rows = [row(OURS, None, 0.96, 100.0), row(CEILING, None, 1.0, 400.0), row(HINDSIGHT, None, 0.95, 90.0)]
    peers_of = [("a", 0.95, 104.0), ("b", 0.97, 110.0), ("b", 0.98, 120.0), ("c", 0.951, 130.0), ("d", 0.93, 80.0)]
    rows += [row(name, str(k), share, gpu) for k, (name, share, gpu) in enumerate(peers_of)]
    [bar] = bars(rows, (0.95,))
    assert bar.gpu_hours == 130.0
    assert bar.attainment == pytest.approx(0.95 - 0.002 - 0.005)
    assert bars([one for one in rows if one.policy != OURS], (0.95,)) == ()


def test_settings_that_came_near_the_best_of_other_cells_are_tried_first() -> None:
    settings = [("rate-rule", setting.knobs) for setting in peers()["rate-rule"].settings]
    ranked = [row(*settings[0], 0.90, 50.0), row(*settings[1], 0.94, 80.0), row(*settings[2], 0.96, 100.0)]
    promised = promise(ranked, 0.95)
    assert promised[settings[2]] == 1.0 < promised[settings[1]] < promised[settings[0]]
    cell = Cell("even", "daily", "large", 300.0, 2048, 1.0, (0.0, 1.0), 8.0)
    scope = Scope(Path(), Extent(), (0.95, 0.99), (OURS, "rate-rule"), 1)
    planned = [one for job in peer_jobs(Sized(cell, 1.0, 1.0), scope, frozenset(), promised) for one in job.planned]
    assert [(one.policy, one.knobs) for one in planned[:3]] == [settings[2], settings[1], settings[0]]
    assert {(one.policy, one.knobs) for one in planned} == set(settings)
