"""Which rule and which aim: every rule is rehearsed in turn, and the cheapest that gives the asked share is followed.

Law: one rule is rehearsed at a time, so that no tick is long; until there is a past to rehearse on, the capacity curve
over a guessed spread stands in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from autoscaler.core.capacity import Curve
from autoscaler.core.demand import Demand, Floats
from autoscaler.core.rehearsal import AIMS, Carried, Rule, load_of, rehearse

# The first is the one that is followed before anything was rehearsed.
RULES = (
    Rule(180.0, 240.0, 2.2, 0.999),
    Rule(60.0, 1800.0, 4.0, 0.999),
)
USUAL = 0
EVERY_S = 15.0  # a rule is rehearsed so often
REACH_S = 4.0 * 3600.0  # of the past that is rehearsed
HALF_KNOWN = 60  # slots, a quarter of an hour: then the past counts as much as the guess
FIRST_SPREAD = 0.08  # of ln(rate): the guess
KNEE = 0.88  # of what a replica clears
BETTER = 0.8  # the usual rule is left for another only if that costs less than so much of it
BEST_SHORT = 0.003  # where the asked share cannot be had: as near to the best as this
# Standard normal quantiles at 1/24, 3/24 .. 23/24.
_NORMAL = (-1.7317, -1.1503, -0.8122, -0.5485, -0.3186, -0.1046, 0.1046, 0.3186, 0.5485, 0.8122, 1.1503, 1.7317)
_FACTORS = np.exp(FIRST_SPREAD * np.array(_NORMAL))
_LOG_AIMS = np.log(np.array(AIMS))


@dataclass(slots=True)
class Trial:
    """What rehearsing one rule gave, by aim."""

    shares: list[float] = field(default_factory=list)
    paid: list[float] = field(default_factory=list)  # replicas


@dataclass(slots=True)
class Trials:
    """The newest rehearsal of every rule, and the rule that is followed."""

    done: list[Trial] = field(default_factory=lambda: [Trial() for _ in RULES])
    following: int = 0
    next: int = 0
    at_s: float = 0.0

    @property
    def rule(self) -> Rule:
        """The rule that is followed."""
        return RULES[self.following]

    def go_on(
        self,
        demand: Demand,
        one: Curve,
        weights_s: tuple[float, float],
        cv2: float,
        base_rps: float,
        carried: Carried,
        lead_s: float,
        ttft_s: float,
        most: int,
        asked: float,
        now: float,
    ) -> None:
        """Rehearse the next rule if it is time to; `base_rps` is what an aim of 1 means."""
        slots = min(len(demand.rates_rps), int(REACH_S / 15.0))
        if now - self.at_s < EVERY_S or slots < 8:
            return
        self.at_s = now
        # The usual one every other time.
        turn = self.next // 2 % len(RULES) if self.next % 2 else USUAL
        self.next += 1
        rule = RULES[turn]
        load = load_of(demand, weights_s, one.request_s, cv2, slots)
        aims_rps = base_rps * np.array(AIMS)
        shares, paid = rehearse(rule, load, one, aims_rps, carried, lead_s, ttft_s, most)
        known = slots / (slots + HALF_KNOWN)
        mixed = known * shares + (1.0 - known) * guessed(one, aims_rps / carried.each)
        self.done[turn] = Trial([float(share) for share in mixed], [float(count) for count in paid])
        self._choose(asked)

    def aim(self, asked: float, one: Curve, base_rps: float, carried: Carried, lean: float) -> tuple[float, float]:
        """The rate per replica that gives the asked share by the rule that is followed, and the share it gives.

        `lean` is added to the rate's logarithm.
        """
        trial = self.done[self.following]
        shares = np.array(trial.shares) if trial.shares else guessed(one, base_rps * np.array(AIMS) / carried.each)
        asked = min(asked, float(shares[0]) - BEST_SHORT)
        log = float(np.interp(-asked, -shares, _LOG_AIMS)) + lean
        return base_rps * math.exp(log), float(np.interp(log, _LOG_AIMS, shares))

    def share(self, rate_rps: float, base_rps: float) -> float | None:
        """The share that a rate per replica gives; None before anything was rehearsed."""
        trial = self.done[self.following]
        if not trial.shares:
            return None
        return float(np.interp(math.log(rate_rps / base_rps), _LOG_AIMS, np.array(trial.shares)))

    def _choose(self, asked: float) -> None:
        """Follow the rule that gives the asked share at the least cost."""
        costs = [_cost(trial, asked) for trial in self.done]
        best = min(range(len(costs)), key=lambda k: costs[k])
        self.following = best if costs[best] < BETTER * costs[USUAL] else USUAL


def guessed(one: Curve, aims_rps: Floats) -> Floats:
    """The share at each aim over a lognormal spread of rates; high rates count more.

    Bursts of requests and sizes fill a replica's queue before its mean rate is what it can clear: static fleets of four
    traces began to miss at 0.82 to 0.88 of it (512 tokens a step), where the closed form still saw none late.
    """
    rates = np.outer(aims_rps, _FACTORS)
    shares = np.interp(rates, one.rates_rps, one.shares, right=0.0) * (rates < KNEE * one.clearing_rps)
    return np.asarray(np.minimum.accumulate(shares @ _FACTORS / _FACTORS.sum()))


def _cost(trial: Trial, asked: float) -> float:
    """Replicas paid for at the asked share; where it cannot be had, each point that is missing costs a lot."""
    if not trial.shares:
        return math.inf
    shares = np.array(trial.shares)
    short = max(0.0, asked - float(shares[0]))
    log = float(np.interp(-min(asked, float(shares[0])), -shares, _LOG_AIMS))
    return float(np.interp(log, _LOG_AIMS, np.array(trial.paid))) * (1.0 + 20.0 * short)
