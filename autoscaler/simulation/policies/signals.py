"""What several peers read: requests in flight, and a value over a window of time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from autoscaler.simulation.view import View


def in_flight(view: View) -> int:
    """Requests that a proxy in front of the fleet knows of: held at the gateway, waiting and running."""
    return view.held + int(view.waiting.sum()) + int(view.running.sum())


@dataclass(slots=True)
class Samples:
    """The values of the last `span_s` seconds; one that is exactly that old is forgotten."""

    span_s: float
    kept: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, at_s: float, value: float) -> None:
        """Take a value; times never fall."""
        self.kept.append((at_s, value))
        while self.kept[0][0] <= at_s - self.span_s:
            self.kept.popleft()

    def is_new(self, at_s: float) -> bool:
        """Whether a page of this time was not taken yet."""
        return not self.kept or at_s > self.kept[-1][0]

    def mean(self, last_s: float | None = None) -> float:
        """Of the window, or of its last part. Raises ZeroDivisionError before the first value."""
        if last_s is None:
            return sum(value for _, value in self.kept) / len(self.kept)
        total, count, after_s = 0.0, 0, self.kept[-1][0] - last_s
        for at_s, value in reversed(self.kept):
            if at_s <= after_s:
                break
            total += value
            count += 1
        return total / count

    def largest(self) -> float:
        """Of the window. Raises ValueError before the first value."""
        return max(value for _, value in self.kept)

    def smallest(self) -> float:
        """Of the window. Raises ValueError before the first value."""
        return min(value for _, value in self.kept)
