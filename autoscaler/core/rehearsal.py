"""What a rule would have attained and cost over the last hours, rehearsed on the traffic that really came.

A rule says which recent rate is taken for the next, how long a surplus replica is kept, and how counts are rounded; an
aim is the rate one replica is meant to carry. Both are tried on the recorded demand: replicas asked for serve a lead
time later, are paid for from the start, and have the queue that they would have had. So bursts, ramps, slow starts and
whole numbers are in the share an aim gives, whatever their cause.

Law: pure; the same demand, curve and rule give the same answer. Shares never rise with the aim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autoscaler.core.capacity import Curve
from autoscaler.core.demand import SLOT_S, Demand, Floats, trailing, trailing_mean

LEVEL = 21  # slots, five minutes: what varies within them is the granularity of requests
TIDE = 241  # slots, an hour: a night's traffic is rehearsed at the day's level
RECENT = 40  # slots, ten minutes: the level of now
LIFE = 4  # slots
SMOOTH = 3  # slots: a request's time per token is that of its life, not of one slot
AIMS = tuple(float(aim) for aim in np.exp(np.linspace(math.log(0.25), math.log(1.3), 16)))  # of the curve's own rate
LATELY = 4  # slots, a minute
SURGE = 1.25  # times the mean over the window: then the last minute's rate is taken instead
NEVER = 1e9  # as a surge: bursts are over before what they ask for serves, so what they leave in the mean must do
NEAR_LIMIT_S = 0.3  # share of the TTFT limit over which the wait in a slot is spread, either way
BUSY_MOST = 0.93  # of saturation: above it the queue itself is worked out, not its closed form


@dataclass(frozen=True, slots=True)
class Rule:
    """How a count follows the rates."""

    window_s: float  # the rate is the mean over so long
    keep_s: float  # a surplus replica is kept so long,
    keep_leads: float  # and so many lead times
    rounding: float  # is added before the fraction is cut
    surge: float = SURGE  # the last minute's rate is taken where it is so many times the mean

    def kept_s(self, lead_s: float) -> float:
        """How long a surplus replica is kept."""
        return self.keep_s + self.keep_leads * lead_s


@dataclass(frozen=True, slots=True)
class Carried:
    """Rates that are really carried over those of the curve, by what limits them: first tokens, times per token."""

    first: float = 1.0
    each: float = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """The recorded demand as the mix of now would have made it: requests per second, by slot."""

    rates_rps: Floats
    smooth_rps: Floats
    rough_rps: Floats  # with the spread that the sizes of requests add within a slot


def load_of(demand: Demand, weights_s: tuple[float, float], request_s: float, cv2: float, slots: int) -> Load:
    """The demand of the last `slots` in requests of today's work and at today's level: a larger one counts for more.

    Hours are brought to one level, because two replicas by night say little of ten by day; what varies from minute to
    minute is the granularity of requests, and shrinks with the root of the level.

    `weights_s` are the step times that a prompt token and an output token add, `request_s` that of a request today,
    `cv2` the squared coefficient of variation of prompts: the work of a slot is a compound sum, Var = n (D + cv2) with
    n requests of an index of dispersion D (1: Poisson). What is already in the count is not added again: without D
    constant fleets of the Azure 2023 code trace were rehearsed at 0.90 where 1.00 of first tokens came in time.
    """
    prompts, outputs = np.array(demand.prompts[-slots:]), np.array(demand.outputs[-slots:])
    work = (weights_s[0] * prompts + weights_s[1] * outputs) / request_s
    rates = np.array(demand.rates_rps[-slots:]) * np.where(prompts > 0.0, work, 1.0)  # sizes not measured: as today's
    level, tide = _around(rates, LEVEL), np.maximum(1e-9, _around(rates, TIDE))
    today = max(1e-9, float(rates[-RECENT:].mean()))
    scale = today / tide
    grain = np.sqrt(scale) * (rates - level)
    rates = np.maximum(0.0, level * scale + grain)
    # Prompts are computed as they come, outputs over a request's life.
    part = min(1.0, weights_s[0] * prompts[-1] / request_s) if prompts[-1] > 0.0 else 1.0
    varied = math.sqrt(1.0 + cv2 / _dispersion(np.array(demand.rates_rps[-slots:])))
    prompt_rates = np.maximum(0.0, level * scale + varied * grain)
    rough = part * prompt_rates + (1.0 - part) * trailing_mean(rates, LIFE)
    return Load(rates, trailing_mean(rates, SMOOTH), rough)


def _dispersion(rates_rps: Floats) -> float:
    """Variance over mean of the requests in a slot around the level; at least that of a Poisson process."""
    counts, means = SLOT_S * rates_rps, SLOT_S * _around(rates_rps, LEVEL)
    return max(1.0, float(((counts - means) ** 2).mean() / max(1e-9, float(means.mean()))))


def _around(values: Floats, count: int) -> Floats:
    """The mean of `count` values around each place, of fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    low, high = np.maximum(0, at - count // 2), np.minimum(len(values), at + count // 2 + 1)
    return np.asarray((sums[high] - sums[low]) / (high - low))


def tpot_share(one: Curve, rate_rps: Floats) -> Floats:
    """The share inside the TPOT limit at rates per replica, averaged over the life of a request."""
    return np.asarray(np.interp(rate_rps, one.rates_rps, one.tpot_shares))


def ttft_share(one: Curve, rate_rps: Floats, wait_s: Floats, ttft_s: float) -> Floats:
    """The share inside the TTFT limit at rates per replica and a queue of `wait_s` seconds of work."""
    alone = np.interp(np.minimum(rate_rps, BUSY_MOST * one.clearing_rps), one.rates_rps, one.ttft_shares)
    in_time = np.clip(0.5 + (ttft_s - wait_s) / (2.0 * NEAR_LIMIT_S * ttft_s), 0.0, 1.0)
    return np.asarray(alone * in_time)


def rehearse(
    rule: Rule,
    load: Load,
    one: Curve,
    aims_rps: Floats,
    carried: Carried,
    lead_s: float,
    ttft_s: float,
    most: int,
) -> tuple[Floats, Floats]:
    """Shares and mean replicas paid for, by aim; `aims_rps` are rates per replica, rising."""
    slots = len(load.rates_rps)
    late = max(1, math.ceil(lead_s / SLOT_S))
    # Before the record began it was as in its first minutes: else a rule is blamed for what it could not see coming.
    window = max(1, round(rule.window_s / SLOT_S))
    before = np.full(window + late, load.rates_rps[:RECENT].mean())
    known = np.concatenate([before, load.rates_rps])
    seen, lately = trailing_mean(known, window), trailing_mean(known, LATELY)
    seen = np.where(lately > rule.surge * seen, lately, seen)
    wanted = trailing(seen, max(1, math.ceil(rule.kept_s(lead_s) / SLOT_S)), largest=True)
    # What serves was wanted all through the lead time before; it is paid for from the first of it.
    serving = trailing(wanted[:-1], late, largest=False)[-slots:]
    wanted = wanted[-slots:]
    paid = np.clip(np.floor(wanted[None, :] / aims_rps[:, None] + rule.rounding), 1.0, most).mean(axis=1)
    count = np.clip(np.floor(serving[None, :] / aims_rps[:, None] + rule.rounding), 1.0, most)
    smooth = load.smooth_rps[None, :] / count
    each = load.rough_rps[None, :] / (count * carried.first)
    gathered = np.cumsum((each / one.clearing_rps - 1.0) * SLOT_S, axis=1)
    wait_s = gathered - np.minimum(np.minimum.accumulate(gathered, axis=1), 0.0)
    shares = tpot_share(one, smooth / carried.each) * ttft_share(one, smooth / carried.first, wait_s, ttft_s)
    total = float(load.rates_rps.sum())
    share = shares @ load.rates_rps / total if total > 0.0 else np.ones(len(aims_rps))
    return np.minimum.accumulate(share), paid
