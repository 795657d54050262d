"""Counters over time, as `rate()` and `increase()` of a metrics store give them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from autoscaler.simulation.engines import Ints
from autoscaler.simulation.view import Totals, View


@dataclass(slots=True)
class Recent:
    """The totals of the last `span_s` seconds of views; feed it every view once."""

    span_s: float
    kept: deque[tuple[float, int, Totals]] = field(default_factory=deque)

    def add(self, view: View) -> None:
        """Take a view; one as old as the last is not taken twice."""
        if self.kept and view.at_s <= self.kept[-1][0]:
            return
        self.kept.append((view.at_s, view.arrivals, view.totals))
        while len(self.kept) > 2 and self.kept[1][0] <= view.at_s - self.span_s:
            self.kept.popleft()

    @property
    def seconds(self) -> float:
        """Seconds between the oldest view and the newest; 0 with fewer than two."""
        return self.kept[-1][0] - self.kept[0][0] if len(self.kept) > 1 else 0.0

    @property
    def ends(self) -> tuple[Totals, Totals]:
        """The oldest totals and the newest. Raises IndexError before the first view."""
        return self.kept[0][2], self.kept[-1][2]

    def arrivals_rps(self) -> float:
        """Requests that came to the gateway, per second."""
        return (self.kept[-1][1] - self.kept[0][1]) / self.seconds if self.seconds else 0.0


def bucket_quantile(bounds: tuple[float, ...], counts: Ints, share: float) -> float | None:
    """Prometheus' histogram_quantile over bucket counts (the last is +Inf); None without observations."""
    total = int(counts.sum())
    if total == 0:
        return None
    rank = share * total
    place = int(np.searchsorted(np.cumsum(counts), rank))
    if place >= len(bounds):
        return bounds[-1]
    low = bounds[place - 1] if place else 0.0
    before = float(counts[:place].sum())
    return low + (bounds[place] - low) * (rank - before) / max(1e-12, float(counts[place]))
