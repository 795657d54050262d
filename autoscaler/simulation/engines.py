"""The arrays that a simulated replica lives in: what the kernels of `replica` change in place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Columns of Engines.floats: time, decode steps so far, KV tokens computed, KV tokens promised to what runs (its whole
# prompts), prompt tokens left of the request that is partly computed, when the last request left, and counters as on
# a page.
NOW, CLOCK, KV, PROMISED, LEFT, LAST_S, PROMPT_DONE, CACHED_DONE, GENERATED, ITL_S, ITL_COUNT, TTFT_S, TPOT_S = range(
    FLOAT_COLUMNS := 13
)
# Columns of Engines.ints: counts of requests, the request that is partly computed, ends of the waiting line, counters.
DECODING, PARTIAL, WAITING, HEAD, TAIL, PREEMPTIONS, FINISHED, STEPS = range(INT_COLUMNS := 8)

NONE = -1
# vLLM 0.32's own bounds, in part; the last bucket of each row of counts is +Inf.
TTFT_BOUNDS = (0.001, 0.01, 0.04, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0)
TPOT_BOUNDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
STEP_TOKENS_BOUNDS = (1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0)

# vLLM's 1-2-5 series up to the longest context.
SIZE_BOUNDS = tuple(float(m * 10**e) for e in range(6) for m in (1, 2, 5))[:-1]


class Params(NamedTuple):
    """How fast a replica is and what it holds; times in seconds."""

    base_s: float
    sequence_s: float
    prompt_token_s: float
    kv_token_s: float
    kv_tokens: float
    sequences: int
    batched_tokens: float
    cached_share: float = 0.0  # of every prompt, found in the prefix cache
    overhead_s: float = 0.0  # of the front end, on every first token and finish
    overlap: float = 0.0  # of reading the weights with computing prompts: 0 they add up, 1 the longer hides the other


# Llama-3.1-70B on 4 A100-80: NVIDIA aiconfigurator 0.12.0 vLLM database, least-squares fit; times 1.1 for the engine's
# overhead that an operator-level model leaves out.
LLAMA_70B_A100X4 = Params(1.1 * 0.027696, 1.1 * 9.9284e-5, 1.1 * 1.5411e-4, 1.1 * 5.6765e-8, 476_864.0, 256, 2048.0)
# The same source, on 4 H100: the benchmark's reference replica.
LLAMA_70B_H100X4 = Params(1.1 * 0.015207, 1.1 * 3.2257e-5, 1.1 * 5.6832e-5, 1.1 * 2.646e-8, 476_864.0, 1024, 2048.0)


class Requests(NamedTuple):
    """Requests by index: what they ask for, and what became of them. Times in seconds, -1: not yet."""

    arrival_s: Floats
    prompt_tokens: Floats
    output_tokens: Floats
    first_s: Floats
    finish_s: Floats
    redo_tokens: Floats  # generated before a preemption, to be computed again
    link: Ints  # the next in the same line, NONE: the last


class Engines(NamedTuple):
    """The engines of up to R replicas; all of it arrays that change in place."""

    floats: Floats  # R x 13
    ints: Ints  # R x 8
    next_s: Floats  # R: no request leaves the replica before
    load: Ints  # R: requests inside
    end_clock: Floats  # R x sequences: heap of the clocks at which decodes end
    end_id: Ints  # R x sequences: their requests
    fresh: Ints  # R x sequences: scratch, requests whose prompt a step completes
    ttft: Ints  # R x buckets: observations per bucket, not cumulative
    tpot: Ints
    itl: Ints  # the same for times between tokens, in the buckets of TPOT
    step_tokens: Ints
    prompt_sizes: Ints  # of finished requests, tokens
    output_sizes: Ints


def new_requests(arrival_s: Floats, prompt_tokens: Floats, output_tokens: Floats) -> Requests:
    """Requests of which nothing happened yet; sizes are at least one token."""
    count = len(arrival_s)
    return Requests(
        np.asarray(arrival_s, dtype=np.float64),
        np.maximum(1.0, np.asarray(prompt_tokens, dtype=np.float64)),
        np.maximum(1.0, np.asarray(output_tokens, dtype=np.float64)),
        np.full(count, -1.0),
        np.full(count, -1.0),
        np.zeros(count),
        np.full(count, NONE, dtype=np.int64),
    )


def new_engines(params: Params, replicas: int = 1, now_s: float = 0.0) -> Engines:
    """Idle engines."""
    engines = Engines(
        np.zeros((replicas, FLOAT_COLUMNS)),
        np.zeros((replicas, INT_COLUMNS), dtype=np.int64),
        np.full(replicas, np.inf),
        np.zeros(replicas, dtype=np.int64),
        np.zeros((replicas, params.sequences)),
        np.zeros((replicas, params.sequences), dtype=np.int64),
        np.zeros((replicas, params.sequences), dtype=np.int64),
        np.zeros((replicas, len(TTFT_BOUNDS) + 1), dtype=np.int64),
        np.zeros((replicas, len(TPOT_BOUNDS) + 1), dtype=np.int64),
        np.zeros((replicas, len(TPOT_BOUNDS) + 1), dtype=np.int64),
        np.zeros((replicas, len(STEP_TOKENS_BOUNDS) + 1), dtype=np.int64),
        np.zeros((replicas, len(SIZE_BOUNDS) + 1), dtype=np.int64),
        np.zeros((replicas, len(SIZE_BOUNDS) + 1), dtype=np.int64),
    )
    engines.floats[:, NOW] = now_s
    engines.ints[:, [PARTIAL, HEAD, TAIL]] = NONE
    return engines
