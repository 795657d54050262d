"""The share of requests inside the objective as a function of the rate one replica of a fleet carries.

Law: a closed form of the step model (base + sequences + prompt tokens + KV tokens), the sizes of requests, the fleet
and the objective; no state.

At rate r a step takes T = base / (1 - r W), W being the step time one request adds over its life, and n = r O T run
(Little's law). A request with O tokens waits for the prompts of those that come in while it decodes: their number is
Poisson with mean m = f r ((O - 1) T + own prefill), their tokens have the first two moments of the prompts, and its
time per token is the step without prefill plus their share of it; a gamma with an atom at none. f = 1 - (1 - 1/N)^2 / n
is what the least-loaded of N routers takes away: with one request inside a replica the next goes elsewhere. How many
run varies as in a processor-sharing queue, Var n = n T / base', divided by the N that share the load. The first token
waits as in M/G/N on prefill (Sakasegawa's approximation). Where the numbers come from: docs/design.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoscaler.core.piecewise import at
from autoscaler.core.priors import Limits, StepModel
from autoscaler.core.records import Objective
from autoscaler.core.sizes import Sizes
from autoscaler.core.worth import BEST_SHORT, knee

Floats = NDArray[np.float64]

KV_USABLE = 0.95  # above this share engines preempt
POINTS = 40  # of the curve


@dataclass(frozen=True, slots=True)
class Mix:
    """Sizes of requests, the share of prompts found in the cache, and the KV tokens a running request holds."""

    prompts: Sizes
    outputs: Sizes
    cached_share: float = 0.0
    held_tokens: float | None = None  # measured; else from the sizes

    @property
    def holds(self) -> float:
        """KV tokens a running request holds on average: long outputs run longer, so they count more."""
        if self.held_tokens is not None:
            return self.held_tokens
        return self.prompts.mean + self.outputs.square / max(1.0, 2.0 * self.outputs.mean)


@dataclass(frozen=True, slots=True)
class Curve:
    """Share of requests within both limits by the rate one replica carries; rising rates, falling shares."""

    rates_rps: Floats
    shares: Floats
    ttft_shares: Floats
    tpot_shares: Floats
    saturation_rps: float  # at full batch, objective or not: how fast a backlog is worked off
    clearing_rps: float  # the same, where prompts fill the steps before sequences fill the batch
    running: Floats
    request_s: float  # step time one request adds over its life
    step_most_s: float  # the longest step: as many prompt tokens as fit
    asked_rps: float  # the largest with the share that is asked, as far as it can be had and is worth a replica

    def share(self, rate_rps: float) -> float:
        """The share at a rate; 0 from saturation on."""
        if rate_rps >= self.rates_rps[-1]:
            return 0.0
        return at(rate_rps, self.rates_rps, self.shares)

    def rate(self, share: float) -> float:
        """The largest rate with at least the share; the lowest of the curve if there is none."""
        if self.shares[0] <= share:
            return float(self.rates_rps[0])
        if self.shares[-1] >= share:
            return float(self.rates_rps[-1])
        place = int(np.argmax(self.shares < share))
        high, low = self.shares[place - 1], self.shares[place]
        part = (high - share) / (high - low)
        return float(self.rates_rps[place - 1] + part * (self.rates_rps[place] - self.rates_rps[place - 1]))

    def slope(self, rate_rps: float) -> float:
        """Fall of the share per unit of ln(rate), >= 0: steep at a cliff, gentle on a slope."""
        return max(0.0, (self.share(rate_rps / 1.04) - self.share(rate_rps * 1.04)) / (2.0 * math.log(1.04)))


def curve(step: StepModel, limits: Limits, mix: Mix, objective: Objective, replicas: float) -> Curve:
    """Work out the curve for a fleet of about `replicas`."""
    prompts, outputs = mix.prompts, mix.outputs
    fresh = 1.0 - mix.cached_share
    prompt = max(1.0, prompts.mean * fresh)
    per_running_s = step.sequence_s + step.kv_token_s * mix.holds
    request_s = step.prompt_token_s * prompt + outputs.mean * per_running_s
    most = max(1.0, min(limits.sequences, KV_USABLE * limits.kv_tokens / max(1.0, mix.holds)))
    saturation_rps = most / (outputs.mean * step.base_s + most * request_s)
    clearing_rps = min(saturation_rps, _prefill_rps(step, limits, mix, most, per_running_s))
    rates = clearing_rps * np.linspace(0.02, 1.0, POINTS)
    slack = np.maximum(1e-6, 1.0 - rates * request_s)
    step_s = step.base_s / slack
    running = rates * outputs.mean * step_s
    decode_s = step.base_s + running * per_running_s
    full_s = decode_s + step.prompt_token_s * np.maximum(0.0, limits.batched_tokens - running)
    tpot = _tpot_shares(step, limits, mix, objective, replicas, rates, step_s, running, decode_s, full_s)
    ttft = _ttft_shares(limits, mix, objective, replicas, rates, step_s, running, full_s)
    shares = np.minimum.accumulate(tpot * ttft)
    most_s = float(full_s.max())
    knee_rps = math.exp(knee(np.log(rates), shares, 1.0 - objective.attainment))
    one = Curve(rates, shares, ttft, tpot, saturation_rps, clearing_rps, running, request_s, most_s, knee_rps)
    # Some requests miss on any fleet, as a prompt longer than the limit allows: replicas do not help those.
    reachable = min(objective.attainment, float(shares[0]) - BEST_SHORT)
    return replace(one, asked_rps=max(knee_rps, one.rate(reachable)))


def _prefill_rps(step: StepModel, limits: Limits, mix: Mix, most: float, per_running_s: float) -> float:
    """Requests per second with every step full of tokens: each adds its prompt, and its output over as many steps."""
    prompt, output = max(1.0, mix.prompts.mean * (1.0 - mix.cached_share)), mix.outputs.mean
    running = min(most, limits.batched_tokens * output / (prompt + output))
    prefill = max(1.0, limits.batched_tokens - running)
    return prefill / prompt / (step.base_s + running * per_running_s + step.prompt_token_s * prefill)


def _tpot_shares(
    step: StepModel,
    limits: Limits,
    mix: Mix,
    objective: Objective,
    replicas: float,
    rates: Floats,
    step_s: Floats,
    running: Floats,
    decode_s: Floats,
    full_s: Floats,
) -> Floats:
    fresh, per_token_s = 1.0 - mix.cached_share, step.prompt_token_s
    prompt_tokens = np.array(mix.prompts.tokens) * fresh
    prompt_shares = np.array(mix.prompts.shares)
    gaps = np.array(mix.outputs.tokens) - 1.0  # between tokens, per output size
    several = gaps > 0.0
    gaps = np.maximum(gaps, 1e-9)
    # No more prompt tokens than its steps hold can come between its tokens.
    held = np.minimum(prompt_tokens[None, :], np.maximum(1.0, gaps[:, None] * limits.batched_tokens)) * per_token_s
    first, second = held @ prompt_shares, (held * held) @ prompt_shares
    spared = 1.0 - (1.0 - 1.0 / max(1.0, replicas)) ** 2 * np.minimum(1.0, 1.0 / np.maximum(running, 1e-9))
    life_s = gaps[None, :] * step_s[:, None] + per_token_s * float(prompt_tokens @ prompt_shares)
    count = (spared * rates)[:, None] * life_s
    prefill = np.maximum(1e-6, 1.0 - rates * per_token_s * float(prompt_tokens @ prompt_shares))
    per_running_s = (step.sequence_s + step.kv_token_s * mix.holds) / prefill
    shared = per_running_s**2 * running / max(1.0, replicas) * step_s * prefill / step.base_s
    spread = gaps[None, :] ** 2 * shared[:, None]
    none = np.exp(-count)
    some = np.maximum(1e-12, 1.0 - none)
    mean = count * first / some
    variance = np.maximum(1e-18, (count * second + (count * first) ** 2) / some - mean**2 + spread)
    room_s = gaps[None, :] * (objective.tpot_s - decode_s)[:, None]
    within = none + some * _gamma_cdf(room_s, mean, variance)
    within = np.where(room_s > 0.0, within, 0.0)
    within = np.where(several[None, :], within, 1.0)
    shares = within @ np.array(mix.outputs.shares)
    return np.asarray(np.where(full_s <= objective.tpot_s, 1.0, shares))


def _ttft_shares(
    limits: Limits,
    mix: Mix,
    objective: Objective,
    replicas: float,
    rates: Floats,
    step_s: Floats,
    running: Floats,
    full_s: Floats,
) -> Floats:
    fresh = 1.0 - mix.cached_share
    tokens_per_s = np.maximum(1.0, limits.batched_tokens - running) / full_s
    busy = rates * mix.prompts.mean * fresh / tokens_per_s
    servers = max(1.0, replicas)
    waits = np.minimum(busy, 0.999999) ** (math.sqrt(2.0 * (servers + 1.0)) - 1.0)
    mean_s = (
        mix.prompts.square
        * fresh
        / (2.0 * mix.prompts.mean)
        / tokens_per_s
        / (servers * (1.0 - np.minimum(busy, 0.999999)))
    )
    sizes_s = np.array(mix.prompts.tokens)[None, :] * fresh / tokens_per_s[:, None]
    left_s = objective.ttft_s - step_s[:, None] - sizes_s
    late = waits[:, None] * np.exp(-np.maximum(0.0, left_s) / np.maximum(1e-9, mean_s)[:, None])
    shares = np.where(left_s > 0.0, 1.0 - late, 0.0) @ np.array(mix.prompts.shares)
    return np.asarray(np.where(busy < 1.0, shares, 0.0))


def _gamma_cdf(x: Floats, mean: Floats, variance: Floats) -> Floats:
    """The gamma distribution by Wilson and Hilferty's cube root, the normal by tanh (error below 3e-4)."""
    shape = np.maximum(1e-9, mean * mean / variance)
    root = np.cbrt(np.maximum(x, 0.0) / np.maximum(mean, 1e-12))
    z = (root - (1.0 - 1.0 / (9.0 * shape))) * 3.0 * np.sqrt(shape)
    return np.asarray(0.5 * (1.0 + np.tanh(0.7978845608 * (z + 0.044715 * z**3))))
