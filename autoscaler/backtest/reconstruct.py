"""From what counters rose by to single requests: drawn, with a seed, so that the counters would have risen the same.

Law: pure. The number of requests of every step and the mean sizes of every stretch are the source's; where inside a
step a request came, and which size it had, is drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autoscaler.backtest.counters import Counted, Grown, Step
from autoscaler.core.fitting import ASSUMED_CV2
from autoscaler.core.sizes import LARGEST_BUCKET
from autoscaler.simulation.engines import Floats
from autoscaler.simulation.trace import Trace

STRETCH_S = 600.0  # sizes are drawn alike over stretches as long as this,
LEAST_REQUESTS = 50.0  # or until so many requests tell their sizes
STRETCH_BOUNDS = (0.5, 2.0)  # sizes from buckets are moved to the mean by at most this


@dataclass(frozen=True, slots=True)
class Stretch:
    """Steps whose requests are drawn from the same sizes."""

    steps: tuple[Step, ...]

    def grown(self, name: str) -> Grown:
        """The growth of a histogram over the stretch."""
        found = Grown()
        for step in self.steps:
            one: Grown = getattr(step, name)
            if one.counts and (not found.bounds or found.bounds == one.bounds):
                found.bounds = one.bounds
                found.counts = [a + b for a, b in zip(found.counts or [0.0] * len(one.counts), one.counts, strict=True)]
                found.total += one.total
        return found

    def mean(self, tokens: str, sizes: Grown) -> float | None:
        """Mean tokens of a request: by the histogram where there is one, else counted tokens over counted requests."""
        if sizes.count > 0.0:
            return sizes.total / sizes.count
        told = [value for step in self.steps if (value := getattr(step, tokens)) is not None]
        requests = sum(step.counted for step in self.steps)
        return sum(told) / requests if told and requests > 0.0 else None


def stretches(steps: tuple[Step, ...]) -> list[Stretch]:
    """Cut the steps into stretches long enough to know their sizes."""
    found: list[Stretch] = []
    begun: list[Step] = []
    for step in steps:
        begun.append(step)
        long_enough = step.until_s - begun[0].from_s >= STRETCH_S
        if long_enough and sum(one.counted for one in begun) >= LEAST_REQUESTS:
            found.append(Stretch(tuple(begun)))
            begun = []
    if begun:  # what is left at the end belongs to the stretch before
        before = found.pop().steps if found else ()
        found.append(Stretch((*before, *begun)))
    return found


def requests_of(told: Counted, seed: int) -> tuple[Trace, str]:
    """Draw the requests; and one sentence on how. Raises ValueError where the source tells no sizes at all."""
    rng = np.random.default_rng(seed)
    arrivals: list[Floats] = []
    prompts: list[Floats] = []
    outputs: list[Floats] = []
    owed, by_buckets = 0.0, True
    last: dict[str, tuple[Grown, float]] = {}
    for stretch in stretches(told.steps):
        for name, tokens in (("prompt_sizes", "prompt_tokens"), ("output_sizes", "output_tokens")):
            grown = stretch.grown(name)
            mean = stretch.mean(tokens, grown)
            if mean is not None and mean > 0.0:
                last[name] = grown, mean
        times = []
        for step in stretch.steps:
            owed += step.arrivals
            count = math.floor(owed + 1e-9)  # a counter summed over replicas may have fractions
            owed -= count
            times.append(np.sort(rng.uniform(step.from_s, step.until_s, count)))
        count = sum(map(len, times))
        if not count:
            continue
        if len(last) < 2:
            raise ValueError("no counter of prompt or of output tokens rose")
        arrivals += times
        by_buckets &= bool(last["prompt_sizes"][0].counts and last["output_sizes"][0].counts)
        prompts.append(draw_sizes(*last["prompt_sizes"], count, rng))
        outputs.append(draw_sizes(*last["output_sizes"], count, rng))
    none = [np.zeros(0)]
    trace = Trace(np.concatenate(arrivals or none), np.concatenate(prompts or none), np.concatenate(outputs or none))
    step_s = float(np.median([step.until_s - step.from_s for step in told.steps])) if told.steps else 0.0
    sizes = (
        "sizes drawn from the servers' size histograms"
        if by_buckets
        else "sizes drawn from a lognormal whose variance is the square of its mean"
    )
    return trace, (
        f"Reconstructed from counters: the number of requests of every {step_s:g} s and their mean sizes are the "
        f"source's; arrivals are drawn inside each step, {sizes} and stretched to the mean; prompts and outputs are "
        "drawn independently of one another. Bursts shorter than a step are lost."
    )


def draw_sizes(grown: Grown, mean: float, count: int, rng: np.random.Generator) -> Floats:
    """Whole tokens, at least one: from buckets where there are any, else from a lognormal; with about this mean."""
    if grown.counts and sum(grown.counts) > 0.0:
        raw = _from_buckets(grown, count, rng)
        low, high = STRETCH_BOUNDS
        expected = _bucket_mean(grown)
        factor = min(high, max(low, mean / expected))
    else:
        spread = math.sqrt(math.log1p(ASSUMED_CV2))
        raw, factor = np.exp(rng.normal(-0.5 * spread * spread, spread, count)), mean
    return np.asarray(np.maximum(1.0, np.rint(raw * factor)))


def _edges(grown: Grown) -> tuple[Floats, Floats]:
    high = np.array(grown.bounds)
    low = np.concatenate([[0.0], high[:-1]])
    high = np.where(np.isfinite(high), high, LARGEST_BUCKET * np.maximum(1.0, low))
    return np.maximum(1.0, low), np.maximum(1.0, high)


def _from_buckets(grown: Grown, count: int, rng: np.random.Generator) -> Floats:
    """Inside a bucket sizes are uniform in their logarithm."""
    counts = np.array(grown.counts)
    place = rng.choice(len(counts), count, p=counts / counts.sum())
    low, high = _edges(grown)
    return np.asarray(low[place] * (high[place] / low[place]) ** rng.random(count))


def _bucket_mean(grown: Grown) -> float:
    """The mean of what `_from_buckets` draws: (b - a) / ln(b / a) of each bucket."""
    low, high = _edges(grown)
    ratio = np.log(np.maximum(high / low, 1.0 + 1e-9))
    means = np.where(high > low, (high - low) / ratio, low)
    counts = np.array(grown.counts)
    return float((means * counts).sum() / counts.sum())
