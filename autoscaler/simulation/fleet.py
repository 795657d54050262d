"""A fleet of constant size under a trace: the yardstick that a fleet which changes is held against."""

from __future__ import annotations

import numpy as np

from autoscaler.core.records import Objective
from autoscaler.simulation.replica import (
    EVENTS,
    FIRST_TOKEN,
    TOTAL,
    Params,
    Replica,
    add,
    new_replica,
    step,
)
from autoscaler.simulation.trace import Trace

DRAIN_S = 3600.0  # after the last arrival everything that can finish has finished


def constant_fleet_attainment(trace: Trace, replicas: int, params: Params, objective: Objective) -> float:
    """Share of all requests inside the objective on `replicas` replicas, ready from the start, least-loaded routing."""
    fleet = [new_replica() for _ in range(replicas)]
    count = len(trace.arrival_s)
    first, finish = np.full(count, np.inf), np.full(count, np.inf)
    for i in range(count):
        at_s = float(trace.arrival_s[i])
        for replica in fleet:
            _advance(replica, params, at_s, first, finish)
        chosen = min(fleet, key=lambda one: int(one.counts[TOTAL]))
        add(chosen, float(i), float(trace.prompt_tokens[i]), float(trace.output_tokens[i]))
    for replica in fleet:
        _advance(replica, params, float(trace.arrival_s[-1]) + DRAIN_S, first, finish)
    ttft = first - trace.arrival_s
    with np.errstate(invalid="ignore"):
        tpot = (finish - first) / np.maximum(1.0, trace.output_tokens - 1.0)
    good = (ttft <= objective.ttft_s) & ((tpot <= objective.tpot_s) | (trace.output_tokens <= 1.0))
    return float(good.mean())


def _advance(replica: Replica, params: Params, until_s: float, first: np.ndarray, finish: np.ndarray) -> None:
    while replica.now[0] < until_s:
        step(replica, params, until_s)
        take_events(replica, first, finish)


def take_events(replica: Replica, first: np.ndarray, finish: np.ndarray) -> None:
    """Move the events of a replica into arrays by request."""
    for request_id, kind, at_s in replica.events[: replica.counts[EVENTS]]:
        (first if kind == FIRST_TOKEN else finish)[int(request_id)] = at_s
    replica.counts[EVENTS] = 0


def fewest_constant_replicas(
    trace: Trace, params: Params, objective: Objective, attainment: float, most: int
) -> tuple[int, float] | None:
    """The fewest replicas that reach an attainment, and what they reach; None if `most` do not."""
    for replicas in range(1, most + 1):
        reached = constant_fleet_attainment(trace, replicas, params, objective)
        if reached >= attainment:
            return replicas, reached
    return None
