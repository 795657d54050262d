"""Counters that may restart, and sums over a bounded recent past.

Law: a counter that decreases is a new life, never negative demand; every window is bounded in span and in entries.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Above this a value is a bug of the page, not a load: 10^15 tokens are 30 years at a million per second.
LARGEST = 1e15


def usable(value: float | None) -> bool:
    """Whether a value on a page can be true: finite, not negative, not absurdly large."""
    return value is not None and 0.0 <= value <= LARGEST  # false for NaN as well


def increase(former: float | None, current: float | None) -> float | None:
    """How far a counter moved; 0 when it decreased (a restart: the new value is a baseline), None when unknown."""
    if former is None or current is None:
        return None
    return max(0.0, current - former)


@dataclass(slots=True)
class Window:
    """Sums of a few quantities over the recent past, in entries of at least `width_s`, for at most `span_s`.

    An entry is `[from_s, to_s, quantity, ...]`; entries are in order of time and may have gaps between them.
    """

    span_s: float
    width_s: float
    entries: list[list[float]] = field(default_factory=list)

    def add(self, from_s: float, to_s: float, *quantities: float) -> None:
        """Add what happened between two times; short pieces are merged into one entry."""
        last = self.entries[-1] if self.entries else None
        if last is not None and from_s <= last[1] and to_s - last[0] <= self.width_s:
            last[1] = max(last[1], to_s)
            for index, quantity in enumerate(quantities, start=2):
                last[index] += quantity
        else:
            self.entries.append([from_s, to_s, *quantities])
        oldest_s = to_s - self.span_s
        while len(self.entries) > 1 and self.entries[0][1] <= oldest_s:
            self.entries.pop(0)

    def covered_s(self, now: float, over_s: float) -> float:
        """Seconds of the last `over_s` that the entries cover."""
        since_s = now - over_s
        return sum(max(0.0, entry[1] - max(entry[0], since_s)) for entry in self.entries)

    def totals(self, now: float, over_s: float, count: int = 1) -> tuple[float, list[float]]:
        """Seconds covered in the last `over_s`, and the sum of each quantity; a cut entry counts by its share."""
        since_s, seconds, sums = now - over_s, 0.0, [0.0] * count
        for entry in reversed(self.entries):
            from_s, to_s = entry[0], entry[1]
            if to_s <= since_s:
                break
            share = 1.0 if from_s >= since_s else (to_s - since_s) / (to_s - from_s)
            seconds += (to_s - from_s) * share
            for index in range(count):
                sums[index] += entry[2 + index] * share
        return seconds, sums

    def spans(self, now: float, over_s: tuple[float, ...]) -> list[tuple[float, float]]:
        """Seconds covered and the first quantity over each of several spans, rising, in one pass."""
        found, seconds, total = [], 0.0, 0.0
        ahead = [now - one for one in over_s]  # beginnings of spans that are not left yet
        for entry in reversed(self.entries):
            from_s, to_s = entry[0], entry[1]
            while from_s < ahead[0]:
                part = max(0.0, to_s - ahead.pop(0)) / (to_s - from_s)
                found.append((seconds + (to_s - from_s) * part, total + entry[2] * part))
                if not ahead:
                    return found
            seconds += to_s - from_s
            total += entry[2]
        return found + [(seconds, total)] * len(ahead)


@dataclass(slots=True)
class SlidingMax:
    """The largest value of the last `over_s` seconds: falling values only are kept, so it stays small."""

    kept: list[tuple[float, float]] = field(default_factory=list)

    def delay(self, by_s: float) -> None:
        """Take every value for so much younger: time in which nobody watched."""
        self.kept = [(at_s + by_s, value) for at_s, value in self.kept]

    def push(self, now: float, value: float, over_s: float) -> float:
        """Add a value at `now`; gives the largest of the last `over_s` seconds, this one included."""
        while self.kept and self.kept[-1][1] <= value:
            self.kept.pop()
        self.kept.append((now, value))
        while len(self.kept) > 1 and self.kept[0][0] < now - over_s:
            self.kept.pop(0)
        return self.kept[0][1]
