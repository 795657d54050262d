"""What arrived over the last hours, in slots of a quarter of a minute, with the sizes requests had.

Law: a slot is kept when its time is over; what was read late is spread over the slots it fell into; bounded.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Eight bytes a value, where a list of floats takes 32: four hours of a thousand services are 22 MiB and not 90.
if TYPE_CHECKING:
    Series = array[float]
else:
    Series = array  # not subscriptable before Python 3.12

SLOT_S = 15.0
KEPT = 960  # slots: four hours, what a rehearsal looks back


def _series() -> Series:
    return array("d")


@dataclass(slots=True)
class Demand:
    """Rates by slot, oldest first, and the slot in the making."""

    rates_rps: Series = field(default_factory=_series)
    prompts: Series = field(default_factory=_series)  # tokens of a request, mean; 0: not measured
    outputs: Series = field(default_factory=_series)
    from_s: float | None = None  # when the slot in the making began
    arrived: float = 0.0
    seconds: float = 0.0

    def add(self, from_s: float, to_s: float, arrived: float, prompt: float, output: float) -> None:
        """Take the requests that arrived between two times, and their mean sizes, tokens; 0 where not measured."""
        if self.from_s is None:
            self.from_s = from_s
        if to_s <= max(from_s, self.from_s):
            return
        if to_s - self.from_s > KEPT * SLOT_S:
            # Longer ago than anything that is kept: a clock that jumped, or a service nobody watched.
            self.rates_rps, self.prompts, self.outputs = _series(), _series(), _series()
            self.from_s, self.arrived, self.seconds = max(from_s, to_s - SLOT_S), 0.0, 0.0
        from_s = max(from_s, self.from_s)
        rate_rps = arrived / max(1e-9, to_s - from_s)
        while to_s >= self.from_s + SLOT_S:
            ends_s = self.from_s + SLOT_S
            self._take(ends_s - min(from_s, ends_s), rate_rps)
            self._close(prompt, output)
            self.from_s = ends_s
            from_s = max(from_s, ends_s)
        self._take(to_s - from_s, rate_rps)

    def _take(self, seconds: float, rate_rps: float) -> None:
        self.arrived += rate_rps * max(0.0, seconds)
        self.seconds += max(0.0, seconds)

    def _close(self, prompt: float, output: float) -> None:
        known = self.seconds > 0.0
        if known or self.rates_rps:
            # A slot that nobody told of was as the one before.
            self.rates_rps.append(_short(self.arrived / self.seconds) if known else self.rates_rps[-1])
            self.prompts.append(_short(prompt))
            self.outputs.append(_short(output))
            if len(self.rates_rps) > KEPT:
                del self.rates_rps[0], self.prompts[0], self.outputs[0]
        self.arrived = self.seconds = 0.0


def _short(value: float) -> float:
    """Six digits: hours of whole ones made a snapshot three times as large."""
    return float(f"{value:.6g}")


def trailing_mean(values: Floats, count: int) -> Floats:
    """Mean of the last `count` values at each place, of fewer at the beginning."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(1, len(values) + 1)
    since = np.maximum(0, at - count)
    return np.asarray((sums[at] - sums[since]) / (at - since))


def trailing(values: Floats, count: int, *, largest: bool) -> Floats:
    """The largest or smallest of the last `count` values at each place, of fewer at the beginning; O(n log count)."""
    pick = np.maximum if largest else np.minimum
    span = 1
    while span < count:
        step = min(span, count - span)
        if step >= len(values):
            break
        values = np.concatenate([values[:step], pick(values[step:], values[:-step])])
        span += step
    if span < count and len(values):  # longer than there are values: a running extreme
        values = pick.accumulate(values)
    return values
