"""Fleets of constant size under a trace: the yardstick that a fleet which changes is held against."""

from __future__ import annotations

import numpy as np

from autoscaler.core.records import Objective
from autoscaler.simulation.engines import Params, Requests, new_requests
from autoscaler.simulation.fleet import create, new_fleet, run
from autoscaler.simulation.kernel import bound
from autoscaler.simulation.trace import Trace

DRAIN_S = 3600.0  # after the last arrival everything that can finish has finished


def good_requests(requests: Requests, objective: Objective) -> np.ndarray:
    """Which requests met both limits; one that never finished did not."""
    ttft_s = requests.first_s - requests.arrival_s
    tpot_s = (requests.finish_s - requests.first_s) / np.maximum(1.0, requests.output_tokens - 1.0)
    in_time = (ttft_s <= objective.ttft_s) & (tpot_s <= objective.tpot_s)
    finished: np.ndarray = requests.finish_s >= 0.0
    return finished & in_time


def constant_fleet_attainment(trace: Trace, replicas: int, params: Params, objective: Objective) -> float:
    """Share of all requests inside the objective on `replicas` replicas, ready from the start, least-loaded routing."""
    requests = new_requests(*trace)
    luck = np.random.default_rng(0).random(len(trace.arrival_s))
    fleet = new_fleet(requests, params, replicas, luck)
    for _ in range(replicas):
        create(fleet, float(trace.arrival_s[0]) - 1.0, 0.0, 0.0)
    bound(run, fleet, params, 0.0)(fleet, params, float(trace.arrival_s[-1]) + DRAIN_S)
    return float(good_requests(requests, objective).mean())


def fewest_constant_replicas(
    trace: Trace, params: Params, objective: Objective, attainment: float, most: int
) -> tuple[int, float] | None:
    """The fewest replicas that reach an attainment, and what they reach; None if `most` do not."""
    for replicas in range(1, most + 1):
        reached = constant_fleet_attainment(trace, replicas, params, objective)
        if reached >= attainment:
            return replicas, reached
    return None
