"""A fleet behind a router: arrivals, replicas that load, serve and drain, requests held while none serves.

Law: `run` is a kernel; what scales the fleet calls `create` and `retire` between two runs. Queues stay with their
replica: a request that was routed never moves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from autoscaler.simulation.engines import (
    LAST_S,
    NONE,
    PREEMPTIONS,
    PROMPT_DONE,
    Engines,
    Floats,
    Ints,
    Params,
    Requests,
    new_engines,
)
from autoscaler.simulation.kernel import kernel
from autoscaler.simulation.replica import advance, enqueue, reset

LEAST_LOADED, RANDOM = 0, 1
ABSENT, PENDING, LOADING, SERVING, DRAINING = range(5)
# Places of Fleet.line.
NEXT, HELD, HEAD, TAIL, SERVE_COUNT, ROUTED, ALIVE = range(7)


class Fleet(NamedTuple):
    """Up to R replicas behind one router; changed in place."""

    engines: Engines
    requests: Requests
    luck: Floats  # per request, uniform in [0, 1): the router's choice among equals
    phase: Ints  # R
    created_s: Floats  # R: asked for; its GPUs are billed from `scheduled_s` on
    scheduled_s: Floats  # R: on a node
    ready_s: Floats  # R: serves from here on
    ended_s: Floats  # R: finished draining, or removed before it served; inf while it lives
    serving: Ints  # R: the first line[SERVE_COUNT] are the replicas that take requests
    past: Engines  # one row: the counters of lives that ended and whose place was taken
    line: Ints  # the next arrival, requests held, their line, serving replicas, requests routed, loading or serving
    routing: int


def new_fleet(requests: Requests, params: Params, most: int, luck: Floats, routing: int = LEAST_LOADED) -> Fleet:
    """A fleet without replicas and with room for `most` at a time, draining ones included."""
    line = np.zeros(7, dtype=np.int64)
    line[HEAD] = line[TAIL] = NONE
    return Fleet(
        new_engines(params, most),
        requests,
        luck,
        np.zeros(most, dtype=np.int64),
        np.zeros(most),
        np.full(most, np.inf),
        np.full(most, np.inf),
        np.full(most, np.inf),
        np.zeros(most, dtype=np.int64),
        new_engines(params),
        line,
        routing,
    )


@kernel
def run(fleet: Fleet, params: Params, until_s: float) -> None:
    """Everything before `until_s`: starts, arrivals, engine steps, ends of draining replicas."""
    line, requests = fleet.line, fleet.requests
    count = requests.arrival_s.shape[0]
    start_s, starter = _next_start(fleet)
    while True:
        arrival_s = requests.arrival_s[line[NEXT]] if line[NEXT] < count else np.inf
        if min(arrival_s, start_s) >= until_s:
            break
        if start_s <= arrival_s:
            _start(fleet, params, starter)
            start_s, starter = _next_start(fleet)
            continue
        i = line[NEXT]
        line[NEXT] += 1
        if line[SERVE_COUNT] > 0:
            _route(fleet, params, i, arrival_s)
        else:
            _hold(fleet, i)
    for r in range(fleet.phase.shape[0]):
        if fleet.phase[r] == SERVING or fleet.phase[r] == DRAINING:
            advance(fleet.engines, requests, params, r, until_s)
            if fleet.phase[r] == DRAINING and fleet.engines.load[r] == 0:
                _end(fleet, r)


@kernel
def _next_start(fleet: Fleet) -> tuple[float, int]:
    """When the next loading replica is ready, and which."""
    at_s, which = np.inf, NONE
    for r in range(fleet.phase.shape[0]):
        if fleet.phase[r] == LOADING and fleet.ready_s[r] < at_s:
            at_s, which = fleet.ready_s[r], r
    return at_s, which


@kernel
def _start(fleet: Fleet, params: Params, r: int) -> None:
    """A replica is ready: it takes what is held, if it is the first."""
    line = fleet.line
    fleet.phase[r] = SERVING
    _bury(fleet.past, fleet.engines, r)
    reset(fleet.engines, r, fleet.ready_s[r])
    fleet.serving[line[SERVE_COUNT]] = r
    line[SERVE_COUNT] += 1
    while line[HELD] > 0:
        i = int(line[HEAD])
        line[HEAD] = fleet.requests.link[i]
        line[HELD] -= 1
        _route(fleet, params, i, fleet.ready_s[r])


@kernel
def _bury(past: Engines, engines: Engines, r: int) -> None:
    """Keep the counters of the life that had this place, as a metrics store would."""
    for k in range(past.floats.shape[1]):
        past.floats[0, k] += engines.floats[r, k]
    for k in range(past.ints.shape[1]):
        past.ints[0, k] += engines.ints[r, k]
    for k in range(past.ttft.shape[1]):
        past.ttft[0, k] += engines.ttft[r, k]
    for k in range(past.tpot.shape[1]):
        past.tpot[0, k] += engines.tpot[r, k]


@kernel
def _hold(fleet: Fleet, i: int) -> None:
    line, link = fleet.line, fleet.requests.link
    link[i] = NONE
    if line[HELD] == 0:
        line[HEAD] = i
    else:
        link[line[TAIL]] = i
    line[TAIL] = i
    line[HELD] += 1


@kernel
def _route(fleet: Fleet, params: Params, i: int, now_s: float) -> None:
    """Send a request to a replica that serves: the least loaded, any of the equals; or any at random."""
    engines, line = fleet.engines, fleet.line
    count = line[SERVE_COUNT]
    first = int(fleet.luck[i] * count)
    chosen = fleet.serving[first]
    if fleet.routing == LEAST_LOADED:
        least = np.int64(1 << 62)
        for place in range(count):
            r = fleet.serving[(first + place) % count]
            if engines.next_s[r] <= now_s:
                advance(engines, fleet.requests, params, r, now_s)
            if engines.load[r] < least:
                least, chosen = engines.load[r], r
    enqueue(engines, fleet.requests, params, chosen, i, now_s)
    line[ROUTED] += 1


@kernel
def create(fleet: Fleet, now_s: float, node_s: float, start_s: float) -> int:
    """Ask for one more replica: `node_s` until it is on a node, `start_s` more until it serves; NONE without room.

    `ended_s` still tells of the life that had the place: the caller reads it and sets it to inf.
    """
    for r in range(fleet.phase.shape[0]):
        if fleet.phase[r] == ABSENT:
            fleet.phase[r] = LOADING
            fleet.created_s[r] = now_s
            fleet.scheduled_s[r] = now_s + node_s
            fleet.ready_s[r] = now_s + node_s + start_s
            fleet.line[ALIVE] += 1
            return r
    return NONE


@kernel
def retire(fleet: Fleet, r: int, now_s: float) -> None:
    """Take a replica away: at once while it loads, else when it has finished what it has."""
    line = fleet.line
    line[ALIVE] -= 1
    if fleet.phase[r] == LOADING:
        _gone(fleet, r, now_s)
        return
    fleet.phase[r] = DRAINING
    for place in range(line[SERVE_COUNT]):
        if fleet.serving[place] == r:
            fleet.serving[place] = fleet.serving[line[SERVE_COUNT] - 1]
            line[SERVE_COUNT] -= 1
            break
    if fleet.engines.load[r] == 0:
        _gone(fleet, r, now_s)


@kernel
def _end(fleet: Fleet, r: int) -> None:
    _gone(fleet, r, fleet.engines.floats[r, LAST_S])


@kernel
def _gone(fleet: Fleet, r: int, now_s: float) -> None:
    fleet.phase[r] = ABSENT
    fleet.ended_s[r] = now_s


def restart_counters(fleet: Fleet) -> None:
    """Every server's counters start again at zero, as when its process restarts; what a metrics store summed stays."""
    engines = fleet.engines
    for r in fleet.serving[: fleet.line[SERVE_COUNT]]:
        _bury(fleet.past, engines, r)
        engines.floats[r, PROMPT_DONE:] = 0.0
        engines.ints[r, PREEMPTIONS:] = 0
        for counts in (engines.ttft, engines.tpot, engines.itl, engines.step_tokens):
            counts[r, :] = 0
        engines.prompt_sizes[r, :] = 0
        engines.output_sizes[r, :] = 0
