"""WVA's model-based optimizer (QMA): a queue whose server slows with its batch, sized to both limits.

Source: llm-d WVA, the queueing model of its optimizer (pkg/analyzer in older releases, experimental in v0.9.0). An
iteration with n requests takes alpha + n (beta tc + gamma tm), where a request has tc = (I + O) / (O + 1) tokens
computed and tm = I + O / 2 tokens read; a birth-death chain with that service rate and room for a batch and ten times
as many waiting gives TTFT (wait, prefill, one decode) and ITL. Binary search finds the largest arrival rate that keeps
both limits; replicas are arrivals over that rate. One accelerator, so its choice by cost falls away.

Ours: its Kalman filter on alpha, beta and gamma is replaced by the truth, base time, time per prompt token and time
per KV token of the offline profile, which it could at best learn; the batch is what fits in the KV cache; the mix is
that of five minutes, the rate that of one, and the answer is kept per 5 % of mix. Where no rate keeps the limits it
repeats itself. It plans means where the objective is a share of requests, so the settings are shares of both limits,
1 as published; loop and HPA are those of `wva`, and the settings but the default as quick.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from autoscaler.core.records import Objective
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import RATE_WINDOW_S, hit_share, mean_output_tokens, mean_prompt_tokens
from autoscaler.simulation.policies.rates import Recent
from autoscaler.simulation.policies.wva import WvaLoop, pace
from autoscaler.simulation.view import View

QUEUE_PER_BATCH = 10
LOW_SHARE, HIGH_SHARE = 0.001, 0.999  # of the slowest and the fastest service rate: where the search looks
PRECISION, MOST_STEPS = 1e-6, 100
MIX = 0.05  # of a mean size, in which the answer is the same
SHARES = (0.45, 0.55, 0.67, 0.82, 1.0, 1.25)  # of the limits


class Times(NamedTuple):
    """How long an iteration takes; seconds."""

    alpha: float
    beta: float  # per token computed
    gamma: float  # per token read


class Queue:
    """One replica as a birth-death chain, for one mix of sizes."""

    def __init__(self, times: Times, prompt: float, output: float, batch: int) -> None:
        alpha, beta, gamma = times
        held = prompt + output / 2.0
        self.output = output
        self.per_request_s = beta * (prompt + output) / (output + 1.0) + gamma * held
        self.alpha, self.first_s = alpha, (beta + gamma) * prompt
        self.each_s = beta + gamma * held
        size = np.arange(1, batch + 1)
        iteration_s = alpha + size * self.per_request_s
        self.rate = size / (iteration_s + self.first_s + output * (iteration_s + self.each_s))  # requests per second
        states = np.arange((1 + QUEUE_PER_BATCH) * batch + 1)
        self.states = states.astype(np.float64)
        self.served = np.minimum(states, batch).astype(np.float64)
        per_state = self.rate[np.maximum(0, np.minimum(states[1:], batch) - 1)]
        self.log_rates = np.concatenate([[0.0], np.cumsum(np.log(per_state))])

    def latencies(self, arrivals_rps: float) -> tuple[float, float]:
        """Mean TTFT and ITL, seconds."""
        weight = self.states * math.log(arrivals_rps) - self.log_rates
        share = np.exp(weight - weight.max())
        share /= share.sum()
        through_rps = arrivals_rps * (1.0 - float(share[-1]))
        inside, served = float((share * self.states).sum()), float((share * self.served).sum())
        service_s = served / through_rps
        # The batch whose own service time is the mean one.
        fixed_s = self.alpha + self.first_s + self.output * (self.alpha + self.each_s)
        batch = max(0.0, (service_s - fixed_s) / ((1.0 + self.output) * self.per_request_s))
        iteration_s = self.alpha + batch * self.per_request_s
        prefill_s = iteration_s + self.first_s
        ttft_s = (inside - served) / through_rps + prefill_s + iteration_s + self.each_s
        return ttft_s, (service_s - prefill_s) / self.output

    def most_rps(self, ttft_s: float, tpot_s: float) -> float | None:
        """The largest arrival rate that keeps both limits; None: none does."""
        low, high = LOW_SHARE * float(self.rate[0]), HIGH_SHARE * float(self.rate.max())
        if self._keeps(high, ttft_s, tpot_s):
            return high
        if not self._keeps(low, ttft_s, tpot_s):
            return None
        for _ in range(MOST_STEPS):
            if high - low <= PRECISION * high:
                break
            middle = (low + high) / 2.0
            low, high = (middle, high) if self._keeps(middle, ttft_s, tpot_s) else (low, middle)
        return low

    def _keeps(self, arrivals_rps: float, ttft_s: float, tpot_s: float) -> bool:
        first_s, each_s = self.latencies(arrivals_rps)
        return first_s <= ttft_s and each_s <= tpot_s


class WvaModel(WvaLoop):
    """Arrivals over the rate that one replica keeps within the limits."""

    def __init__(self, deployment: Deployment, share: float = 1.0, *, is_fast: bool = False) -> None:
        super().__init__(deployment, is_fast=is_fast)
        profile, objective = deployment.profile, deployment.objective
        self.times = Times(profile.base_s, profile.prompt_token_s, profile.kv_token_s)
        self.limits = Objective(share * objective.ttft_s, share * objective.tpot_s, objective.attainment)
        self.sequences, self.kv_tokens = profile.sequences, profile.kv_tokens
        self.rates = Recent(RATE_WINDOW_S)
        self.known: dict[tuple[int, int], float | None] = {}

    def decide(self, view: View) -> int:
        """Replicas for the last minute's rate at the mix of the last five."""
        prompt = mean_prompt_tokens(self.sizes) * (1.0 - hit_share(self.sizes))
        output = mean_output_tokens(self.sizes)
        arrivals_rps = self.rates.arrivals_rps()
        most_rps = self.most_rps(prompt, output) if prompt >= 1.0 and output >= 1.0 else None
        if most_rps is None:
            return self.desired if self.desired is not None else view.spec
        return math.ceil(arrivals_rps / most_rps - 1e-9)

    def most_rps(self, prompt: float, output: float) -> float | None:
        """The rate for a mix, once per 5 % of it."""
        key = (round(math.log(prompt) / MIX), round(math.log(output) / MIX))
        if key not in self.known:
            prompt, output = math.exp(key[0] * MIX), math.exp(key[1] * MIX)
            batch = max(1, min(self.sequences, int(self.kv_tokens / (prompt + output / 2.0))))
            queue = Queue(self.times, prompt, output, batch)
            self.known[key] = queue.most_rps(self.limits.ttft_s, self.limits.tpot_s)
        return self.known[key]

    def _see(self, view: View) -> None:
        super()._see(view)
        self.rates.add(view)


def _setting(share: float) -> Setting:
    is_default = share == 1.0

    def build(deployment: Deployment) -> WvaModel:
        return WvaModel(deployment, share, is_fast=not is_default)

    return Setting(f"share={share:g} {pace(is_default=is_default)}", build, default=is_default)


PEERS: tuple[Peer, ...] = (
    Peer("wva-model", "llm-d WVA, model-based optimizer (queueing model analyzer)", tuple(_setting(s) for s in SHARES)),
)
