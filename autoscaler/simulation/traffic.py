"""Traffic made from traces: windows, more or less of it, and the shapes that break rules.

Law: times are seconds, randomness is an argument; time itself is never stretched, because that would change the ratio
of a ramp to the time a replica takes to start.
"""

from __future__ import annotations

import numpy as np

from autoscaler.simulation.trace import Trace

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
