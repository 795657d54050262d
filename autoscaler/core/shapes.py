"""The shapes of request sizes, from the buckets that pages keep of finished requests.

Law: shapes are faded counts per bucket; the means come from counters elsewhere. Tokens, not seconds.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

from autoscaler.core import histogram as hist
from autoscaler.core.records import Histogram
from autoscaler.core.sizes import Sizes, from_buckets

FADE_S = 1800.0  # shapes drift slowly; an hour ago counts 14 %
LEAST = 200.0  # requests before a shape is believed
LEAST_LARGER = 20.0  # prompts larger than any step, before that tells the step's limit
STRAY = 3.0  # steps that may lie above the limit that is read off


@functools.lru_cache(maxsize=64)
def _sizes(bounds: tuple[float, ...], counts: tuple[float, ...], mean: float, long: float) -> Sizes | None:
    return from_buckets((*bounds, math.inf), tuple(max(0.0, count) for count in counts), mean, long=long)


@dataclass(slots=True)
class Shape:
    """One distribution of sizes."""

    bounds: tuple[float, ...] = ()  # finite ones; the last bucket is open
    counts: list[float] = field(default_factory=list)

    def add(self, former: Histogram | None, current: Histogram | None, factor: float) -> None:
        """Take what finished between two pages of one replica."""
        if current is None or not hist.sound(current):
            return
        bounds = current.bounds[:-1]
        if bounds != self.bounds:
            self.bounds, self.counts = bounds, [0.0] * len(current.counts)
        usable = former is not None and former.bounds == current.bounds and former.counts[-1] <= current.counts[-1]
        before = former.counts if usable and former is not None else (0.0,) * len(current.counts)
        new = [now - then if now > then else 0.0 for now, then in zip(current.counts, before, strict=True)]
        lower = [0.0, *new[:-1]]  # both are cumulative
        self.counts = [kept * factor + n - less for kept, n, less in zip(self.counts, new, lower, strict=True)]

    def sizes(self, mean: float, long: float = math.inf) -> Sizes | None:
        """The distribution stretched to a mean; None while too few are known."""
        if sum(self.counts) < LEAST:
            return None
        return _sizes(self.bounds, tuple(self.counts), mean, long)


@dataclass(slots=True)
class Shapes:
    """Prompts and outputs."""

    prompts: Shape = field(default_factory=Shape)
    outputs: Shape = field(default_factory=Shape)
    at_s: float = 0.0

    def add(
        self,
        former_prompts: Histogram | None,
        prompts: Histogram | None,
        former_outputs: Histogram | None,
        outputs: Histogram | None,
        at_s: float,
    ) -> None:
        """Take what finished on one replica."""
        factor = math.exp(-max(0.0, at_s - self.at_s) / FADE_S) if self.at_s else 1.0
        self.at_s = max(self.at_s, at_s)
        self.prompts.add(former_prompts, prompts, factor)
        self.outputs.add(former_outputs, outputs, factor)


def step_limit(steps: Histogram | None, prompts: Histogram | None) -> float | None:
    """The tokens a step holds at most, where the page shows it: prompts larger than any step were served.

    None while no such prompt came: small prompts never fill a step.
    """
    if steps is None or prompts is None or not hist.sound(steps) or not hist.sound(prompts) or steps.counts[-1] < LEAST:
        return None
    enough = steps.counts[-1] - STRAY
    top = next(bound for bound, count in zip(steps.bounds, steps.counts, strict=True) if count >= enough)
    if not math.isfinite(top):
        return None
    smaller = max((c for b, c in zip(prompts.bounds, prompts.counts, strict=True) if b < 1.05 * top), default=0.0)
    return top if prompts.counts[-1] - smaller >= LEAST_LARGER else None
