"""How long prompts and outputs are: a few sizes and their shares.

Law: a distribution keeps the mean that counters tell; buckets only give its shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

# Standard normal quantiles at 1/16, 3/16 .. 15/16: eight equally likely sizes.
_NODES = (-1.5341, -0.8871, -0.4888, -0.1573, 0.1573, 0.4888, 0.8871, 1.5341)
_FEW = 3.0  # sizes up to here are counts to be kept, not the middle of a bucket
LARGEST_BUCKET = 2.0  # the open bucket is taken as this many times its lower bound
# Where a prompt takes seconds, whether it can be in time is decided within a bucket: one size for 20,000 to 50,000
# tokens let 3 % of the requests come and go, and with them 6 or 29 replicas (DeepSeek-R1, 512 tokens a step).
LONG = 1000.0
PARTS = 6


@dataclass(frozen=True)  # without slots: moments are asked for seven times a decision, and worked out once
class Sizes:
    """Tokens, and the share of requests that have about so many."""

    tokens: tuple[float, ...]
    shares: tuple[float, ...]

    @cached_property
    def _hashed(self) -> int:
        return hash((self.tokens, self.shares))

    def __hash__(self) -> int:
        return self._hashed  # part of the key of the curve, which is asked for in every decision

    @cached_property
    def mean(self) -> float:
        """Mean, tokens."""
        return sum(t * s for t, s in zip(self.tokens, self.shares, strict=True))

    @cached_property
    def square(self) -> float:
        """Mean of the squares, tokens squared."""
        return sum(t * t * s for t, s in zip(self.tokens, self.shares, strict=True))

    @property
    def cv2(self) -> float:
        """Squared coefficient of variation."""
        return max(0.0, self.square / self.mean**2 - 1.0)


def lognormal(mean: float, cv2: float) -> Sizes:
    """Eight equally likely sizes of a lognormal with a mean and a squared coefficient of variation."""
    spread = math.sqrt(math.log1p(cv2))
    raw = [math.exp(spread * node) for node in _NODES]
    factor = mean * len(raw) / sum(raw)
    return Sizes(tuple(max(1.0, value * factor) for value in raw), (1.0 / len(raw),) * len(raw))


def from_buckets(
    bounds: tuple[float, ...], counts: tuple[float, ...], mean: float, *, long: float = math.inf
) -> Sizes | None:
    """Sizes from a histogram's counts per bucket (not cumulative), stretched to the mean; None without observations.

    Buckets that begin at `long` tokens or later are split into `PARTS`.
    """
    total = sum(counts)
    if total <= 0.0:
        return None
    tokens: list[float] = []
    shares: list[float] = []
    low, above, steep = 0.0, total, 1.0
    for bound, count in zip(bounds, counts, strict=True):
        if count > 0.0:
            high = bound if math.isfinite(bound) else LARGEST_BUCKET * max(1.0, low)
            if low >= long:
                if above > count:
                    steep = math.log(above / (above - count)) / math.log(high / low)
                tokens += _along(low, high, steep)
                shares += [count / total / PARTS] * PARTS
            else:
                # Sizes are spread over decades: the middle of a bucket is geometric.
                tokens.append(high if high <= _FEW else math.sqrt(max(1.0, low) * high))
                shares.append(count / total)
        above -= count
        low = bound
    few = sum(t * s for t, s in zip(tokens, shares, strict=True) if t <= _FEW)
    rest = sum(t * s for t, s in zip(tokens, shares, strict=True) if t > _FEW)
    stretch = min(2.0, max(0.5, (mean - few) / rest)) if rest > 0.0 else 1.0
    return Sizes(tuple(t if t <= _FEW else max(_FEW, t * stretch) for t in tokens), tuple(shares))


def _along(low: float, high: float, steep: float) -> list[float]:
    """Equally likely sizes of a bucket in which the share of larger ones falls as a power of the size.

    The top bucket goes on as steeply as the one before it.
    """
    inside = 1.0 - (high / low) ** -steep
    return [low * (1.0 - (part + 0.5) / PARTS * inside) ** (-1.0 / steep) for part in range(PARTS)]
