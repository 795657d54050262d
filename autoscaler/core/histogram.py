"""Cumulative histograms with coarse buckets: what they say, and how sure that is.

Law: a share read from buckets is an interval, never a point; only histograms with equal bounds are combined.
"""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass
from statistics import NormalDist

from autoscaler.core.records import Histogram
from autoscaler.core.series import usable

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Around:
    """What a histogram says of a limit: how many of `count` lie within the bucket bounds on either side of it."""

    floor: float = 0.0  # the bound at or below the limit
    ceiling: float = math.inf  # the bound at or above it
    low: float = 0.0  # observations <= floor
    high: float = 0.0  # observations <= ceiling
    count: float = 0.0


@dataclass(frozen=True, slots=True)
class Share:
    """A share of `count` observations: it lies in [low, high]; `middle` interpolates inside the bucket."""

    low: float
    middle: float
    high: float
    count: float


def sound(histogram: Histogram | None) -> bool:
    """Whether a histogram can be true: rising bounds, counts that never fall, finite numbers."""
    if histogram is None or not histogram.bounds or len(histogram.bounds) != len(histogram.counts):
        return False
    bounds, counts = histogram.bounds, histogram.counts
    return (
        all(usable(count) for count in counts)
        and usable(histogram.total)
        and not any(math.isnan(bound) for bound in bounds)
        and all(a < b for a, b in itertools.pairwise(bounds))
        and all(a <= b for a, b in itertools.pairwise(counts))
    )


def increase(former: Histogram | None, current: Histogram | None) -> Histogram | None:
    """What was observed between two pages; None when that cannot be told (a restart, other bounds, nothing)."""
    if former is None or current is None or former.bounds != current.bounds:
        return None
    if current.counts[-1] < former.counts[-1] or current.total < former.total:
        return None
    counts = [now - then for then, now in zip(former.counts, current.counts, strict=True)]
    if any(later < earlier for earlier, later in itertools.pairwise(counts)) or counts[0] < 0:
        return None
    return Histogram(current.bounds, tuple(counts), current.total - former.total)


def merge(one: Histogram | None, other: Histogram | None) -> Histogram | None:
    """Both together; the first alone when their bounds differ."""
    if one is None or other is None:
        return other if one is None else one
    if one.bounds != other.bounds:
        return one
    counts = tuple(a + b for a, b in zip(one.counts, other.counts, strict=True))
    return Histogram(one.bounds, counts, one.total + other.total)


def scale(histogram: Histogram, factor: float) -> Histogram:
    """The same shape with `factor` times the weight: how old observations fade."""
    return Histogram(histogram.bounds, tuple(c * factor for c in histogram.counts), histogram.total * factor)


def around(histogram: Histogram | None, limit: float) -> Around | None:
    """The counts on either side of a limit; None without observations."""
    if histogram is None or histogram.counts[-1] <= 0:
        return None
    bounds, counts = histogram.bounds, histogram.counts
    total = counts[-1]
    upper = bisect.bisect_left(bounds, limit)
    if upper >= len(bounds):
        # Past the last finite bound nothing is known of the rest.
        return Around(bounds[-1], math.inf, total, total, total)
    if bounds[upper] == limit:
        return Around(limit, limit, counts[upper], counts[upper], total)
    floor, below = (bounds[upper - 1], counts[upper - 1]) if upper else (0.0, 0.0)
    return Around(floor, bounds[upper], below, counts[upper], total)


def share_of(one: Around, limit: float) -> Share:
    """The share within the limit; inside its bucket latencies are taken as lognormal (straight in probit of log)."""
    low, high = one.low / one.count, one.high / one.count
    if low >= high or math.isinf(one.ceiling) or one.ceiling <= one.floor:
        return Share(low, low, high, one.count)
    if one.floor <= 0.0:
        return Share(low, low + (high - low) * limit / one.ceiling, high, one.count)
    least = min(0.25, 0.5 / one.count)
    z_low, z_high = (_NORMAL.inv_cdf(min(1.0 - least, max(least, share))) for share in (low, high))
    along = math.log(limit / one.floor) / math.log(one.ceiling / one.floor)
    middle = _NORMAL.cdf(z_low + (z_high - z_low) * along)
    return Share(low, min(high, max(low, middle)), high, one.count)


def share_within(histogram: Histogram | None, limit: float) -> Share | None:
    """The share of observations <= limit; None without observations."""
    counts = around(histogram, limit)
    return share_of(counts, limit) if counts is not None else None


def joint(one: Share, other: Share) -> Share:
    """The share that meets both limits: two separate histograms leave it in [max(0, a + b - 1), min(a, b)].

    The middle takes the two misses as independent.
    """
    low = max(0.0, one.low + other.low - 1.0)
    high = min(one.high, other.high)
    middle = min(high, max(low, one.middle * other.middle))
    return Share(low, middle, high, min(one.count, other.count))
