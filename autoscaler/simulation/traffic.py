"""Traffic made from traces: windows, more or less of it, and the shapes that break rules.

Law: times are seconds, randomness is an argument; time itself is never stretched, because that would change the ratio
of a ramp to the time a replica takes to start.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from autoscaler.simulation.engines import Floats
from autoscaler.simulation.trace import Trace

Rate = Callable[[Floats], Floats]  # requests/s at times in seconds, element by element

SHIFT_S = 30.0  # copies move by up to this, either way: the 1-minute rate curve stays


def window(trace: Trace, from_s: float, until_s: float) -> Trace:
    """The requests of a span, times unchanged."""
    first, last = np.searchsorted(trace.arrival_s, [from_s, until_s])
    return Trace(trace.arrival_s[first:last], trace.prompt_tokens[first:last], trace.output_tokens[first:last])


def multiply(trace: Trace, factor: float, rng: np.random.Generator) -> Trace:
    """More of the same traffic, as a larger service would see it, or less.

    Whole copies are shifted by independent uniform offsets; a fraction is a thinned copy.
    """
    whole, part = int(factor), factor - int(factor)
    chosen = [np.arange(len(trace.arrival_s))] * whole
    if part > 1e-9:
        chosen.append(np.nonzero(rng.random(len(trace.arrival_s)) < part)[0])
    index = np.concatenate(chosen) if chosen else np.zeros(0, dtype=int)
    shift_s = rng.uniform(-SHIFT_S, SHIFT_S, len(index)) if factor > 1.0 else np.zeros(len(index))
    arrival_s = trace.arrival_s[index] + shift_s
    low_s, high_s = (trace.arrival_s[0], trace.arrival_s[-1]) if len(trace.arrival_s) else (0.0, 0.0)
    inside = (arrival_s >= low_s) & (arrival_s <= high_s)
    order = np.argsort(arrival_s[inside], kind="stable")
    index = index[inside][order]
    return Trace(arrival_s[inside][order], trace.prompt_tokens[index], trace.output_tokens[index])


def steepest_window(trace: Trace, length_s: float) -> tuple[float, float]:
    """The window that holds the largest one-hour ramp of requests, in the middle where that is possible.

    The ramp is the largest rise between two 10-minute means at most an hour apart.
    """
    end_s = float(trace.arrival_s[-1])
    if end_s <= length_s:
        return 0.0, end_s
    bins = np.bincount((trace.arrival_s // 600.0).astype(int))[: int(end_s // 600.0)].astype(float)
    rises = np.array([bins[k : k + 7].max() - bins[k] for k in range(len(bins))])
    at_s = float(np.argmax(rises)) * 600.0
    start_s = min(max(0.0, at_s - length_s / 2.0), end_s - length_s)
    return start_s, start_s + length_s


def step_rate(before_rps: float, after_rps: float, at_s: float) -> Rate:
    """One rate, and another from a moment on."""
    return lambda t: np.where(t < at_s, before_rps, after_rps)


def ramp_rate(before_rps: float, after_rps: float, from_s: float, until_s: float) -> Rate:
    """One rate, another, and a straight line between them."""
    return lambda t: np.interp(t, [from_s, until_s], [before_rps, after_rps])


def poisson(
    rate_of_t: Rate, from_s: float, until_s: float, most_rps: float, mix: Trace, rng: np.random.Generator
) -> Trace:
    """Arrivals at a rate that changes, by thinning (Lewis and Shedler 1979); sizes drawn from the requests of `mix`.

    Prompt and output are drawn as a pair. Raises ValueError where the rate is negative or above `most_rps`.
    """
    count = rng.poisson(most_rps * (until_s - from_s))
    at_s = np.sort(rng.uniform(from_s, until_s, count))
    rate = np.asarray(rate_of_t(at_s), dtype=np.float64)
    if count and (rate.min() < 0.0 or rate.max() > most_rps):
        raise ValueError(f"rate_of_t: found {rate.min():g} to {rate.max():g} req/s, expected 0 to {most_rps:g}")
    at_s = at_s[rng.random(count) * most_rps < rate]
    index = rng.integers(0, len(mix.arrival_s), len(at_s))
    return Trace(at_s, mix.prompt_tokens[index], mix.output_tokens[index])


def flash_crowd(trace: Trace, at_s: float, factor: float, for_s: float, rng: np.random.Generator) -> Trace:
    """`factor` times the requests within [at_s, at_s + for_s), with sharp edges; all that was there stays as it was.

    What is added are requests of that span, moved by up to SHIFT_S and wrapped into it. Raises ValueError below 1.
    """
    if factor < 1.0:
        raise ValueError(f"factor: found {factor:g}, expected 1 or more")
    first, last = np.searchsorted(trace.arrival_s, [at_s, at_s + for_s])
    span = np.arange(first, last)
    part = span[rng.random(len(span)) < factor - math.floor(factor)]
    added = np.concatenate([np.repeat(span, math.floor(factor) - 1), part])
    moved_s = trace.arrival_s[added] - at_s + rng.uniform(-SHIFT_S, SHIFT_S, len(added))
    arrival_s = np.concatenate([trace.arrival_s, at_s + moved_s % for_s])
    index = np.concatenate([np.arange(len(trace.arrival_s)), added])
    order = np.argsort(arrival_s, kind="stable")
    index = index[order]
    return Trace(arrival_s[order], trace.prompt_tokens[index], trace.output_tokens[index])


def mix_shift(trace: Trace, at_s: float, prompt_factor: float, output_factor: float) -> Trace:
    """The same arrivals; from `at_s` on prompts and outputs are longer or shorter by these factors, whole tokens."""
    late = trace.arrival_s >= at_s

    def scaled(tokens: Floats, factor: float) -> Floats:
        return np.where(late, np.maximum(1.0, np.rint(tokens * factor)), tokens)

    return Trace(
        trace.arrival_s, scaled(trace.prompt_tokens, prompt_factor), scaled(trace.output_tokens, output_factor)
    )
