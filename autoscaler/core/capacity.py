"""The rate one replica carries while the asked share of its requests meets both limits.

Law: a closed form of the step model (base + sequences + prompt tokens + KV tokens), the mix of sizes and the
objective; no state. Pages tell mean sizes only, so sizes are taken as lognormal with a given squared variation.

At rate r a step takes T = (base + sequence n + kv K) / (1 - prompt r P), with n = r O T running (Little's law). The
time per output token of a request with O tokens is about Normal(T, prompt^2 E[P^2] r T / O + (dT/dn)^2 n): the prefills
that fall into its life, and how many others run. It never exceeds a full step. The first token waits as in M/G/1 on
prefill. Checked against a step-level simulation: it errs to the safe side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoscaler.core.priors import Limits, StepModel
from autoscaler.core.records import Objective

# Standard normal quantiles at 1/16, 3/16 .. 15/16: eight equally likely sizes.
_NODES = (-1.5341, -0.8871, -0.4888, -0.1573, 0.1573, 0.4888, 0.8871, 1.5341)
KV_USABLE = 0.9  # above this share engines preempt
SATURATION_USABLE = 0.9  # real engines fall behind the model in the last tenth before saturation


@dataclass(frozen=True, slots=True)
class Mix:
    """Sizes of requests: means in tokens, squared coefficients of variation, share of the prompt found in the cache."""

    prompt_tokens: float
    output_tokens: float
    prompt_cv2: float = 1.0  # conversation and code traffic of Azure 2023: 0.93, 0.94
    output_cv2: float = 1.0  # the same: 0.65, 4.7
    cached_share: float = 0.0

    @property
    def prefill_tokens(self) -> float:
        """Prompt tokens that have to be computed."""
        return self.prompt_tokens * (1.0 - self.cached_share)

    @property
    def held_tokens(self) -> float:
        """KV tokens a running request holds on average."""
        return self.prompt_tokens + self.output_tokens / 2.0


@dataclass(frozen=True, slots=True)
class Point:
    """One replica in steady state at some rate."""

    share: float  # of requests that meet both limits
    tpot_share: float
    ttft_share: float
    step_s: float
    running: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one replica carries."""

    rate_rps: float  # inside the objective
    saturation_rps: float  # at full batch, objective or not: how fast a backlog is worked off
    running: float  # requests in the batch at rate_rps
    bound: str  # what limits the rate: objective, saturation, or infeasible (not met even by a lone request)


def _sizes(mean: float, cv2: float) -> tuple[float, ...]:
    spread = math.sqrt(math.log1p(cv2))
    raw = [math.exp(spread * node) for node in _NODES]
    factor = mean * len(raw) / sum(raw)
    return tuple(max(1.0, value * factor) for value in raw)


@dataclass(frozen=True, slots=True)
class ReplicaModel:
    """One replica under one mix and one objective; build with `replica_model`."""

    step: StepModel
    limits: Limits
    mix: Mix
    objective: Objective
    prompt_sizes: tuple[float, ...]
    output_sizes: tuple[float, ...]

    @property
    def request_s(self) -> float:
        """Step time one request adds over its life: the load-dependent work."""
        mix, step = self.mix, self.step
        per_token = step.sequence_s + step.kv_token_s * mix.held_tokens
        return step.prompt_token_s * mix.prefill_tokens + mix.output_tokens * per_token

    @property
    def most_running(self) -> float:
        """Requests that fit: sequence limit and KV memory."""
        return max(1.0, min(self.limits.sequences, KV_USABLE * self.limits.kv_tokens / max(1.0, self.mix.held_tokens)))

    @property
    def saturation_rps(self) -> float:
        """Rate with a full batch; prefill included."""
        n = self.most_running
        return SATURATION_USABLE * n / max(1e-9, self.mix.output_tokens * self.step.base_s + n * self.request_s)

    def at(self, rate_rps: float) -> Point:
        """The steady state at a rate; shares are 0 at and above saturation."""
        step, mix, limits = self.step, self.mix, self.limits
        slack = 1.0 - rate_rps * self.request_s
        if slack <= 1e-6:
            return Point(0.0, 0.0, 0.0, math.inf, math.inf)
        step_s = step.base_s / slack
        running = rate_rps * mix.output_tokens * step_s
        if running >= self.most_running:
            return Point(0.0, 0.0, 0.0, step_s, running)
        decode_s = step.base_s + running * (step.sequence_s + step.kv_token_s * mix.held_tokens)
        full_s = decode_s + step.prompt_token_s * max(0.0, limits.batched_tokens - running)
        tpot = self._tpot_share(rate_rps, step_s, running, full_s)
        ttft = self._ttft_share(rate_rps, step_s, running, full_s)
        return Point(tpot * ttft, tpot, ttft, step_s, running)

    def _tpot_share(self, rate_rps: float, step_s: float, running: float, full_s: float) -> float:
        limit_s = self.objective.tpot_s
        if full_s <= limit_s:
            return 1.0
        step, mix = self.step, self.mix
        prefill = 1.0 - rate_rps * step.prompt_token_s * mix.prefill_tokens
        per_running_s = (step.sequence_s + step.kv_token_s * mix.held_tokens) / max(1e-6, prefill)
        prompt_square = mix.prefill_tokens**2 * (1.0 + mix.prompt_cv2)
        shared = per_running_s * per_running_s * running
        own = step.prompt_token_s * step.prompt_token_s * prompt_square * rate_rps * step_s
        total = 0.0
        for tokens in self.output_sizes:
            spread_s = math.sqrt(shared + own / tokens) + 1e-12
            total += 0.5 * math.erfc((step_s - limit_s) / (spread_s * 1.4142135623730951))
        return total / len(self.output_sizes)

    def _ttft_share(self, rate_rps: float, step_s: float, running: float, full_s: float) -> float:
        mix = self.mix
        tokens_per_s = max(1.0, self.limits.batched_tokens - running) / max(full_s, 1e-9)
        busy = rate_rps * mix.prefill_tokens / tokens_per_s
        if busy >= 1.0:
            return 0.0
        # M/G/1: waits with chance `busy`, then about exponentially with mean E[S^2] / (2 E[S] (1 - busy)).
        mean_wait_s = mix.prefill_tokens * (1.0 + mix.prompt_cv2) / (2.0 * tokens_per_s * (1.0 - busy))
        total = 0.0
        for size in self.prompt_sizes:
            left_s = self.objective.ttft_s - step_s - size / tokens_per_s
            total += 1.0 - busy * math.exp(-left_s / max(mean_wait_s, 1e-9)) if left_s > 0.0 else 0.0
        return total / len(self.prompt_sizes)

    def slope(self, rate_rps: float) -> float:
        """Fall of the share per unit of ln(rate), >= 0: steep at a cliff, gentle on a slope."""
        here, above = self.at(rate_rps / 1.03).share, self.at(rate_rps * 1.03).share
        return max(0.0, (here - above) / (2.0 * 0.0295588))

    def capacity(self, attainment: float) -> Capacity:
        """The largest rate at which the asked share of requests meets the objective."""
        saturation_rps = self.saturation_rps
        lone = self.at(saturation_rps * 1e-3).share
        asked, bound = attainment, "objective"
        if lone < attainment + 1e-3:
            # The limits are too tight for this model on these GPUs: keep most of what a lone request gets.
            asked, bound = 0.9 * lone, "infeasible"
        low, high = 0.02 * saturation_rps, saturation_rps
        if self.at(high).share >= asked:
            return Capacity(high, saturation_rps, self.at(high).running, "saturation")
        for _ in range(14):
            middle = 0.5 * (low + high)
            if self.at(middle).share >= asked:
                low = middle
            else:
                high = middle
        return Capacity(low, saturation_rps, self.at(low).running, bound)


def replica_model(step: StepModel, limits: Limits, mix: Mix, objective: Objective) -> ReplicaModel:
    """Build the model of one replica."""
    prompts = _sizes(max(1.0, mix.prefill_tokens), mix.prompt_cv2)
    return ReplicaModel(step, limits, mix, objective, prompts, _sizes(max(1.0, mix.output_tokens), mix.output_cv2))
