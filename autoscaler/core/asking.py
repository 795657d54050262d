"""How many replicas give the asked share, over the rates that may come.

Law: attainment is asked over the day. What is owed is made up for and what is ahead is spent, on a slope by the share
that is sized for, at a cliff by how much of the forecast's spread is provided for; never so far that pages show the
share fall away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autoscaler.core.attained import Attained
from autoscaler.core.capacity import Curve, Floats
from autoscaler.core.records import Objective

AIM_MISSES = 0.985  # of the misses allowed: attainment is a floor
REPAY_S = 3600.0  # what is owed is made up for within about an hour
SPEND_S = 1800.0  # what is ahead is spent within about half an hour
REPAY_MOST = 0.6  # of the misses allowed: beyond it the last points cost more than they make up
NEAR = 0.02  # points below the objective down to which pages may show the share before nothing more is spent
SPEND = 4.0  # points asked less for every point that pages show above that
CAUTION = (
    1.0  # all of the spread when nothing is owed: half of it lost 11 points at a cliff (msmall, 512 tokens a step)
)
CAUTION_GAIN = 10.0  # of it, for every hour of requests owed
CAUTION_BOUNDS = (0.15, 1.0)
PRICE_S = 6.0 * 3600.0  # a price is remembered for about so long
PRICE_WIDE = 0.08  # of ln(rate), either side, over which the gain of a replica is read off
PRICE_REACH = 0.025  # of the share, either side of the asked one
ROUND_MOST = 0.05  # rounding down may not cost more of the share than this
BEST_SHORT = 0.003  # where the objective cannot be reached: as near to what can be
CEILING = (
    0.02  # of a lone request's share: nearer to it than that it is the ceiling, and not the load, that is in the way
)


@dataclass(frozen=True, slots=True)
class Count:
    """A replica count, the share it is expected to give, and the real number it was rounded from."""

    replicas: int
    share: float
    real: float


def asked_share(attained: Attained, objective: Objective, rate_rps: float, recent: float | None) -> float:
    """The share to size for: the objective, and what is owed or ahead over the day; `recent` is what pages show."""
    allowed = 1.0 - objective.attainment
    following = max(1.0, rate_rps * (REPAY_S if attained.owed > 0.0 else SPEND_S), 0.25 * attained.offered)
    asked = 1.0 - AIM_MISSES * allowed + attained.owed / following
    spare = 0.0 if recent is None else max(0.0, recent - (objective.attainment - NEAR))
    least = objective.attainment - NEAR - SPEND * spare
    return min(1.0 - (1.0 - REPAY_MOST) * allowed, max(least, asked))


def caution(attained: Attained, objective: Objective, rate_rps: float, recent: float | None) -> float:
    """How much of the forecast's spread is provided for: all of it when nothing is ahead, little when much is.

    At a cliff the share asked moves nothing, because one replica less is none of the requests; the spread does.
    """
    hours = attained.owed / max(1.0, rate_rps * 3600.0, 0.1 * attained.offered)
    low, high = CAUTION_BOUNDS
    wanted = min(high, max(low, CAUTION + CAUTION_GAIN * hours))
    return max(wanted, 1.0) if recent is not None and recent < objective.attainment - NEAR else wanted


def _expected(one: Curve, factors: tuple[float, ...]) -> Floats:
    """The share at each rate of the curve, over the equally likely rates that come of it; high rates count more."""
    weights = np.array(factors)
    shares = np.interp(np.outer(one.rates_rps, weights), one.rates_rps, one.shares, right=0.0)
    return np.asarray(np.minimum.accumulate(shares @ weights / weights.sum()))


def _wins(rates: Floats, expected: Floats) -> Floats:
    """Good requests per second that one more replica wins, by the rate one replica carries."""
    wide = math.exp(PRICE_WIDE)
    less = np.interp(rates * wide, rates, expected, right=0.0)
    more = np.interp(rates / wide, rates, expected)
    return np.asarray(np.maximum.accumulate(rates * (more - less) / (2.0 * PRICE_WIDE)))


def _carried(rates: Floats, expected: Floats, asked: float) -> float:
    """The largest rate with the asked share; the smallest of the curve where there is none."""
    return float(np.interp(-asked, -expected, rates))


@dataclass(slots=True)
class Price:
    """What one more replica must win, good requests per second: its logarithm's mean over hours, by requests.

    The fewest replicas for a day's share win the same at every hour: heavy hours then get less than the share, light
    ones more (Lagrange). A share held at every hour costs more.
    """

    log: float = 0.0
    weight: float = 0.0

    def take(
        self, one: Curve, rate_rps: float, factors: tuple[float, ...], asked: float, headroom: float, seconds: float
    ) -> None:
        """Take the price at which the asked share is had now."""
        rates, expected = one.rates_rps * headroom, _expected(one, factors)
        here = float(np.interp(_carried(rates, expected, asked), rates, _wins(rates, expected)))
        self.weight = self.weight * math.exp(-seconds / PRICE_S)
        if here > 0.0:
            self.weight += rate_rps * seconds
            self.log += (math.log(here) - self.log) * rate_rps * seconds / self.weight

    def near(self, rates: Floats, expected: Floats, asked: float) -> float:
        """The rate of one replica at which one more wins the price, near that of the asked share."""
        if self.weight <= 0.0:
            return _carried(rates, expected, asked)
        wins, wanted = _wins(rates, expected), math.exp(self.log)
        found = float(np.interp(wanted, wins, rates)) if wins[-1] > wanted else float(rates[-1])
        low, high = (_carried(rates, expected, asked + reach) for reach in (PRICE_REACH, -PRICE_REACH))
        return min(max(found, low), high)


def count_for(
    one: Curve, rate_rps: float, factors: tuple[float, ...], asked: float, headroom: float, most: int, price: Price
) -> Count:
    """Replicas for a share: the whole number nearest to the real one.

    Rounded, not raised: what one hour gets above the asked share another may go without. It may exceed `most`, which
    only says what can be had at best.
    """
    expected = _expected(one, factors)
    rates = one.rates_rps * headroom

    def share(count: float) -> float:
        return float(np.interp(rate_rps / count, rates, expected, right=0.0))

    best = share(most)
    if best >= expected[0] - CEILING:
        asked = min(asked, best - BEST_SHORT)
    if expected[0] < asked:
        return Count(most, best, float(most))
    real = rate_rps / price.near(rates, expected, asked)
    whole = max(1, math.floor(real + 0.5))
    if whole < real and share(whole) < asked - ROUND_MOST:
        whole += 1
    return Count(whole, share(whole), real)
