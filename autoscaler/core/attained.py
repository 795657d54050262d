"""What pages tell of latencies: the share that met the objective lately, and what is owed over the day.

Law: TTFT and TPOT stand on pages as two histograms with coarse buckets. A limit inside a bucket is
interpolated; the two misses are taken as independent. A request of one token has no TPOT and cannot miss it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from autoscaler.core import histogram as hist
from autoscaler.core.records import Objective

FADE_S = 900.0  # recent evidence loses 63 % of its weight in this time
DAY_FADE_S = 12.0 * 3600.0  # what is owed is forgotten so slowly
AIM_MISSES = 0.92  # of the misses allowed: attainment is a floor, and pages tell it within 0.3 points
LEAST_EVIDENCE = 150.0  # requests: a share of 0.95 is then known within about 1.8 points


@dataclass(slots=True)
class Evidence:
    """Recent observations of one latency around its limit, older ones faded."""

    speeds: bool = False  # whether it is of times per token
    floor: float = 0.0
    ceiling: float | None = None  # None: no finite bound above the limit
    low: float = 0.0
    high: float = 0.0
    count: float = 0.0

    def fade(self, factor: float) -> None:
        """Let old observations count less."""
        self.low, self.high, self.count = self.low * factor, self.high * factor, self.count * factor

    def add(self, former: hist.Around | None, current: hist.Around | None) -> tuple[float, float, float]:
        """Take what was observed between two pages of one replica; gives what was added: low, high, count."""
        if current is None or (former is not None and former.count > current.count):
            return (0.0, 0.0, 0.0)
        base = former if former is not None and former.floor == current.floor else None
        self.floor = current.floor
        self.ceiling = current.ceiling if math.isfinite(current.ceiling) else None
        low = max(0.0, current.low - (base.low if base else 0.0))
        high = max(0.0, current.high - (base.high if base else 0.0))
        count = max(0.0, current.count - (base.count if base else 0.0))
        self.low += low
        self.high += high
        self.count += count
        return (low, high, count)

    def share(self, limit_s: float) -> hist.Share | None:
        """The share within the limit; None without observations."""
        if self.count < 1.0:
            return None
        ceiling = self.ceiling if self.ceiling is not None else math.inf
        return hist.share_of(
            hist.Around(self.floor, ceiling, self.low, self.high, self.count), limit_s, speeds=self.speeds
        )

    def along(self, limit_s: float) -> float:
        """Where in its bucket the limit cuts the observations: 0 none of them are within it, 1 all."""
        share = self.share(limit_s)
        if share is None or self.high <= self.low:
            return 1.0
        return min(1.0, max(0.0, (share.middle * self.count - self.low) / (self.high - self.low)))


@dataclass(slots=True)
class Told:
    """What one tick added: first tokens and times per token, those surely within the limit, those perhaps."""

    first_low: float = 0.0
    first_high: float = 0.0
    firsts: float = 0.0
    each_low: float = 0.0
    each_high: float = 0.0
    eachs: float = 0.0


@dataclass(frozen=True, slots=True)
class Misses:
    """Requests of one tick, those whose first token came late, those whose tokens came slowly."""

    requests: float
    late: float
    slow: float

    @property
    def either(self) -> float:
        """Outside the objective: a tick's overlap cannot be told from two histograms, so misses are independent."""
        return self.late + self.slow - self.late * self.slow / self.requests


@dataclass(slots=True)
class Attained:
    """The attainment of one role."""

    ttft: Evidence = field(default_factory=Evidence)
    tpot: Evidence = field(default_factory=lambda: Evidence(speeds=True))
    owed: float = 0.0  # requests missed beyond those the objective lets miss, faded; negative: ahead
    offered: float = 0.0  # requests behind `owed`, faded alike
    charged: float = 0.0  # requests booked while they were held, of which pages have not told yet

    @property
    def told(self) -> bool:
        """Whether pages tell of both latencies."""
        return self.ttft.count > 0.0 and self.tpot.count > 0.0

    def fade(self, seconds: float) -> None:
        """Let time pass."""
        recent, day = math.exp(-seconds / FADE_S), math.exp(-seconds / DAY_FADE_S)
        self.ttft.fade(recent)
        self.tpot.fade(recent)
        self.owed, self.offered = self.owed * day, self.offered * day

    def misses(self, told: Told, objective: Objective, step_most_s: float = math.inf) -> Misses | None:
        """Requests of one tick outside the objective; None where pages do not tell both latencies.

        No time per token is longer than the longest step, `step_most_s`: buckets from 50 to 75 ms full of steps of 55
        read as a fifth of them above 60.
        """
        if told.firsts <= 0.0 or self.tpot.count <= 0.0:
            return None
        # Most ticks have nothing in doubt: then where the limit cuts its bucket need not be known.
        late, slow = told.firsts - told.first_low, told.eachs - told.each_low
        if told.first_high > told.first_low:
            late -= self.ttft.along(objective.ttft_s) * (told.first_high - told.first_low)
        if step_most_s <= objective.tpot_s:
            slow = told.eachs - told.each_high
        elif told.each_high > told.each_low:
            slow -= self.tpot.along(objective.tpot_s) * (told.each_high - told.each_low)
        return Misses(told.firsts, min(late, told.firsts), min(slow, told.firsts))

    def charge(self, misses: float, requests: float, objective: Objective) -> None:
        """Book misses of requests."""
        self.owed += misses - AIM_MISSES * (1.0 - objective.attainment) * requests
        self.offered += requests

    def share(self, objective: Objective, step_most_s: float = math.inf) -> float | None:
        """The share of recent requests within the objective; None without enough evidence."""
        ttft, tpot = self.ttft.share(objective.ttft_s), self.tpot.share(objective.tpot_s)
        if ttft is None or tpot is None or ttft.count < LEAST_EVIDENCE:
            return None
        several = min(1.0, tpot.count / ttft.count)
        each = tpot.high if step_most_s <= objective.tpot_s else tpot.middle
        return ttft.middle * (1.0 - several * (1.0 - each))
