"""What is simulated: the requests, the replica, how one starts, the bounds, and what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from autoscaler.core.records import Objective
from autoscaler.simulation.engines import Floats, Params
from autoscaler.simulation.fleet import LEAST_LOADED
from autoscaler.simulation.trace import Trace


@dataclass(frozen=True, slots=True)
class Starts:
    """How long a start takes: the wait for a node, and the pod's own start; each uniform within its jitter.

    Deterministic plus jitter, never exponential: with deterministic set-up times queueing harm is far larger than
    exponential models say (Williams, Wang and Harchol-Balter, arXiv 2512.16854).
    """

    start_s: float = 120.0
    node_s: float = 0.0
    jitter: float = 0.1  # share, either way

    @property
    def mean_s(self) -> float:
        """From asked for to serving, on average."""
        return self.node_s + self.start_s

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """One start: seconds until it is on a node, and from there until it serves."""
        low, high = 1.0 - self.jitter, 1.0 + self.jitter
        return self.node_s * rng.uniform(low, high), self.start_s * rng.uniform(low, high)


class FaultKind(Enum):
    """What can go wrong on the way to the policy."""

    BLACKOUT = "blackout"  # no page answers
    RESTART = "restart"  # the policy's process dies and starts again
    RESET = "reset"  # every server's counters start again at zero


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    kind: FaultKind
    at_s: float
    for_s: float = 0.0


OBJECTIVE = Objective()  # TTFT 3 s, TPOT 60 ms, 95 %


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run's world, all but the policy and the seed."""

    trace: Trace  # times in seconds; the scored part is [start_s, end_s)
    start_s: float
    end_s: float
    params: Params
    starts: Starts = Starts()
    objective: Objective = OBJECTIVE
    initial_replicas: int = 1
    min_replicas: int = 1
    max_replicas: int = 100
    gpus_per_replica: int = 4
    routing: int = LEAST_LOADED
    fault: Fault | None = None

    @property
    def from_s(self) -> float:
        """When the simulation begins: with the first request, before the scored part."""
        return float(min(self.trace.arrival_s[0], self.start_s)) if len(self.trace.arrival_s) else self.start_s


@dataclass(frozen=True, slots=True)
class Life:
    """One replica from asked for to gone."""

    created_s: float
    scheduled_s: float  # its GPUs are paid for from here
    ready_s: float
    ended_s: float


def billed_s(lives: tuple[Life, ...], from_s: float, until_s: float) -> float:
    """Replica-seconds paid for within a span: loading, serving and draining."""
    table = np.array([(life.scheduled_s, life.ended_s) for life in lives]).reshape(-1, 2)
    spans: Floats = np.minimum(table[:, 1], until_s) - np.maximum(table[:, 0], from_s)
    return float(np.maximum(0.0, spans).sum())
