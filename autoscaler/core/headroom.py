"""The factors between the rates of the capacity curve and those that pages show to be carried.

Law: two numbers, one for first tokens and one for times per token, each tracked by a Kalman filter along the slope of
the share that was to be expected: what came at each replica is played against the curve with three factors side by
side, queues included. On a slope a minute says much of a factor, at a cliff little, in an idle fleet nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from autoscaler.core.attained import Misses
from autoscaler.core.capacity import Curve
from autoscaler.core.demand import Floats
from autoscaler.core.rehearsal import Carried, tpot_share, ttft_share

CHUNK_S = 60.0  # shares are compared minute by minute
LEAST_REQUESTS = 40.0  # in a chunk
FIRST_SPREAD = 0.12  # of ln(factor): the closed form against the step-level simulation, see docs/design.md
FIRST_LOG = -0.08  # of times per token: the closed form is 2 to 5 points too hopeful for one or two replicas
DRIFT_PER_S = 0.04**2 / 3600.0
OVERDISPERSION = 4.0  # misses come in clumps
SHAPE_SPREAD = 0.004  # of a share: what buckets cannot tell
ASIDE = 0.06  # of ln(factor), either side: the slope is read off there
SIDES = np.exp(np.array([-ASIDE, 0.0, ASIDE]))
# While a queue is worked off every step is full of prompts, whatever rate comes: times per token are then no sign of
# what a replica carries. A burst of three minutes at four replicas taught 0.79 where 0.95 was true (Azure 2023 code).
REST_S = 30.0  # after the last look at a queue: those it slowed end by then
SMOOTH_S = 30.0  # a request's time per token is that of its life
WAIT_MOST_S = 60.0


@dataclass(slots=True)
class Factor:
    """One factor, how sure it is, and the chunk in the making."""

    rate_spread: float  # of ln(rate): imbalance and shift within a chunk
    low: float
    high: float
    log: float = 0.0
    variance: float = FIRST_SPREAD**2
    expected: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])  # good of those that came, by factor
    arrived: float = 0.0
    requests: float = 0.0
    misses: float = 0.0

    @property
    def value(self) -> float:
        """Rates carried over rates of the curve."""
        return math.exp(self.log)

    def play(self, arrived: float, shares: Floats) -> None:
        """Take the shares to be expected of what arrived, by factor."""
        self.expected = [was + arrived * float(share) for was, share in zip(self.expected, shares, strict=True)]
        self.arrived += arrived

    def drop(self) -> None:
        """Forget the chunk in the making."""
        self.requests = self.misses = self.arrived = 0.0
        self.expected = [0.0, 0.0, 0.0]

    def learn(self, seconds: float) -> None:
        """Compare a whole chunk with what was to be expected."""
        low, expected, high = (good / self.arrived for good in self.expected)
        self.variance = min(FIRST_SPREAD**2, self.variance + DRIFT_PER_S * seconds)
        slope = max(0.0, high - low) / (2.0 * ASIDE)
        miss = min(1.0, self.misses / self.requests)
        error = (1.0 - miss) - expected
        mean = 0.5 * (miss + 1.0 - expected)
        noise = OVERDISPERSION * max(mean * (1.0 - mean), 1.0 / self.requests) / self.requests
        noise += SHAPE_SPREAD**2 + (slope * self.rate_spread) ** 2
        gain = self.variance * slope / (slope * slope * self.variance + noise)
        self.log = min(math.log(self.high), max(math.log(self.low), self.log + gain * error))
        self.variance *= 1.0 - gain * slope
        self.drop()


@dataclass(slots=True)
class Headroom:
    """Both factors, and the queues they would have given."""

    # The work that a step holds is known, so the queue's own rate is nearly right from the step model alone; and a
    # queue that old replicas keep when new ones come is no sign of a slower server.
    first: Factor = field(default_factory=lambda: Factor(0.15, 0.8, 1.15))
    each: Factor = field(default_factory=lambda: Factor(0.05, 0.5, 1.6, FIRST_LOG))
    smooth_rps: float = 0.0
    waits_s: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    chunk_s: float = 0.0
    came: float = 0.0  # requests since pages last told, the replica-seconds and the seconds they came in
    came_s: float = 0.0
    since_s: float = 0.0
    resting_s: float = 0.0  # times per token tell nothing for so long

    @property
    def carried(self) -> Carried:
        """The factors as they are."""
        return Carried(self.first.value, self.each.value)

    def drop(self) -> None:
        """Forget the chunk in the making: pages did not tell all of it."""
        self.chunk_s = self.came = self.came_s = self.since_s = 0.0
        self.first.drop()
        self.each.drop()

    def note(self, arrived: float, seconds: float, tick_s: float) -> None:
        """Take what came in one tick: `arrived` requests over `seconds` replica-seconds."""
        self.came += arrived
        self.came_s += seconds
        self.since_s += tick_s

    def learn(self, one: Curve, ttft_s: float, misses: Misses, *, waiting: bool) -> None:
        """Take what pages told since the last time, and learn when a chunk is full."""
        if self.came_s <= 0.0:
            return
        self._play(one, ttft_s, waiting=waiting)
        self.first.requests += misses.requests
        self.first.misses += misses.late
        if self.resting_s <= 0.0:
            self.each.requests += misses.requests
            self.each.misses += misses.slow
        if self.chunk_s < CHUNK_S or self.first.requests < LEAST_REQUESTS:
            return
        for factor in (self.first, self.each):
            if factor.arrived > 0.0 and factor.requests >= LEAST_REQUESTS:
                factor.learn(self.chunk_s)
        self.drop()

    def _play(self, one: Curve, ttft_s: float, *, waiting: bool) -> None:
        """Play what came against the curve with three factors side by side."""
        each_rps, seconds, arrived = self.came / self.came_s, self.since_s, self.came
        self.came = self.came_s = self.since_s = 0.0
        part = 1.0 - math.exp(-seconds / SMOOTH_S)
        self.smooth_rps = each_rps if self.smooth_rps <= 0.0 else self.smooth_rps + part * (each_rps - self.smooth_rps)
        first = self.first.value * SIDES
        # Where pages show no queue there is none, whatever a factor says.
        before_s = np.array(self.waits_s) if waiting else np.zeros(3)
        waits_s = np.clip(before_s + (each_rps / (first * one.clearing_rps) - 1.0) * seconds, 0.0, WAIT_MOST_S)
        self.waits_s = [float(wait) for wait in waits_s]
        self.first.play(arrived, ttft_share(one, self.smooth_rps / first, 0.5 * (before_s + waits_s), ttft_s))
        self.resting_s = REST_S if waiting else max(0.0, self.resting_s - seconds)
        if self.resting_s <= 0.0:
            self.each.play(arrived, tpot_share(one, self.smooth_rps / (self.each.value * SIDES)))
        self.chunk_s += seconds
