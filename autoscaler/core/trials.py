"""Which rule and which aim: every rule is rehearsed in turn, and the cheapest that gives the asked share is followed.

Law: one rule is rehearsed at a time, so that no tick is long; until there is a past to rehearse on, the capacity curve
over a guessed spread stands in.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from autoscaler.core.capacity import Curve
from autoscaler.core.demand import SLOT_S, Demand, Floats
from autoscaler.core.piecewise import at
from autoscaler.core.rehearsal import AIMS, NEVER, Carried, Rule, load_of, rehearse
from autoscaler.core.worth import BEST_SHORT, knee

# The first is the one that is followed before anything was rehearsed.
RULES = (
    Rule(180.0, 240.0, 2.2, 0.999),
    Rule(60.0, 1800.0, 4.0, 0.999),
    Rule(900.0, 600.0, 2.0, 0.999, NEVER),  # bursts shorter than a start: following them paid for twice the fleet
)
USUAL = 0
LEAST_SLOTS = 8  # two minutes of record
REACH_S = 4.0 * 3600.0  # of the past that is rehearsed
HALF_KNOWN = 60  # slots, a quarter of an hour: then the past counts as much as the guess
FIRST_SPREAD = 0.08  # of ln(rate): the guess
KNEE = 0.88  # of what a replica clears
LEAST_WINDOW = 0.5  # of a rule's window must be on record before it is followed
BETTER = 0.8  # the usual rule is left for another only if that costs less than so much of it
# Standard normal quantiles at 1/24, 3/24 .. 23/24.
_NORMAL = (-1.7317, -1.1503, -0.8122, -0.5485, -0.3186, -0.1046, 0.1046, 0.3186, 0.5485, 0.8122, 1.1503, 1.7317)
_FACTORS = np.exp(FIRST_SPREAD * np.array(_NORMAL))
_LOG_AIMS = np.log(np.array(AIMS))
_LOGS = tuple(float(log) for log in _LOG_AIMS)


@dataclass(frozen=True, slots=True)
class Yard:
    """What rules are rehearsed against."""

    one: Curve
    carried: Carried
    base_rps: float  # what an aim of 1 means
    weights_s: tuple[float, float]  # step time that a prompt token and an output token add
    cv2: float  # of prompts
    lead_s: float
    ttft_s: float
    most: int


@dataclass(frozen=True, slots=True)
class Aim:
    """The rate that one replica is meant to carry, and the share that is to be expected of it."""

    rate_rps: float
    share: float
    asked: float
    lean: float
    base_rps: float


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

    @property
    def rule(self) -> Rule:
        """The rule that is followed."""
        return RULES[self.following]

    def go_on(self, demand: Demand, yard: Yard, asked: float) -> None:
        """Rehearse the next rule, once two minutes are known."""
        slots = min(len(demand.rates_rps), int(REACH_S / SLOT_S))
        if slots < LEAST_SLOTS:
            return
        # The usual one every other time.
        turn = self.next // 2 % len(RULES) if self.next % 2 else USUAL
        self.next += 1
        load = load_of(demand, yard.weights_s, yard.one.request_s, yard.cv2, slots)
        aims_rps = yard.base_rps * np.array(AIMS)
        shares, paid = rehearse(
            RULES[turn], load, yard.one, aims_rps, yard.carried, yard.lead_s, yard.ttft_s, yard.most
        )
        known = slots / (slots + HALF_KNOWN)
        mixed = known * shares + (1.0 - known) * guessed(yard.one, aims_rps / yard.carried.each)
        self.done[turn] = Trial([float(share) for share in mixed], [float(count) for count in paid])
        self._choose(asked, slots * SLOT_S)

    def aim(self, asked: float, yard: Yard, lean: float) -> Aim:
        """The rate per replica that gives the asked share by the rule that is followed; `lean` is added to its log."""
        trial = self.done[self.following]
        shares = tuple(trial.shares or guessed(yard.one, yard.base_rps * np.array(AIMS) / yard.carried.each).tolist())
        log, asked = _aimed(shares, asked)
        log += lean
        return Aim(yard.base_rps * math.exp(log), at(log, _LOGS, shares), asked, lean, yard.base_rps)

    def share(self, rate_rps: float, base_rps: float) -> float | None:
        """The share that a rate per replica gives; None before anything was rehearsed."""
        trial = self.done[self.following]
        if not trial.shares:
            return None
        return at(math.log(rate_rps / base_rps), _LOGS, trial.shares)

    def _choose(self, asked: float, record_s: float) -> None:
        """Follow the rule that gives the asked share at the least cost, of those that have half a window to go by."""
        costs = [
            _cost(trial, asked) if record_s >= LEAST_WINDOW * rule.window_s else math.inf
            for rule, trial in zip(RULES, self.done, strict=True)
        ]
        best = min(range(len(costs)), key=lambda k: costs[k])
        self.following = best if costs[best] < BETTER * costs[USUAL] else USUAL


def _log_of(shares: Sequence[float], share: float) -> float:
    """The logarithm of the aim that gives a share; `shares` never rise."""
    return at(-share, [-one for one in shares], _LOGS)


@functools.lru_cache(maxsize=256)
def _aimed(shares: tuple[float, ...], asked: float) -> tuple[float, float]:
    """The logarithm of the aim for a share, and the share, where more of it could not be had."""
    worth = knee(_LOG_AIMS, np.array(shares), 1.0 - asked)
    asked = min(asked, shares[0] - BEST_SHORT)
    return max(worth, _log_of(shares, asked)), asked


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
    best = trial.shares[0]
    log = _log_of(trial.shares, min(asked, best))
    return at(log, _LOGS, trial.paid) * (1.0 + 20.0 * max(0.0, asked - best))
