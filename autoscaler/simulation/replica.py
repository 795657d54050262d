"""One replica, engine step by engine step: continuous batching, chunked prefill, KV limit, preemption.

The model is vLLM's scheduler reduced to what decides latency: decodes first, one token each; then the prompt that is
partly computed; then waiting requests in order of arrival while the step has tokens left and KV cache and sequence
limit allow; when the cache overflows the youngest goes back to the head of the queue and is computed anew.

A step takes base + per sequence * decodes + per prompt token * prefill + per KV token * KV read; base and prefill may
overlap (`_together`). Steps that only
decode are taken at once in closed form: a request that began to decode at clock c ends at clock c + its tokens, so a
heap of end clocks is all there is to know of them, and an event costs O(log n).

Law: kernels (see `kernel`): plain functions on the rows of arrays; `r` is the replica, `i` the request.
"""

from __future__ import annotations

import math

import numpy as np

from autoscaler.simulation.engines import (
    CACHED_DONE,
    CLOCK,
    DECODING,
    FINISHED,
    GENERATED,
    HEAD,
    ITL_COUNT,
    ITL_S,
    KV,
    LAST_S,
    LEFT,
    NONE,
    NOW,
    PARTIAL,
    PREEMPTIONS,
    PROMISED,
    PROMPT_DONE,
    SIZE_BOUNDS,
    STEP_TOKENS_BOUNDS,
    STEPS,
    TAIL,
    TPOT_BOUNDS,
    TPOT_S,
    TTFT_BOUNDS,
    TTFT_S,
    WAITING,
    Engines,
    Params,
    Requests,
)
from autoscaler.simulation.heap import replace, rise
from autoscaler.simulation.kernel import kernel


@kernel
def reset(engines: Engines, r: int, now_s: float) -> None:
    """A new process in place of the old: nothing inside, counters at zero."""
    engines.floats[r, :] = 0.0
    engines.ints[r, :] = 0
    engines.ttft[r, :] = 0
    engines.tpot[r, :] = 0
    engines.itl[r, :] = 0
    engines.step_tokens[r, :] = 0
    engines.prompt_sizes[r, :] = 0
    engines.output_sizes[r, :] = 0
    engines.floats[r, NOW] = now_s
    engines.ints[r, PARTIAL] = NONE
    engines.ints[r, HEAD] = NONE
    engines.ints[r, TAIL] = NONE
    engines.next_s[r] = np.inf
    engines.load[r] = 0


@kernel
def enqueue(engines: Engines, requests: Requests, params: Params, r: int, i: int, now_s: float) -> None:
    """A request comes in; the step in progress ends first."""
    advance(engines, requests, params, r, now_s)
    floats, ints = engines.floats, engines.ints
    floats[r, NOW] = max(floats[r, NOW], now_s)
    requests.link[i] = NONE
    if ints[r, WAITING] == 0:
        ints[r, HEAD] = i
    else:
        requests.link[ints[r, TAIL]] = i
    ints[r, TAIL] = i
    ints[r, WAITING] += 1
    engines.load[r] += 1
    engines.next_s[r] = floats[r, NOW]


@kernel
def advance(engines: Engines, requests: Requests, params: Params, r: int, until_s: float) -> None:
    """Run engine steps that begin before `until_s`; an idle engine's time moves there. The last may end after it."""
    floats, ints = engines.floats, engines.ints
    while floats[r, NOW] < until_s:
        if ints[r, PARTIAL] != NONE or _fits(engines, requests, params, r, ints[r, DECODING]):
            _mixed(engines, requests, params, r)
        elif ints[r, DECODING] > 0:
            _decode(engines, params, r, until_s)
        else:
            floats[r, NOW] = until_s
            break
        while ints[r, DECODING] > 0 and engines.end_clock[r, 0] <= floats[r, CLOCK]:
            _finish(engines, requests, params, r, _pop(engines, r))
        while floats[r, KV] + ints[r, DECODING] > params.kv_tokens and _shares(engines, r):
            _preempt(engines, requests, r)
    _foresee(engines, requests, params, r)


@kernel
def _shares(engines: Engines, r: int) -> bool:
    """Whether a decode has company in the cache; the last request is never preempted."""
    ints = engines.ints
    return bool(ints[r, DECODING] > 1 or (ints[r, DECODING] == 1 and ints[r, PARTIAL] != NONE))


@kernel
def _fits(engines: Engines, requests: Requests, params: Params, r: int, running: int) -> bool:
    """Whether the head of the waiting line may run; alone it may always, lest the line stand still for ever."""
    ints = engines.ints
    if ints[r, WAITING] == 0 or running >= params.sequences:
        return False
    i = ints[r, HEAD]
    need = requests.prompt_tokens[i] + requests.redo_tokens[i]
    return running == 0 or engines.floats[r, PROMISED] + need <= params.kv_tokens


@kernel
def _foresee(engines: Engines, requests: Requests, params: Params, r: int) -> None:
    """Set the time before which no request leaves, if none comes in."""
    floats, ints = engines.floats, engines.ints
    n = ints[r, DECODING]
    if ints[r, PARTIAL] != NONE or _fits(engines, requests, params, r, n):
        engines.next_s[r] = floats[r, NOW]
    elif n > 0:
        steps = _most_steps(engines, params, r)
        engines.next_s[r] = floats[r, NOW] + _steps_s(engines, params, r, steps)
    else:
        engines.next_s[r] = np.inf


@kernel
def _most_steps(engines: Engines, params: Params, r: int) -> float:
    """Decode steps until one ends or the cache is full."""
    floats, n = engines.floats, engines.ints[r, DECODING]
    fewest = engines.end_clock[r, 0] - floats[r, CLOCK]
    return float(max(1.0, min(fewest, math.floor((params.kv_tokens - floats[r, KV]) / n))))


@kernel
def _steps_s(engines: Engines, params: Params, r: int, steps: float) -> float:
    n = engines.ints[r, DECODING]
    first_s = params.base_s + params.sequence_s * n + params.kv_token_s * engines.floats[r, KV]
    return float(steps * first_s + params.kv_token_s * n * steps * (steps - 1.0) / 2.0)


@kernel
def _decode(engines: Engines, params: Params, r: int, until_s: float) -> None:
    """Steps that only decode: all that begin before `until_s` and change nothing but token counts, at once."""
    floats, ints = engines.floats, engines.ints
    n = ints[r, DECODING]
    half = params.kv_token_s * n / 2.0
    first_s = params.base_s + params.sequence_s * n + params.kv_token_s * floats[r, KV]
    gap_s = until_s - floats[r, NOW]
    # The smallest whole k with first k + half k (k - 1) >= gap, by the stable form of the quadratic's root.
    b = first_s - half
    root = 2.0 * gap_s / (b + math.sqrt(b * b + 4.0 * half * gap_s))
    steps = min(max(1.0, math.ceil(root - 1e-9)), _most_steps(engines, params, r))
    took_s = _steps_s(engines, params, r, steps)
    floats[r, NOW] += took_s
    floats[r, CLOCK] += steps
    floats[r, KV] += steps * n
    floats[r, PROMISED] += steps * n
    floats[r, GENERATED] += steps * n
    floats[r, ITL_S] += took_s * n
    floats[r, ITL_COUNT] += steps * n
    # Steps taken at once differ by the KV tokens they add, microseconds: they share a bucket.
    engines.itl[r, _bucket(TPOT_BOUNDS, took_s / steps)] += int(steps * n)
    ints[r, STEPS] += int(steps)
    engines.step_tokens[r, _bucket(STEP_TOKENS_BOUNDS, n)] += int(steps)


@kernel
def _mixed(engines: Engines, requests: Requests, params: Params, r: int) -> None:
    """One step in which prompts are computed too."""
    floats, ints = engines.floats, engines.ints
    decodes = ints[r, DECODING]
    budget = max(1.0, params.batched_tokens - decodes)
    taken = 0.0
    completed = 0
    if ints[r, PARTIAL] != NONE:
        taken = min(floats[r, LEFT], budget)
        floats[r, LEFT] -= taken
        if floats[r, LEFT] <= 0.0:
            engines.fresh[r, completed] = ints[r, PARTIAL]
            completed += 1
            ints[r, PARTIAL] = NONE
    read = floats[r, KV]
    while taken < budget and _fits(engines, requests, params, r, decodes + completed):
        i = _admit(engines, requests, r)
        tokens = requests.prompt_tokens[i] + requests.redo_tokens[i]
        work = max(1.0, math.ceil(tokens * (1.0 - params.cached_share)))
        floats[r, KV] += tokens - work
        chunk = min(work, budget - taken)
        taken += chunk
        if chunk < work:
            ints[r, PARTIAL] = i
            floats[r, LEFT] = work - chunk
            break
        engines.fresh[r, completed] = i
        completed += 1
    both_s = _together(params.base_s, params.prompt_token_s * taken, params.overlap)
    took_s = both_s + params.sequence_s * decodes + params.kv_token_s * read
    floats[r, NOW] += took_s
    floats[r, CLOCK] += 1.0
    floats[r, KV] += taken + decodes
    floats[r, PROMISED] += decodes
    floats[r, GENERATED] += decodes
    floats[r, ITL_S] += took_s * decodes
    floats[r, ITL_COUNT] += decodes
    engines.itl[r, _bucket(TPOT_BOUNDS, took_s)] += decodes
    ints[r, STEPS] += 1
    engines.step_tokens[r, _bucket(STEP_TOKENS_BOUNDS, taken + decodes)] += 1
    for place in range(completed):
        _first_token(engines, requests, params, r, engines.fresh[r, place])


@kernel
def _together(one_s: float, other_s: float, overlap: float) -> float:
    """Two times that overlap: their sum at 0, the longer at 1, between them a smooth maximum (a hyperbola)."""
    if overlap == 0.0:
        return one_s + other_s
    gap_s = one_s - other_s
    return (one_s + other_s + math.sqrt(gap_s * gap_s + 4.0 * (1.0 - overlap) * one_s * other_s)) / 2.0


@kernel
def _admit(engines: Engines, requests: Requests, r: int) -> int:
    """Take the head of the waiting line; its whole prompt is promised to it."""
    ints = engines.ints
    i = int(ints[r, HEAD])
    ints[r, HEAD] = requests.link[i]
    ints[r, WAITING] -= 1
    engines.floats[r, PROMISED] += requests.prompt_tokens[i] + requests.redo_tokens[i]
    return i


@kernel
def _first_token(engines: Engines, requests: Requests, params: Params, r: int, i: int) -> None:
    """The prompt is computed: the next token is there; one computed anew after preemption has told its first."""
    floats = engines.floats
    floats[r, KV] += 1.0
    floats[r, PROMISED] += 1.0
    floats[r, GENERATED] += 1.0
    if requests.first_s[i] < 0.0:
        requests.first_s[i] = floats[r, NOW] + params.overhead_s
        waited_s = requests.first_s[i] - requests.arrival_s[i]
        floats[r, TTFT_S] += waited_s
        engines.ttft[r, _bucket(TTFT_BOUNDS, waited_s)] += 1
        floats[r, PROMPT_DONE] += requests.prompt_tokens[i]
        floats[r, CACHED_DONE] += math.floor(requests.prompt_tokens[i] * params.cached_share)
    left = requests.output_tokens[i] - requests.redo_tokens[i] - 1.0
    if left <= 0.0:
        _finish(engines, requests, params, r, i)
    else:
        _push(engines, r, floats[r, CLOCK] + left, i)


@kernel
def _finish(engines: Engines, requests: Requests, params: Params, r: int, i: int) -> None:
    floats = engines.floats
    held = requests.prompt_tokens[i] + requests.output_tokens[i]
    floats[r, KV] -= held
    floats[r, PROMISED] -= held
    requests.finish_s[i] = floats[r, NOW] + params.overhead_s
    if requests.output_tokens[i] > 1.0:
        each_s = (requests.finish_s[i] - requests.first_s[i]) / (requests.output_tokens[i] - 1.0)
        floats[r, TPOT_S] += each_s
        engines.tpot[r, _bucket(TPOT_BOUNDS, each_s)] += 1
    engines.prompt_sizes[r, _bucket(SIZE_BOUNDS, requests.prompt_tokens[i])] += 1
    engines.output_sizes[r, _bucket(SIZE_BOUNDS, requests.output_tokens[i])] += 1
    floats[r, LAST_S] = floats[r, NOW]
    engines.ints[r, FINISHED] += 1
    engines.load[r] -= 1


@kernel
def _preempt(engines: Engines, requests: Requests, r: int) -> None:
    """The youngest goes back to the head of the line; what it had generated must be computed again."""
    floats, ints = engines.floats, engines.ints
    i = int(ints[r, PARTIAL])
    if i != NONE:
        ints[r, PARTIAL] = NONE
        floats[r, KV] -= requests.prompt_tokens[i] + requests.redo_tokens[i] - floats[r, LEFT]
    else:
        place = 0
        for other in range(1, ints[r, DECODING]):
            if requests.arrival_s[engines.end_id[r, other]] >= requests.arrival_s[engines.end_id[r, place]]:
                place = other
        i = int(engines.end_id[r, place])
        generated = requests.output_tokens[i] - (engines.end_clock[r, place] - floats[r, CLOCK])
        _remove_end(engines, r, place)
        requests.redo_tokens[i] = generated
        floats[r, KV] -= requests.prompt_tokens[i] + generated
    floats[r, PROMISED] -= requests.prompt_tokens[i] + requests.redo_tokens[i]
    requests.link[i] = ints[r, HEAD] if ints[r, WAITING] > 0 else NONE
    if ints[r, WAITING] == 0:
        ints[r, TAIL] = i
    ints[r, HEAD] = i
    ints[r, WAITING] += 1
    ints[r, PREEMPTIONS] += 1


@kernel
def withdraw(engines: Engines, requests: Requests, params: Params, r: int, i: int) -> None:
    """Take a request out, as when its client went away; nothing happens if it is not inside."""
    floats, ints = engines.floats, engines.ints
    found = False
    if ints[r, PARTIAL] == i:
        ints[r, PARTIAL] = NONE
        tokens = requests.prompt_tokens[i] + requests.redo_tokens[i]
        floats[r, KV] -= tokens - floats[r, LEFT]
        floats[r, PROMISED] -= tokens
        found = True
    for place in range(ints[r, DECODING]):
        if engines.end_id[r, place] == i:
            generated = requests.output_tokens[i] - (engines.end_clock[r, place] - floats[r, CLOCK])
            floats[r, KV] -= requests.prompt_tokens[i] + generated
            floats[r, PROMISED] -= requests.prompt_tokens[i] + generated
            _remove_end(engines, r, place)
            found = True
            break
    former, other = NONE, int(ints[r, HEAD])
    for _ in range(0 if found else ints[r, WAITING]):
        if other == i:
            if former == NONE:
                ints[r, HEAD] = requests.link[i]
            else:
                requests.link[former] = requests.link[i]
            if ints[r, TAIL] == i:
                ints[r, TAIL] = former
            ints[r, WAITING] -= 1
            found = True
            break
        former, other = other, int(requests.link[other])
    if found:
        engines.load[r] -= 1
        _foresee(engines, requests, params, r)


@kernel
def _bucket(bounds: tuple[float, ...], value: float) -> int:
    """The place of the first bound that is not below the value."""
    place = 0
    while place < len(bounds) and bounds[place] < value:
        place += 1
    return place


# --- heap of end clocks ----------------------------------------------------------------------------------------------


@kernel
def _push(engines: Engines, r: int, clock: float, i: int) -> None:
    place = int(engines.ints[r, DECODING])
    engines.ints[r, DECODING] += 1
    rise(engines.end_clock, engines.end_id, r, place, clock, i)


@kernel
def _pop(engines: Engines, r: int) -> int:
    i = int(engines.end_id[r, 0])
    _remove_end(engines, r, 0)
    return i


@kernel
def _remove_end(engines: Engines, r: int, place: int) -> None:
    last = int(engines.ints[r, DECODING]) - 1
    engines.ints[r, DECODING] = last
    if place < last:
        clock, i = engines.end_clock[r, last], int(engines.end_id[r, last])
        replace(engines.end_clock, engines.end_id, r, place, last, clock, i)
