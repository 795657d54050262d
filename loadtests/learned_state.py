"""What a planner has learned after hours of a busy service: the state that a long-running autoscaler carries."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from autoscaler.core.records import Observation, Replica
from autoscaler.simulation.engines import LLAMA_70B_H100X4
from autoscaler.simulation.ours import Ours, observation, spec_of
from autoscaler.simulation.scenario import Scenario, Starts
from autoscaler.simulation.trace import Trace, read_trace
from autoscaler.simulation.view import View
from autoscaler.simulation.world import World

TRACE = Path(__file__).parent.parent / "autoscaler/lab/data/azure2023-conv_min00-35_real.csv.gz"
TRACE_S = 35 * 60.0  # its length, by its name
HOUR_S = 3600.0


def learned(hours: float, replicas: int, until_s: float) -> bytes:
    """A snapshot of a planner that has watched a fleet of constant size for `hours`, up to the time `until_s`."""
    scenario = Scenario(
        _repeated(read_trace(TRACE), hours * HOUR_S),
        0.0,
        hours * HOUR_S,
        LLAMA_70B_H100X4,
        Starts(120.0),
        initial_replicas=replicas,
        min_replicas=replicas,
        max_replicas=replicas,
    )
    policy = _Late(scenario, until_s - hours * HOUR_S)
    World(scenario, 0).run(policy)
    return policy.planner.snapshot()


class _Late(Ours):
    """The planner, told that everything happens later than it does."""

    def __init__(self, scenario: Scenario, late_s: float) -> None:
        super().__init__(spec_of(scenario))
        self._late_s = late_s

    def tick(self, view: View, now_s: float) -> float:
        """Decide; gives the seconds until the next tick."""
        seen = _moved(observation(self.spec, view, now_s), self._late_s)
        self.decision = self.planner.observe(seen, now_s + self._late_s)
        return self.decision.next_in_s


def _moved(seen: Observation, by_s: float) -> Observation:
    roles = (
        replace(role, replicas=None if role.replicas is None else tuple(_moved_replica(r, by_s) for r in role.replicas))
        for role in seen.roles
    )
    return replace(seen, roles=tuple(roles))


def _moved_replica(one: Replica, by_s: float) -> Replica:
    def moved(at_s: float | None) -> float | None:
        return None if at_s is None else at_s + by_s

    return replace(
        one,
        created_at_s=moved(one.created_at_s),
        scheduled_at_s=moved(one.scheduled_at_s),
        ready_at_s=moved(one.ready_at_s),
        sample=None if one.sample is None else replace(one.sample, at_s=one.sample.at_s + by_s),
    )


def _repeated(trace: Trace, for_s: float) -> Trace:
    """The trace again and again, for so long."""
    times = math.ceil(for_s / TRACE_S)
    return Trace(
        np.concatenate([trace.arrival_s + k * TRACE_S for k in range(times)]),
        np.tile(trace.prompt_tokens, times),
        np.tile(trace.output_tokens, times),
    )
