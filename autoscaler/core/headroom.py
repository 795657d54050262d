"""The factor between the rates of the capacity curve and those that pages show to be carried.

Law: one number, tracked by a Kalman filter along the curve's own slope. At a cliff a few good or bad minutes say little
of the factor, because the share hangs on the rate's own noise; on a slope they say much; in an idle fleet nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoscaler.core.capacity import Curve

CHUNK_S = 60.0  # shares are compared minute by minute
LEAST_REQUESTS = 40.0  # in a chunk
FIRST_SPREAD = 0.12  # of ln(factor): the closed form against the step-level simulation, see docs/design.md
DRIFT_PER_S = 0.08**2 / 3600.0
RATE_SPREAD = 0.05  # of ln(rate): imbalance and shift within a chunk
OVERDISPERSION = 4.0  # misses come in clumps
SHAPE_SPREAD = 0.004  # of a share: what buckets cannot tell
BOUNDS = (0.5, 1.6)


@dataclass(slots=True)
class Headroom:
    """The factor, how sure it is, and the chunk in the making."""

    log: float = 0.0
    variance: float = FIRST_SPREAD**2
    chunk_s: float = 0.0
    arrived: float = 0.0
    seconds: float = 0.0
    requests: float = 0.0
    misses: float = 0.0

    @property
    def factor(self) -> float:
        """Rates carried over rates of the curve."""
        return math.exp(self.log)

    def drop(self) -> None:
        """Forget the chunk in the making: it is not of a settled fleet."""
        self.chunk_s = self.arrived = self.seconds = self.requests = self.misses = 0.0

    def learn(
        self, curve: Curve, arrived: float, seconds: float, requests: float, misses: float, tick_s: float
    ) -> None:
        """Take one tick of a settled fleet: arrivals, replica-seconds, requests judged, those outside the objective."""
        self.chunk_s += tick_s
        self.arrived += arrived
        self.seconds += seconds
        self.requests += requests
        self.misses += misses
        if self.chunk_s < CHUNK_S or self.requests < LEAST_REQUESTS or self.seconds <= 0.0:
            return
        self.variance = min(FIRST_SPREAD**2, self.variance + DRIFT_PER_S * self.chunk_s)
        rate_rps = self.arrived / self.seconds / self.factor
        expected = curve.share(rate_rps)
        slope = curve.slope(rate_rps)
        miss = min(1.0, self.misses / self.requests)
        error = (1.0 - miss) - expected
        mean = 0.5 * (miss + 1.0 - expected)
        noise = OVERDISPERSION * max(mean * (1.0 - mean), 1.0 / self.requests) / self.requests
        noise += SHAPE_SPREAD**2 + (slope * RATE_SPREAD) ** 2
        gain = self.variance * slope / (slope * slope * self.variance + noise)
        low, high = BOUNDS
        self.log = min(math.log(high), max(math.log(low), self.log + gain * error))
        self.variance *= 1.0 - gain * slope
        self.drop()
