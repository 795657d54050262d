"""Dynamo Planner's predictors: the value of the next interval from those before.

Source: ai-dynamo/dynamo components/src/dynamo/planner/core/load/predictors.py: the last value; a Kalman filter of a
local linear trend; and, its default, pmdarima's auto_arima. That one chooses its order on the first five values, by
Akaike's criterion, and never again; where the order has neither an AR nor an MA term the model is fitted to
log(1 + value) instead. Values that are all the same are predicted as they are.

Ours: of the orders only a mean and a mean with one AR term are tried. They are all that pmdarima 2.1.1 chose on 48
series of 180 s (counts, mean prompts and outputs of 8 traces at two sizes), and the choice was the same in all 48: five
values are too few to tell a trend or a second term. The AR term is fitted fully at every value; the original takes five
steps of an optimiser and was up to 43 % off its own fit's forecasts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from autoscaler.simulation.engines import Floats

MIN_POINTS = 5  # before a model is believed; the last value until then
Q_LEVEL, Q_TREND, R = 1.0, 0.1, 10.0
FIRST_VARIANCE = 1000.0
PHI = np.linspace(-0.999, 0.999, 1999)


class Predictor:
    """The next value is the last; zeros before the first load are ignored."""

    def __init__(self) -> None:
        self.count = 0
        self.last = 0.0

    def add(self, value: float) -> None:
        """Take the value of one interval."""
        if value == 0.0 and not self.count:
            return
        self.count += 1
        self.last = value

    def next(self) -> float:
        """The value of the interval to come."""
        return self.last


class Kalman(Predictor):
    """A local linear trend: the level moves by the trend, both drift, the value is the level with noise."""

    def __init__(self) -> None:
        super().__init__()
        self.level = self.trend = 0.0
        # Covariance of level and trend: [[a, b], [b, c]].
        self.a, self.b, self.c = FIRST_VARIANCE, 0.0, FIRST_VARIANCE

    def add(self, value: float) -> None:
        """One step of prediction, and its correction."""
        before = self.count
        super().add(value)
        if self.count == before:
            return
        if not before:
            self.level = value
            return
        level = self.level + self.trend
        a, b, c = self.a + 2.0 * self.b + self.c + Q_LEVEL, self.b + self.c, self.c + Q_TREND
        gain_level, gain_trend = a / (a + R), b / (a + R)
        self.level = level + gain_level * (value - level)
        self.trend += gain_trend * (value - level)
        self.a, self.b, self.c = (1.0 - gain_level) * a, (1.0 - gain_level) * b, c - gain_trend * b

    def next(self) -> float:
        """The level one step on, never negative."""
        return max(0.0, self.level + self.trend) if self.count >= MIN_POINTS else self.last


class Ar1(NamedTuple):
    """A mean, what of the last deviation from it remains one step on, and -2 log likelihood."""

    mean: float
    phi: float
    deviance: float


def fit_ar1(values: list[float]) -> Ar1:
    """By exact likelihood: mean and variance in closed form for every phi (Hamilton 1994, 5.2)."""
    centre = sum(values) / len(values)
    y = np.array(values) - centre
    now, before, steps = y[1:], y[:-1], len(y) - 1
    first, rest = 1.0 - PHI**2, 1.0 - PHI
    mean = (first * y[0] + rest * (now.sum() - PHI * before.sum())) / (first + steps * rest**2)
    # Sums over steps of the square of (now - mean) - phi (before - mean), by parts.
    of_now = now @ now - 2.0 * mean * now.sum() + steps * mean**2
    of_before = before @ before - 2.0 * mean * before.sum() + steps * mean**2
    of_both = now @ before - mean * (now.sum() + before.sum()) + steps * mean**2
    errors = of_now - 2.0 * PHI * of_both + PHI**2 * of_before
    deviance = _deviance((first * (y[0] - mean) ** 2 + errors) / len(y), len(y)) - np.log(first)
    best = int(np.argmin(deviance))
    return Ar1(centre + float(mean[best]), float(PHI[best]), float(deviance[best]))


def _deviance(variance: Floats, count: int) -> Floats:
    """-2 log likelihood of `count` normal values at the variance that fits best."""
    return np.asarray(count * (np.log(2.0 * math.pi * np.maximum(variance, 1e-300)) + 1.0))


class AutoArima(Predictor):
    """A mean of all that was seen, on a logarithmic scale, or a return to the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []
        self.has_ar: bool | None = None  # not chosen yet

    def add(self, value: float) -> None:
        """Take the value of one interval."""
        before = self.count
        super().add(value)
        if self.count > before:
            self.values.append(max(0.0, value))

    def next(self) -> float:
        """The forecast one interval ahead, never negative; the last value before the fifth."""
        if self.count < MIN_POINTS or min(self.values) == max(self.values):
            return self.last
        if self.has_ar is None:
            # Parameters: mean, variance, and phi.
            mean_only = float(_deviance(np.array(np.var(self.values)), len(self.values))) + 2.0 * 2
            self.has_ar = fit_ar1(self.values).deviance + 2.0 * 3 < mean_only
        if not self.has_ar:
            return math.expm1(float(np.mean(np.log1p(self.values))))
        fitted = fit_ar1(self.values)
        return max(0.0, fitted.mean + fitted.phi * (self.values[-1] - fitted.mean))
