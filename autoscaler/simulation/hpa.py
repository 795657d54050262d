"""KEDA and the HPA as arithmetic: what they make of an external scaler's answers.

The law of this module: plain functions on arrays and numbers, in the subset that numba compiles; no object holds state.
`poll` and `push` are KEDA (0 <-> 1, cooldown), `sync` is the HPA (1 <-> N) for one AverageValue metric; `step` runs
them on their own timers over a scaler that answers as `Answers` says. Rules read in kedacore/keda main (August 2026)
and kubernetes pkg/controller/podautoscaler. Not modelled: fallback, several triggers. Of
idleReplicaCount only 0 is, the one value that works (KEDA #2314).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoscaler.simulation.kernel import kernel

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

PODS, PERCENT = 0, 1
SELECT_MAX, SELECT_MIN, DISABLED = 0, 1, 2
BY_POLL, BY_PUSH, BY_HPA = 0, 1, 2
MEMORY = (
    512  # recommendations, scale events and steps remembered: the longest window allowed is 3,600 s, at 15 s a sync
)

# Columns of `floats`.
NOW, NEXT_POLL, NEXT_SYNC, LAST_ACTIVE = range(4)
# Columns of `ints`.
SPEC, RECOMMENDATIONS, EVENTS, STEPS, WAS_ACTIVE = range(5)


class Direction(NamedTuple):
    """`behavior.scaleUp` or `.scaleDown`: three arrays of policies, and how they are used."""

    kind: Ints  # PODS or PERCENT
    value: Floats
    period_s: Floats
    select: int = SELECT_MAX
    stabilization_s: float = 0.0
    tolerance: float = 0.1


class KedaParams(NamedTuple):
    """One ScaledObject with one external trigger, and the cluster's HPA."""

    up: Direction
    down: Direction
    has_behavior: bool = True  # False: the HPA's built-in limits; of `up` and `down` only the tolerances count then
    min_replicas: int = 0
    max_replicas: int = 100
    target: float = 1.0
    polling_interval_s: float = 30.0
    cooldown_s: float = 300.0
    initial_cooldown_s: float = 0.0
    created_s: float = 0.0
    sync_s: float = 15.0
    has_push: bool = True
    idles_at_zero: bool = False  # idleReplicaCount 0: zero while inactive, min_replicas as soon as active


class KedaState(NamedTuple):
    """What KEDA and the HPA remember; changed in place."""

    floats: Floats
    ints: Ints
    recommendation_s: Floats  # rings of MEMORY
    recommendation: Ints
    event_s: Floats
    event: Ints  # replicas added, negative: removed
    step_s: Floats  # log of changes of spec.replicas
    step_to: Ints
    step_by: Ints


class Answers(NamedTuple):
    """The scaler's answers as a step function: row i holds from `from_s[i]`; the first row holds before it too."""

    from_s: Floats
    value: Floats  # sum over the metric's values
    active: NDArray[np.bool_]
    known: NDArray[np.bool_]  # False: every call is an error


def policies(
    *entries: tuple[int, float, float], select: int = SELECT_MAX, stabilization_s: float = 0.0, tolerance: float = 0.1
) -> Direction:
    """One direction of `behavior` from its (kind, value, period in seconds) policies."""
    table = np.array(entries, dtype=np.float64).reshape(-1, 3)
    return Direction(
        table[:, 0].astype(np.int64), table[:, 1].copy(), table[:, 2].copy(), select, stabilization_s, tolerance
    )


# What the API server fills in where `behavior` is given without policies.
DEFAULT_UP = policies((PODS, 4.0, 15.0), (PERCENT, 100.0, 15.0))
DEFAULT_DOWN = policies((PERCENT, 100.0, 15.0), stabilization_s=300.0)


def exact(max_replicas: int, *, min_replicas: int = 0) -> KedaParams:
    """The ScaledObject that obeys every number at the next sync: tolerance 0, any step up and down, no smoothing."""
    return KedaParams(
        policies((PODS, float(max_replicas), 15.0), tolerance=0.0),
        policies((PERCENT, 100.0, 15.0), tolerance=0.0),
        min_replicas=min_replicas,
        max_replicas=max_replicas,
    )


def new_keda(params: KedaParams, replicas: int, start_s: float = 0.0, first_sync_s: float | None = None) -> KedaState:
    """A loop that starts now: KEDA polls at once, the HPA syncs first after one period unless told otherwise.

    What the HPA finds is its first recommendation (recordInitialRecommendation in horizontal.go): a controller without
    a past does not shrink before its window is over.
    """
    floats = np.array([start_s, start_s, start_s + params.sync_s if first_sync_s is None else first_sync_s, np.nan])
    ints = np.array([replicas, 0, 0, 0, 0], dtype=np.int64)
    times = np.full((3, MEMORY), -np.inf)
    counts = np.zeros((4, MEMORY), dtype=np.int64)
    times[0, 0], counts[0, 0], ints[RECOMMENDATIONS] = start_s, replicas, 1
    return KedaState(floats, ints, times[0], counts[0], times[1], counts[1], times[2], counts[2], counts[3])


@kernel
def step(params: KedaParams, state: KedaState, answers: Answers, until_s: float) -> int:
    """Every poll, push and sync that is due by `until_s`, in order of time; returns spec.replicas.

    Status follows spec at once, as a Deployment's does. A push comes at each edge to active, while the scaler answers.
    """
    floats, ints = state.floats, state.ints
    row = int(np.searchsorted(answers.from_s, floats[NOW], side="right"))
    while True:
        edge_s = float(answers.from_s[row]) if row < answers.from_s.shape[0] else np.inf
        at_s = min(float(floats[NEXT_POLL]), float(floats[NEXT_SYNC]), edge_s)
        if at_s > until_s:
            floats[NOW] = until_s
            return int(ints[SPEC])
        floats[NOW] = at_s
        if edge_s == at_s:  # the scaler speaks first: a call at the same instant sees the new answer
            row += 1
        now_row = max(row - 1, 0)
        known, active = bool(answers.known[now_row]), bool(answers.active[now_row])
        if known:
            if active and ints[WAS_ACTIVE] == 0 and params.has_push:
                push(params, state, at_s)
            ints[WAS_ACTIVE] = 1 if active else 0
        if floats[NEXT_POLL] == at_s:
            floats[NEXT_POLL] = at_s + params.polling_interval_s
            poll(params, state, at_s, active, known)
        if floats[NEXT_SYNC] == at_s:
            floats[NEXT_SYNC] = at_s + params.sync_s
            sync(params, state, at_s, int(ints[SPEC]), float(answers.value[now_row]), known)


@kernel
def push(params: KedaParams, state: KedaState, now_s: float) -> int:
    """A `true` on the push stream: from zero at once, otherwise only the time of the last activity moves."""
    return poll(params, state, now_s, True, True, BY_PUSH)


@kernel
def poll(params: KedaParams, state: KedaState, now_s: float, active: bool, known: bool, by: int = BY_POLL) -> int:
    """One poll of KEDA's; an error holds. Returns spec.replicas.

    From zero to `min_replicas` or 1, whatever the metric says; from any N to zero once inactive for the cooldown, where
    the minimum is zero or the object idles at zero. An object that was never active has only its initial cooldown.
    """
    spec = int(state.ints[SPEC])
    if not known:
        return spec
    if active:
        state.floats[LAST_ACTIVE] = now_s
        if spec == 0 or (params.idles_at_zero and spec < params.min_replicas):
            return _set(state, now_s, max(1, params.min_replicas), by)
        return spec
    if spec < params.min_replicas and not params.idles_at_zero:
        return _set(state, now_s, params.min_replicas, by)
    last_s = float(state.floats[LAST_ACTIVE])
    ends_s = params.created_s + params.initial_cooldown_s if math.isnan(last_s) else last_s + params.cooldown_s
    may_be_zero = params.min_replicas == 0 or params.idles_at_zero
    if spec > 0 and may_be_zero and now_s >= ends_s:
        return _set(state, now_s, 0, by)
    return spec


@kernel
def sync(params: KedaParams, state: KedaState, now_s: float, status: int, value: float, known: bool) -> int:
    """One sync of the HPA for an AverageValue metric; returns spec.replicas."""
    asked = desired_replicas(value, params.target, status, params.up.tolerance, params.down.tolerance)
    return settle(params, state, now_s, asked, known)


@kernel
def settle(params: KedaParams, state: KedaState, now_s: float, asked: int, known: bool) -> int:
    """One sync of the HPA whose metrics ask for `asked`; returns spec.replicas.

    At zero it is disabled; outside its bounds it goes to the bound without reading the metric; an error holds.
    """
    spec = int(state.ints[SPEC])
    least = max(1, params.min_replicas)
    if spec == 0:
        return 0
    if spec > params.max_replicas or spec < least:
        wanted = min(max(spec, least), params.max_replicas)
    elif not known:
        return spec
    else:
        wanted = _limited(params, state, now_s, spec, asked)
    if wanted == spec:
        return spec
    if params.has_behavior:
        at = int(state.ints[EVENTS] % MEMORY)
        state.event_s[at] = now_s
        state.event[at] = wanted - spec
        state.ints[EVENTS] += 1
    return _set(state, now_s, wanted, BY_HPA)


@kernel
def desired_replicas(value: float, target: float, status: int, up: float, down: float) -> int:
    """status.replicas while value / (target x status) is within tolerance, else ceil(value / target); milli-units."""
    value_milli, target_milli = round(value * 1000.0), round(target * 1000.0)
    if status > 0 and 1.0 - down <= value_milli / (target_milli * status) <= 1.0 + up:
        return status
    return -(-value_milli // target_milli)


@kernel
def _limited(params: KedaParams, state: KedaState, now_s: float, spec: int, asked: int) -> int:
    """Stabilisation windows, then how far one step may go, then the bounds."""
    least, most = max(1, params.min_replicas), params.max_replicas
    if not params.has_behavior:
        stable = _window(state, now_s, 300.0, asked, True)
        _remember(state, now_s, asked)
        return max(least, min(stable, most, max(2 * spec, 4)))
    low = _window(state, now_s, params.up.stabilization_s, asked, False)
    high = _window(state, now_s, params.down.stabilization_s, asked, True)
    _remember(state, now_s, asked)
    stable = min(max(spec, low), high)
    if stable > spec:
        return min(stable, most, max(spec, _limit(params.up, state, now_s, spec, 1)))
    if stable < spec:
        return max(stable, least, min(spec, _limit(params.down, state, now_s, spec, -1)))
    return stable


@kernel
def _window(state: KedaState, now_s: float, window_s: float, asked: int, largest: bool) -> int:
    """The largest or smallest recommendation of the window, the new one included."""
    chosen = asked
    for i in range(min(int(state.ints[RECOMMENDATIONS]), MEMORY)):
        if state.recommendation_s[i] > now_s - window_s:
            one = int(state.recommendation[i])
            chosen = max(chosen, one) if largest else min(chosen, one)
    return chosen


@kernel
def _remember(state: KedaState, now_s: float, asked: int) -> None:
    at = int(state.ints[RECOMMENDATIONS] % MEMORY)
    state.recommendation_s[at] = now_s
    state.recommendation[at] = asked
    state.ints[RECOMMENDATIONS] += 1


@kernel
def _limit(direction: Direction, state: KedaState, now_s: float, spec: int, sign: int) -> int:
    """The furthest count that the policies of one direction allow now; `sign` is +1 up, -1 down."""
    if direction.select == DISABLED or direction.kind.shape[0] == 0:
        return spec
    chosen = 0
    for i in range(direction.kind.shape[0]):
        start = spec - _changed(state, now_s, float(direction.period_s[i]))
        if direction.kind[i] == PODS:
            proposed = start + sign * int(direction.value[i])
        elif sign > 0:
            proposed = math.ceil(start * (1.0 + direction.value[i] / 100.0))
        else:
            proposed = int(start * (1.0 - direction.value[i] / 100.0))
        # `Max` takes the policy that changes most: the largest count going up, the smallest going down.
        if i == 0 or ((proposed > chosen) == ((sign > 0) == (direction.select == SELECT_MAX))):
            chosen = proposed
    return chosen


@kernel
def _changed(state: KedaState, now_s: float, period_s: float) -> int:
    """Replicas added less removed by the HPA within the period."""
    total = 0
    for i in range(min(int(state.ints[EVENTS]), MEMORY)):
        if state.event_s[i] > now_s - period_s:
            total += int(state.event[i])
    return total


@kernel
def _set(state: KedaState, now_s: float, replicas: int, by: int) -> int:
    if replicas != state.ints[SPEC]:
        at = int(state.ints[STEPS] % MEMORY)
        state.step_s[at] = now_s
        state.step_to[at] = replicas
        state.step_by[at] = by
        state.ints[STEPS] += 1
        state.ints[SPEC] = replicas
    return replicas
