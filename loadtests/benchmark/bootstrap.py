"""Intervals by paired hourly block bootstrap: whole hours drawn with replacement, the same hours for all compared."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
LOW, HIGH = 0.05, 0.95  # a 90 % interval
Floats = NDArray[np.float64]


def draws(name: str, hours: int) -> NDArray[np.int64]:
    """RESAMPLES draws of hours for one cell; equal for every policy of the cell."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return rng.integers(0, hours, (RESAMPLES, hours))


def interval(values: Floats) -> tuple[float, float]:
    """The 90 % interval of resampled figures."""
    low, high = np.quantile(values, (LOW, HIGH))
    return float(low), float(high)


def sums(name: str, hours: Sequence[float]) -> Floats:
    """Resampled sums of an hourly figure."""
    return np.asarray(np.array(hours, dtype=np.float64)[draws(name, len(hours))].sum(axis=1))


def ratios(name: str, ours: Sequence[float], other: Sequence[float]) -> Floats:
    """Resampled ratios of two hourly figures over the same draw of hours."""
    return np.asarray(sums(name, ours) / np.maximum(1e-12, sums(name, other)))
