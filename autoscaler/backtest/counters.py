"""From readings of counters to what came in between them: increases, resets, gaps, and how many replicas there were.

Law: pure. A counter that fell was reset and counts from zero. What a replica had counted before it was first read is
its own past, unless it was seen to start or its process began a short while ago. What was counted over a gap is left
out with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from autoscaler.backtest.history import Gap, Plan
from autoscaler.core.records import Histogram

LEAST_GAP_S = 60.0
NEW_S = 1800.0  # a process that began so recently was not serving before: models take minutes to load


@dataclass(frozen=True, slots=True)
class Reading:
    """What one replica's page had counted at a time; None: its server does not say."""

    arrivals: float | None = None  # the server's earliest event per request
    pending: float = 0.0  # requests that came before that event
    prompt_tokens: float | None = None
    output_tokens: float | None = None
    prompt_sizes: Histogram | None = None
    output_sizes: Histogram | None = None
    started_at_s: float | None = None  # of its process


@dataclass(frozen=True, slots=True)
class Look:
    """All replicas at one time."""

    at_s: float
    readings: dict[str, Reading]  # by replica; one that was not read is left out
    replicas: int | None = None  # that there were, where something says so; else those read
    starting: frozenset[str] = frozenset()  # replicas that are listed and do not serve yet
    is_known: bool = True  # False: nothing could be read, which is not the same as no replica


@dataclass(slots=True)
class Grown:
    """A histogram's growth: observations per bucket, and their sum."""

    bounds: tuple[float, ...] = ()
    counts: list[float] = field(default_factory=list)  # per bucket, not cumulative
    total: float = 0.0

    @property
    def count(self) -> float:
        """Observations."""
        return sum(self.counts)

    def add(self, old: Histogram | None, new: Histogram | None) -> None:
        """Take what one replica's histogram grew by; other bounds than those before are left out."""
        if new is None or (self.bounds and new.bounds != self.bounds):
            return
        same = old is not None and old.bounds == new.bounds and new.counts[-1] >= old.counts[-1]
        before = old.counts if same and old is not None else (0.0,) * len(new.counts)
        grown = [max(0.0, b - a) for a, b in zip(before, new.counts, strict=True)]
        each = [grown[0], *(max(0.0, b - a) for a, b in pairwise(grown))]
        self.bounds = new.bounds
        self.counts = [a + b for a, b in zip(self.counts or [0.0] * len(each), each, strict=True)]
        self.total += max(0.0, new.total - (old.total if same and old is not None else 0.0))


@dataclass(slots=True)
class Step:
    """What came between two looks."""

    from_s: float
    until_s: float
    arrivals: float = 0.0
    counted: float = 0.0  # of them, by the counter: what the token counters belong to
    prompt_tokens: float | None = None
    output_tokens: float | None = None
    prompt_sizes: Grown = field(default_factory=Grown)
    output_sizes: Grown = field(default_factory=Grown)


@dataclass(frozen=True, slots=True)
class Counted:
    """A source's whole span."""

    begin_s: float
    end_s: float
    steps: tuple[Step, ...]
    gaps: tuple[Gap, ...]
    ran: Plan  # replicas, at every change
    resets: int


def counted(looks: Iterable[Look], step_s: float) -> Counted | None:
    """Walk the looks in order of time; `step_s` is how far apart they should be. None without two of them."""
    walk = _Walk(max(LEAST_GAP_S, 3.0 * step_s))
    for look in looks:
        walk.take(look)
    if walk.begin_s is None or walk.last_s is None or walk.last_s <= walk.begin_s:
        return None
    return Counted(walk.begin_s, walk.last_s, tuple(walk.steps), tuple(walk.gaps), tuple(walk.ran), walk.resets)


class _Walk:
    def __init__(self, gap_s: float) -> None:
        self.gap_s = gap_s
        self.begin_s: float | None = None
        self.since_s = 0.0  # of the beginning, or of the end of the last gap
        self.last_s: float | None = None  # of the last known look
        self.last: dict[str, tuple[float, Reading]] = {}  # of every replica ever read
        self.starting: set[str] = set()  # replicas that were seen before they served
        self.carried = 0.0  # arrivals below zero: pending fell before the counter rose
        self.steps: list[Step] = []
        self.gaps: list[Gap] = []
        self.ran: list[tuple[float, int]] = []
        self.resets = 0

    def take(self, look: Look) -> None:
        """The next look."""
        if not look.is_known:
            return
        if self.last_s is None:
            self.begin_s = self.since_s = look.at_s
        elif look.at_s <= self.last_s:
            return
        elif look.at_s - self.last_s > self.gap_s:
            self.gaps.append(Gap(self.last_s, look.at_s))
            self.since_s, self.starting = look.at_s, set()
        else:
            self.steps.append(self._step(look, self.last_s))
        self.last.update((name, (look.at_s, reading)) for name, reading in look.readings.items())
        self.starting |= look.starting
        self.last_s = look.at_s
        replicas = len(look.readings) if look.replicas is None else look.replicas
        if not self.ran or self.ran[-1][1] != replicas:
            self.ran.append((look.at_s, replicas))

    def _step(self, look: Look, since_s: float) -> Step:
        step = Step(since_s, look.at_s)
        for name, new in look.readings.items():
            if name in self.last:
                read_s, old = self.last[name]
                late = self._add(step, old, new)
                if read_s < since_s and late > 0.0:  # it was not read for a while: what came is spread over that
                    self._spread(step, read_s, late)
            elif self._is_new(name, new, look.at_s, since_s):
                self._add(step, Reading(0.0), new)
        step.arrivals += self.carried
        self.carried, step.arrivals = min(0.0, step.arrivals), max(0.0, step.arrivals)
        return step

    def _is_new(self, name: str, reading: Reading, now_s: float, since_s: float) -> bool:
        if name in self.starting:
            return True
        # In the first looks replicas are met that have served for long.
        begun_s = reading.started_at_s
        return begun_s is not None and begun_s >= since_s - NEW_S and now_s - self.since_s > self.gap_s

    def _spread(self, step: Step, read_s: float, arrivals: float) -> None:
        """Move arrivals out of a step into those since a time, by their length."""
        over_s = step.until_s - max(read_s, self.since_s)
        for earlier in reversed(self.steps):
            if earlier.until_s <= read_s or earlier.from_s < self.since_s:
                break
            part = arrivals * (earlier.until_s - max(earlier.from_s, read_s)) / over_s
            earlier.arrivals += part
            step.arrivals -= part

    def _add(self, step: Step, old: Reading, new: Reading) -> float:
        """Take one replica's rise into a step; gives its arrivals."""
        came = 0.0
        if new.arrivals is not None:
            was = old.arrivals or 0.0
            is_reset = new.arrivals < was
            self.resets += is_reset
            rise = new.arrivals if is_reset else new.arrivals - was
            step.counted += rise
            came = rise + new.pending - (0.0 if is_reset else old.pending)
            step.arrivals += came
        step.prompt_tokens = _sum(step.prompt_tokens, _rise(old.prompt_tokens, new.prompt_tokens))
        step.output_tokens = _sum(step.output_tokens, _rise(old.output_tokens, new.output_tokens))
        step.prompt_sizes.add(old.prompt_sizes, new.prompt_sizes)
        step.output_sizes.add(old.output_sizes, new.output_sizes)
        return came


def _rise(old: float | None, new: float | None) -> float | None:
    if new is None:
        return None
    return new if old is None or new < old else new - old


def _sum(one: float | None, other: float | None) -> float | None:
    return other if one is None else one + (other or 0.0)
