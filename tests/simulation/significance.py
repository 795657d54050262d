"""Chi-square and Kolmogorov-Smirnov at one chance in a thousand; with fixed seeds a test is the same in every run."""

from __future__ import annotations

import numpy as np

# Of the distributions' upper tails at 0.001: the normal one, and Kolmogorov's for sqrt(n) D as n grows.
NORMAL, KOLMOGOROV = 3.090, 1.949


def chi_square_limit(degrees: int) -> float:
    """The value that one sample in a thousand exceeds (Wilson and Hilferty 1931, within 1 % from 3 degrees on)."""
    ninth = 2.0 / (9.0 * degrees)
    return float(degrees * (1.0 - ninth + NORMAL * np.sqrt(ninth)) ** 3)


def fits(observed: np.ndarray, expected: np.ndarray, *, fixed_total: bool = True) -> bool:
    """Whether counts are a plausible sample of their expectation; at least 5 are expected in each place."""
    observed, expected = np.asarray(observed, float), np.asarray(expected, float)
    assert expected.min() >= 5.0
    statistic = ((observed - expected) ** 2 / expected).sum()
    return bool(statistic < chi_square_limit(len(expected) - int(fixed_total)))


def standard_normal(deviations: np.ndarray) -> bool:
    """Whether independent deviations, each over its own standard deviation, are plausible together."""
    return bool((np.asarray(deviations) ** 2).sum() < chi_square_limit(len(deviations)))


def same_mix(sample: np.ndarray, whole: np.ndarray, bins: int = 20) -> bool:
    """Whether a sample has the distribution of a whole, by its quantile bins."""
    edges = np.unique(np.quantile(whole, np.linspace(0.0, 1.0, bins + 1)))
    edges[-1] += 1.0
    share = np.histogram(whole, edges)[0] / len(whole)
    return fits(np.histogram(sample, edges)[0], share * len(sample))


def uniform(values: np.ndarray, low: float = 0.0, high: float = 1.0) -> bool:
    """Whether values are a plausible sample of the uniform distribution (Kolmogorov-Smirnov)."""
    u = np.sort((np.asarray(values) - low) / (high - low))
    n = len(u)
    above, below = np.arange(1, n + 1) / n - u, u - np.arange(n) / n
    return bool(np.sqrt(n) * max(above.max(), below.max()) < KOLMOGOROV)


def exponential(values: np.ndarray, mean: float = 1.0) -> bool:
    """Whether values are a plausible sample of the exponential distribution."""
    return uniform(1.0 - np.exp(-np.asarray(values) / mean))
