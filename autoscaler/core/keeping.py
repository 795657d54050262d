"""What is kept on the way down: the most that was wanted within the time a surplus replica is kept.

Law: what a rule wanted that is followed no more is no reason to keep anything: after a rule is left, what is kept is
what its successor would have wanted, and what was wanted within four minutes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from autoscaler.core.series import SlidingMax

# Against going up and down with every change of mind: as long as the shortest rule keeps a surplus replica.
MIND_S = 240.0


@dataclass(slots=True)
class Keeping:
    """Wishes of the recent past, and since when the rule is followed that is."""

    wanted: SlidingMax = field(default_factory=SlidingMax)
    lately: SlidingMax = field(default_factory=SlidingMax)
    followed: int = 0
    since_s: float | None = None  # when another rule was left for it

    def delay(self, by_s: float) -> None:
        """Nobody watched for so long: whether it was surplus meanwhile is not known."""
        self.wanted.delay(by_s)
        self.lately.delay(by_s)
        if self.since_s is not None:
            self.since_s += by_s

    def most(self, now: float, wanted: int, followed: int, successor: int, keep_s: float) -> int:
        """The count to keep: `successor` is what the rule that is followed would have wanted at most in `keep_s`."""
        # Also what was wanted and has not come yet: dropping such wishes cost 0.5 points of attainment, saved nothing.
        most = self.wanted.push(now, float(wanted), keep_s)
        lately = self.lately.push(now, float(wanted), min(MIND_S, keep_s))
        if followed != self.followed:
            self.followed, self.since_s = followed, now
        if self.since_s is not None and now - self.since_s < keep_s:
            most = min(most, max(lately, float(successor)))
        return round(most)


def count(rate_rps: float, each_rps: float, rounding: float) -> int:
    """Replicas for a rate, as a rule rounds."""
    return math.floor(rate_rps / each_rps + rounding)
