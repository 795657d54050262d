"""Curves with one property each, for tests of what is learned along them and chosen on them."""

from __future__ import annotations

import numpy as np

from autoscaler.core.capacity import Curve


def line(steepness: float, most_rps: float = 8.0) -> Curve:
    """A share of times per token of 0.95 at 2 req/s that falls by `steepness` per unit of ln(rate); no queue."""
    rates = np.linspace(0.05, most_rps, 400)
    shares = np.clip(0.95 - steepness * np.log(rates / 2.0), 0.0, 1.0)
    ones = np.ones_like(rates)
    return Curve(rates, shares, ones, shares, most_rps, most_rps, rates, 0.1, 0.2, 0.0)


def cliff(clearing_rps: float) -> Curve:
    """Everything inside the objective up to what a replica clears, and nothing beyond."""
    rates = np.linspace(0.02, 1.0, 40) * clearing_rps
    ones = np.ones_like(rates)
    return Curve(rates, ones, ones, ones, clearing_rps, clearing_rps, rates, 0.1, 0.055, 0.0)
