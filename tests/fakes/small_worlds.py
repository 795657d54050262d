"""Small worlds for policy tests: a slow replica, and evenly spaced requests whose rate steps."""

from __future__ import annotations

import numpy as np

from autoscaler.simulation.engines import Params
from autoscaler.simulation.policy import HpaPolicy, ScalePolicy
from autoscaler.simulation.scenario import Fault, Scenario, Starts
from autoscaler.simulation.trace import Trace
from autoscaler.simulation.world import Run, World

# Eight at a time and 50 + 8 x 2 = 66 ms a step: 1.2 requests a second of 100 tokens out. Its cache holds 2,000 tokens.
SLOW = Params(0.050, 0.002, 0.0002, 0.0, 2000.0, 8, 1024.0)


def steps(*parts: tuple[float, float], prompt_tokens: float = 50.0, output_tokens: float = 100.0) -> Trace:
    """Parts of (seconds, requests per second), one after the other; the first request comes at 0 s."""
    arrivals, begins_s = [0.0], 0.0
    for for_s, rps in parts:
        arrivals += [begins_s + (k + 0.5) / rps for k in range(round(for_s * rps))]
        begins_s += for_s
    count = len(arrivals)
    return Trace(np.array(arrivals), np.full(count, prompt_tokens), np.full(count, output_tokens))


def small_scenario(
    trace: Trace, end_s: float, *, start_s: float = 60.0, initial: int = 1, least: int = 1, fault: Fault | None = None
) -> Scenario:
    """The trace on slow replicas that take `start_s` to start; at most 20 of them."""
    return Scenario(
        trace,
        0.0,
        end_s,
        SLOW,
        Starts(start_s, jitter=0.0),
        initial_replicas=initial,
        min_replicas=least,
        max_replicas=20,
        fault=fault,
    )


def run_small(policy: HpaPolicy | ScalePolicy, scenario: Scenario) -> Run:
    return World(scenario, 0).run(policy)


def replicas_at(run: Run, at_s: float) -> int:
    """spec.replicas at a time."""
    return [count for step_s, count in run.steps if step_s <= at_s][-1]


def most_replicas(run: Run) -> int:
    return max(count for _, count in run.steps)
