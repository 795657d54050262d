"""How many requests per second will come, and how sure that is.

Law: persistence, over the window that forecast best lately at this horizon; every forecast is scored when its time has
come, and the errors of the last hour are the distribution of the next one. No trend is carried forward, but on a ramp
the errors lean to one side, and the next forecast with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from autoscaler.core.series import Window

WINDOWS_S = (60.0, 120.0, 240.0)
SCORE_EVERY_S = 30.0
SCORED_OVER_S = 90.0  # what came is the mean over this long around the time forecast
KEPT = 120  # errors: the last hour
FIRST_SPREAD = 0.08  # of ln(rate), as if so many errors had been seen
FIRST_COUNT = 12
NODES = 12  # quantiles of the errors
LARGEST_ERROR = 1.6  # of ln(rate): a factor of five
# Standard normal quantiles at 1/24, 3/24 .. 23/24.
_NORMAL = (-1.7317, -1.1503, -0.8122, -0.5485, -0.3186, -0.1046, 0.1046, 0.3186, 0.5485, 0.8122, 1.1503, 1.7317)


@dataclass(slots=True)
class Forecast:
    """Pending forecasts, and how earlier ones did."""

    pending: list[list[float]] = field(default_factory=list)  # [due_s, ln rate by each window]
    errors: list[list[float]] = field(default_factory=list)  # ln(came / forecast) by each window, newest last
    best: int = 0  # the window with the least mean absolute error; the shortest until enough was scored
    factors: tuple[float, ...] = tuple(math.exp(FIRST_SPREAD * node) for node in _NORMAL)

    def rates(self, arrivals: Window, now: float) -> list[float]:
        """Requests per second over each window; a window not covered counts by what is known."""
        found = []
        for covered_s, arrived in arrivals.spans(now, WINDOWS_S):
            # Seconds without an entry are unknown, except that a window never covered in full counts by its span.
            found.append(arrived / max(covered_s, 5.0) if covered_s > 0.0 else 0.0)
        return found

    def observe(self, arrivals: Window, now: float, horizon_s: float) -> tuple[float, tuple[float, ...]]:
        """The rate expected at the horizon, and equally likely factors on it, rising."""
        self._score(arrivals, now)
        rates = self.rates(arrivals, now)
        due = not self.pending or self.pending[-1][0] + SCORE_EVERY_S <= now + horizon_s
        if due and min(rates) > 0.0 and arrivals.covered_s(now, WINDOWS_S[0]) > 0.9 * WINDOWS_S[0]:
            self.pending.append([now + horizon_s, *(math.log(rate) for rate in rates)])
        return rates[self.best], self.factors

    def _settle(self) -> None:
        """Choose the window and work out the factors anew."""
        if len(self.errors) >= FIRST_COUNT:
            self.best = min(range(len(WINDOWS_S)), key=lambda k: sum(abs(error[k]) for error in self.errors))
        known = sorted(error[self.best] for error in self.errors)
        weight = len(known) / (len(known) + FIRST_COUNT)
        nodes = []
        for k in range(NODES):
            first = FIRST_SPREAD * _NORMAL[k]
            nodes.append(math.exp(weight * _quantile(known, (k + 0.5) / NODES) + (1.0 - weight) * first))
        self.factors = tuple(nodes)

    def _score(self, arrivals: Window, now: float) -> None:
        while self.pending and self.pending[0][0] + SCORED_OVER_S / 2.0 <= now:
            due = self.pending.pop(0)
            covered_s, (arrived,) = arrivals.totals(now, SCORED_OVER_S)
            if covered_s < SCORED_OVER_S / 2.0 or now - due[0] > SCORED_OVER_S:
                continue
            came = math.log(max(0.5, arrived) / covered_s)
            errors = [min(LARGEST_ERROR, max(-LARGEST_ERROR, came - forecast)) for forecast in due[1:]]
            self.errors.append(errors)
            if len(self.errors) > KEPT:
                self.errors.pop(0)
            self._settle()


def _quantile(ordered: list[float], share: float) -> float:
    if not ordered:
        return 0.0
    place = min(max(0.0, share * len(ordered) - 0.5), len(ordered) - 1.0)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
