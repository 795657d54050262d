"""WVA's queueing model: one replica as a birth-death chain whose server slows with its batch.

Source: llm-d WVA pkg/analyzer (IBM inferno; arXiv 2603.09730). An iteration with n requests takes
alpha + n (beta tc + gamma tm), where a request has tc = (I + O) / (O + 1) tokens computed and tm = I + O / 2 tokens
read. Requests leave at n / (prefill + O decode), with prefill = iteration + (beta + gamma) I and decode = iteration +
beta + gamma tm; a batch and ten times as many waiting have room (M/M/1/K with a rate that depends on the state). TTFT
is wait, prefill and one decode, ITL the service less its prefill over O, both at the mean batch.

Law: plain arithmetic; nothing here knows a policy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

QUEUE_PER_BATCH = 10
LOW_SHARE, HIGH_SHARE = 0.001, 0.999  # of the slowest and the fastest service rate: where the chain is believed
PRECISION, MOST_STEPS = 1e-6, 100


class Times(NamedTuple):
    """How long an iteration takes; seconds."""

    alpha: float
    beta: float  # per token computed
    gamma: float  # per token read


class Latencies(NamedTuple):
    """Means; seconds."""

    ttft_s: float
    itl_s: float


class Queue:
    """The chain of one replica for one mix of sizes."""

    def __init__(self, times: Times, prompt: float, output: float, batch: int) -> None:
        alpha, beta, gamma = times
        held = prompt + output / 2.0
        self.output, self.batch = output, batch
        self.alpha = alpha
        self.per_request_s = beta * (prompt + output) / (output + 1.0) + gamma * held
        self.prompt_s = (beta + gamma) * prompt
        self.states = np.arange(batch + 1, dtype=np.float64)
        iteration_s = alpha + self.states[1:] * self.per_request_s
        prefill_s, decode_s = iteration_s + self.prompt_s, iteration_s + beta + gamma * held
        rate = self.states[1:] / (prefill_s + output * decode_s)
        self.least_rps, self.most_rps = LOW_SHARE * float(rate[0]), HIGH_SHARE * float(rate[-1])
        self.full_rps = float(rate[-1])
        self.log_rates = np.concatenate([[0.0], np.cumsum(np.log(rate))])

    def latencies(self, arrivals_rps: float) -> Latencies | None:
        """At an arrival rate above 0; None above what the chain is believed for."""
        if not 0.0 < arrivals_rps <= self.most_rps:
            return None
        log_weight = self.states * math.log(arrivals_rps) - self.log_rates
        weight = np.exp(log_weight - log_weight.max())
        # Beyond a full batch the rate is constant: a geometric series of as many states as may wait.
        room, ratio = QUEUE_PER_BATCH * self.batch, arrivals_rps / self.full_rps
        last = ratio**room
        full = float(weight[-1])
        waiting = full * ratio * (1.0 - last) / (1.0 - ratio)
        queued = full * ratio * (1.0 - (room + 1) * last + room * last * ratio) / (1.0 - ratio) ** 2
        total = float(weight.sum()) + waiting
        served = (float((weight * self.states).sum()) + waiting * self.batch) / total
        through_rps = arrivals_rps * (1.0 - full * last / total)
        prefill_s = self.alpha + served * self.per_request_s + self.prompt_s
        itl_s = (served / through_rps - prefill_s) / self.output
        return Latencies(queued / total / through_rps + prefill_s + itl_s, itl_s)

    def sized_rps(self, ttft_s: float, itl_s: float) -> float | None:
        """The largest arrival rate that keeps both limits; None: none does."""
        low, high = self.least_rps, self.most_rps
        if self._keeps(high, ttft_s, itl_s):
            return high
        if not self._keeps(low, ttft_s, itl_s):
            return None
        for _ in range(MOST_STEPS):
            if high - low <= PRECISION * high:
                break
            middle = (low + high) / 2.0
            low, high = (middle, high) if self._keeps(middle, ttft_s, itl_s) else (low, middle)
        return low

    def _keeps(self, arrivals_rps: float, ttft_s: float, itl_s: float) -> bool:
        told = self.latencies(arrivals_rps)
        return told is not None and told.ttft_s <= ttft_s and told.itl_s <= itl_s
