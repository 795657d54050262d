"""One replica, engine step by engine step: continuous batching, chunked prefill, KV limit, preemption.

The model is vLLM's scheduler reduced to what decides latency: decodes first, one token each; then prefill chunks in
order of arrival up to the tokens a step may hold; admission in order while the KV cache and the sequence limit allow;
when the cache overflows the last admitted goes back to the head of the queue and is computed anew.

A step takes base + per sequence * decodes + per prompt token * prefill + per KV token * KV read (milliseconds in the
calibration, seconds here). Runs of steps that only decode are taken at once in closed form.

Rows of `rows` in order: running requests first, then waiting ones. So admission and preemption only move the border.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Columns of rows.
ID, PROMPT, OUTPUT, PREFILLED, GENERATED, FIRST_S = range(6)
# Places of counts.
RUNNING, TOTAL, EVENTS, PREEMPTIONS, PROMPT_DONE, GENERATED_DONE, STEPS = range(7)
# Columns of events: request id, kind, time.
FIRST_TOKEN, FINISHED = 0.0, 1.0


class Params(NamedTuple):
    """How fast a replica is and what it holds; times in seconds."""

    base_s: float
    sequence_s: float
    prompt_token_s: float
    kv_token_s: float
    kv_tokens: float
    sequences: int
    batched_tokens: float


# Llama-3.1-70B on 4 A100-80: NVIDIA aiconfigurator 0.12.0 vLLM database, least-squares fit; times 1.1 for the engine's
# overhead that an operator-level model leaves out.
LLAMA_70B_A100X4 = Params(1.1 * 0.027696, 1.1 * 9.9284e-5, 1.1 * 1.5411e-4, 1.1 * 5.6765e-8, 476_864.0, 256, 2048.0)


class Replica(NamedTuple):
    """The state of one replica: all of it in arrays that `step` changes in place."""

    now: Floats  # one element, seconds
    rows: Floats  # capacity x 6
    counts: Ints  # see the places above
    events: Floats  # capacity x 3, the first counts[EVENTS] are new


def new_replica(capacity: int = 4096, now_s: float = 0.0) -> Replica:
    """An idle replica with room for `capacity` requests inside it."""
    return Replica(np.array([now_s]), np.zeros((capacity, 6)), np.zeros(7, dtype=np.int64), np.zeros((4 * capacity, 3)))


def add(replica: Replica, request_id: float, prompt_tokens: float, output_tokens: float) -> bool:
    """Queue a request; False if the replica has no room for it."""
    total = replica.counts[TOTAL]
    if total >= replica.rows.shape[0]:
        return False
    replica.rows[total] = (request_id, max(1.0, prompt_tokens), max(1.0, output_tokens), 0.0, 0.0, -1.0)
    replica.counts[TOTAL] = total + 1
    return True


def remove(replica: Replica, request_id: float) -> None:
    """Take a request out, as when its client went away."""
    rows, counts = replica.rows, replica.counts
    for i in range(counts[TOTAL]):
        if rows[i, ID] == request_id:
            rows[i : counts[TOTAL] - 1] = rows[i + 1 : counts[TOTAL]].copy()
            counts[TOTAL] -= 1
            if i < counts[RUNNING]:
                counts[RUNNING] -= 1
            return


def kv_in_use(replica: Replica) -> float:
    """KV tokens that running requests hold."""
    rows = replica.rows[: replica.counts[RUNNING]]
    return float(rows[:, PREFILLED].sum() + rows[:, GENERATED].sum())


def step(replica: Replica, params: Params, until_s: float) -> None:
    """Run engine steps that begin before `until_s`; first tokens and finishes are appended to `events`.

    An idle replica's time moves to `until_s`. The last step may end after it.
    """
    now, rows, counts, events = replica
    while now[0] < until_s:
        if counts[TOTAL] == 0 or counts[EVENTS] + counts[TOTAL] * 2 > events.shape[0]:
            if counts[TOTAL] == 0:
                now[0] = until_s
            return
        _admit(rows, counts, params)
        n = counts[RUNNING]
        running = rows[:n]
        left = running[:, PROMPT] - running[:, PREFILLED]
        decoding = left <= 0.0
        decodes = float(decoding.sum())
        kv = float(running[:, PREFILLED].sum() + running[:, GENERATED].sum())
        if decodes == n:
            _decode(now, running, counts, params, n, kv, until_s)
        else:
            _mixed(now, running, counts, events, params, left, decoding, decodes, kv)
        _finish(now[0], rows, counts, events)
        _preempt(rows, counts, params)


def _admit(rows: Floats, counts: Ints, params: Params) -> None:
    n = counts[RUNNING]
    held = rows[:n, PROMPT].sum() + rows[:n, GENERATED].sum()
    while n < counts[TOTAL] and n < params.sequences:
        need = rows[n, PROMPT] + rows[n, GENERATED]
        # A request larger than the whole cache is let in alone, lest the queue stand still for ever.
        if held + need > params.kv_tokens and n > 0:
            break
        held += need
        n += 1
    counts[RUNNING] = n


def _decode(now: Floats, running: Floats, counts: Ints, params: Params, n: int, kv: float, until_s: float) -> None:
    """Steps that only decode, as many as change nothing but token counts, at once."""
    first_s = params.base_s + params.sequence_s * n + params.kv_token_s * kv
    fewest = float((running[:, OUTPUT] - running[:, GENERATED]).min())
    room = (params.kv_tokens - kv) / n
    steps = max(1.0, min(fewest, np.floor((until_s - now[0]) / first_s), np.floor(room)))
    now[0] += steps * first_s + params.kv_token_s * n * steps * (steps - 1.0) / 2.0
    running[:, GENERATED] += steps
    counts[GENERATED_DONE] += int(steps * n)
    counts[STEPS] += int(steps)


def _mixed(
    now: Floats,
    running: Floats,
    counts: Ints,
    events: Floats,
    params: Params,
    left: Floats,
    decoding: NDArray[np.bool_],
    decodes: float,
    kv: float,
) -> None:
    """One step with prefill chunks in order of arrival."""
    budget = max(1.0, params.batched_tokens - decodes)
    want = np.where(decoding, 0.0, left)
    chunks = np.minimum(want, np.maximum(0.0, budget - (np.cumsum(want) - want)))
    prefill = float(chunks.sum())
    now[0] += params.base_s + params.sequence_s * decodes + params.prompt_token_s * prefill + params.kv_token_s * kv
    running[:, PREFILLED] += chunks
    running[decoding, GENERATED] += 1.0
    counts[STEPS] += 1
    counts[GENERATED_DONE] += int(decodes)
    for i in np.nonzero((~decoding) & (chunks >= left))[0]:
        # Prefill ends with the first token; a request computed anew after preemption has told it already.
        counts[PROMPT_DONE] += int(running[i, PROMPT])
        running[i, GENERATED] += 1.0
        counts[GENERATED_DONE] += 1
        if running[i, FIRST_S] < 0.0:
            running[i, FIRST_S] = now[0]
            events[counts[EVENTS]] = (running[i, ID], FIRST_TOKEN, now[0])
            counts[EVENTS] += 1


def _finish(now_s: float, rows: Floats, counts: Ints, events: Floats) -> None:
    n, total = counts[RUNNING], counts[TOTAL]
    done = rows[:n, GENERATED] >= rows[:n, OUTPUT]
    if not done.any():
        return
    for i in np.nonzero(done)[0]:
        events[counts[EVENTS]] = (rows[i, ID], FINISHED, now_s)
        counts[EVENTS] += 1
    keep = np.nonzero(~done)[0]
    rows[: len(keep)] = rows[keep]
    rows[len(keep) : len(keep) + total - n] = rows[n:total].copy()
    counts[RUNNING] = len(keep)
    counts[TOTAL] = len(keep) + total - n


def _preempt(rows: Floats, counts: Ints, params: Params) -> None:
    n = counts[RUNNING]
    held = rows[:n, PREFILLED].sum() + rows[:n, GENERATED].sum()
    while n > 1 and held + n > params.kv_tokens:
        n -= 1
        held -= rows[n, PREFILLED] + rows[n, GENERATED]
        # What was generated must be computed again before the next token.
        rows[n, PREFILLED] = 0.0
        counts[PREEMPTIONS] += 1
    counts[RUNNING] = n
