"""A planner taken up from its snapshot in the middle of simulated traffic."""

from __future__ import annotations

import numpy as np

from autoscaler.core import Planner
from autoscaler.core.records import Observation
from autoscaler.simulation.engines import LLAMA_70B_H100X4
from autoscaler.simulation.scenario import Scenario, Starts
from autoscaler.simulation.trace import Trace
from autoscaler.simulation.world import World
from loadtests.decision_bench import Recording


def observed() -> list[tuple[Observation, float]]:
    rng = np.random.default_rng(5)
    arrival_s = np.cumsum(rng.exponential(1.0 / 6.0, 5000))
    trace = Trace(arrival_s, rng.lognormal(6.5, 1.0, 5000).round() + 1.0, rng.lognormal(4.5, 0.8, 5000).round() + 1.0)
    scenario = Scenario(trace, 0.0, 800.0, LLAMA_70B_H100X4, Starts(30.0), initial_replicas=2, max_replicas=8)
    policy = Recording(scenario)
    World(scenario, 0).run(policy)
    return policy.seen


def test_a_planner_restored_in_the_middle_decides_as_if_it_had_never_stopped() -> None:
    # Histograms of sizes end in a bucket without a bound, which JSON cannot write: a snapshot failed under traffic.
    seen = observed()
    planner, restored = Planner(), Planner()
    for one, now_s in seen[:100]:
        planner.observe(one, now_s)
    snapshot = planner.snapshot()
    restored.restore(snapshot)
    assert restored.snapshot() == snapshot
    for one, now_s in seen[100:]:
        assert restored.observe(one, now_s) == planner.observe(one, now_s)
