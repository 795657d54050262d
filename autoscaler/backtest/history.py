"""What a source told: requests in order, what ran, and the times for which nothing is known.

Law: times are seconds from the first known moment, with the gaps cut out: the clock stands still while nothing is
known, so no policy is scored on it. `Timeline` turns them back into the source's own times.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from autoscaler.core.errors import ConfigError, Problem
from autoscaler.simulation.engines import Floats
from autoscaler.simulation.trace import Trace

Plan = tuple[tuple[float, int], ...]

UNIX_FROM_S = 1e8  # 1973: numbers below are seconds from some start, above Unix time
LISTED = 20  # gaps named one by one


@dataclass(frozen=True, slots=True)
class Gap:
    """A span without data, in the source's own seconds."""

    from_s: float
    until_s: float

    @property
    def length_s(self) -> float:
        """Seconds."""
        return self.until_s - self.from_s


@dataclass(frozen=True, slots=True)
class Timeline:
    """From the source's seconds to those of the simulation, and back."""

    begin_s: float  # in the source's own seconds
    gaps: tuple[Gap, ...] = ()  # in order, not overlapping

    @property
    def is_unix(self) -> bool:
        """Whether the source's seconds are Unix time."""
        return self.begin_s >= UNIX_FROM_S

    def simulated(self, source_s: Floats) -> Floats:
        """Simulation seconds of source seconds; a time inside a gap is the gap's beginning."""
        lost = np.zeros_like(source_s)
        for gap in self.gaps:
            lost += np.clip(source_s - gap.from_s, 0.0, gap.length_s)
        return source_s - self.begin_s - lost

    def source(self, simulated_s: float) -> float:
        """Source seconds of a simulation second."""
        at_s = simulated_s + self.begin_s
        for gap in self.gaps:
            if at_s >= gap.from_s:
                at_s += gap.length_s
        return at_s

    def words(self, source_s: float) -> str:
        """A source second as people write it."""
        if source_s >= UNIX_FROM_S:
            return datetime.fromtimestamp(source_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        return f"{source_s:,.0f} s"


@dataclass(frozen=True, slots=True)
class Told:
    """What a source said, in its own seconds; before gaps are cut out."""

    arrival_s: Floats
    prompt_tokens: Floats
    output_tokens: Floats
    begin_s: float
    end_s: float
    gaps: tuple[Gap, ...] = ()
    ran: Plan | None = None  # (second, replicas), in order
    ran_are_ready: bool = False  # the counts are of serving replicas, not of those asked for
    resets: int = 0  # of counters
    reconstructed: str | None = None  # how requests came out of counters; None: they were recorded one by one
    facts: tuple[str, ...] = ()  # what was read, as sentences
    warnings: tuple[str, ...] = ()
    service: str | None = None  # namespace/name, where the source names it


@dataclass(frozen=True, slots=True)
class History:
    """A source's requests on the simulation's clock."""

    source: str
    kind: str  # requests, flight record, prometheus
    trace: Trace
    end_s: float
    timeline: Timeline
    ran: Plan | None
    ran_are_ready: bool
    resets: int
    reconstructed: str | None
    facts: tuple[str, ...]
    warnings: tuple[str, ...] = field(default=())
    service: str | None = None  # namespace/name, where the source names it

    @property
    def gap_share(self) -> float:
        """Share of the whole span for which nothing is known."""
        lost_s = sum(gap.length_s for gap in self.timeline.gaps)
        return lost_s / max(1e-9, self.end_s + lost_s)


def history(source: str, kind: str, told: Told, most_gap_share: float) -> History:
    """Cut the gaps out. Raises ConfigError: no requests, no span, or gaps over more than `most_gap_share` of it."""
    gaps = tuple(gap for gap in told.gaps if gap.length_s > 0.0)
    timeline = Timeline(told.begin_s, gaps)
    lost_s, span_s = sum(gap.length_s for gap in gaps), told.end_s - told.begin_s
    found: list[Problem] = []
    if len(told.arrival_s) < 2 or span_s - lost_s <= 0.0:
        found.append(
            Problem("requests", f"{len(told.arrival_s)} in {span_s - lost_s:,.0f} s", "at least two, and time")
        )
    elif lost_s > most_gap_share * span_s:
        listed = "; ".join(f"{timeline.words(g.from_s)} to {timeline.words(g.until_s)}" for g in gaps[:LISTED])
        expected = f"at most {most_gap_share:.0%} (--most-gap-share), or --gaps idle if nothing came in those times"
        found.append(Problem("gaps", f"{lost_s / span_s:.0%} of the span without data: {listed}", expected))
    if found:
        raise ConfigError(source, tuple(found))
    inside = np.ones(len(told.arrival_s), dtype=bool)
    for gap in gaps:
        inside &= ~((told.arrival_s > gap.from_s) & (told.arrival_s < gap.until_s))
    arrival_s = timeline.simulated(told.arrival_s[inside])
    warnings = list(told.warnings)
    if gaps:
        listed = "; ".join(f"{timeline.words(g.from_s)} to {timeline.words(g.until_s)}" for g in gaps[:LISTED])
        more = f" and {len(gaps) - LISTED} more" if len(gaps) > LISTED else ""
        warnings.append(f"No data, excluded ({lost_s / span_s:.1%} of the span): {listed}{more}.")
    if told.resets:
        warnings.append(
            f"{told.resets} counter reset{'s' if told.resets > 1 else ''} (a server restarted): counted on from zero."
        )
    trace = Trace(arrival_s, told.prompt_tokens[inside], told.output_tokens[inside])
    return History(
        source,
        kind,
        trace,
        span_s - lost_s,
        timeline,
        _plan(told.ran, timeline, span_s - lost_s),
        told.ran_are_ready,
        told.resets,
        told.reconstructed,
        told.facts,
        tuple(warnings),
        told.service,
    )


def _plan(ran: Plan | None, timeline: Timeline, end_s: float) -> Plan | None:
    """Changes of what ran on the simulation's clock; the first stands at zero."""
    if not ran:
        return None
    changes: list[tuple[float, int]] = []
    times = timeline.simulated(np.array([at_s for at_s, _ in ran], dtype=np.float64))
    for at_s, (_, count) in zip(times.tolist(), ran, strict=True):
        if at_s >= end_s:
            break
        at_s = max(0.0, at_s)  # noqa: PLW2901
        if changes and changes[-1][0] == at_s:
            changes.pop()
        if not changes or changes[-1][1] != count:
            changes.append((at_s, count))
    if not changes:  # it ends before the history begins: as it was last
        changes = [(0.0, ran[-1][1])]
    return ((0.0, changes[0][1]), *changes[1:])
