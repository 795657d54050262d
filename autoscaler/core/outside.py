"""What waits outside the replicas: requests that gateways hold, and wishes of the wake API.

Law: at a wake-up the gateway's own count is the rate. What it lets go reaches servers at once: a hundred held requests
read as 7 req/s there until they have left the window.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autoscaler.core.expecting import SHORT_S
from autoscaler.core.records import HeldReading, Observation
from autoscaler.core.series import Window, increase, usable

HELD_RATE_S = 12.0  # a gateway's arrivals while it holds some: at a wake-up seconds count
HELD_RECENT_S = 30.0  # the same in the minute after, when a mean over a minute lags behind what woke it
HELD_RATE_LEAST_S = 2.0
LONG_S = 240.0  # so long a gateway's count stays the rate: the longest mean that is taken from servers' counters


@dataclass(slots=True)
class Gateway:
    """The last reading of one wake source."""

    at_s: float
    arrivals: float | None = None


@dataclass(slots=True)
class Gateways:
    """What is remembered of all wake sources of a service."""

    last: dict[str, Gateway] = field(default_factory=dict)
    arrivals: Window = field(default_factory=lambda: Window(LONG_S, 1.0))
    held_at_s: float | None = None  # last time requests waited at one

    def take(self, reading: HeldReading) -> float:
        """Take one reading; gives what came in since the last one."""
        if reading.arrivals is not None and not usable(reading.arrivals):
            return 0.0
        last = self.last.get(reading.source)
        self.last[reading.source] = Gateway(reading.at_s, reading.arrivals)
        if last is None or reading.at_s <= last.at_s:
            return 0.0
        arrived = increase(last.arrivals, reading.arrivals)
        if arrived is None:
            return 0.0
        self.arrivals.add(last.at_s, reading.at_s, arrived)
        return arrived

    def rate_rps(self, now: float, *, holding: bool) -> float | None:
        """Arrivals per second at the gateways; None once what they held has left the servers' windows."""
        if self.held_at_s is None or now - self.held_at_s > LONG_S:
            return None
        lately = now - self.held_at_s <= SHORT_S
        spans_s = (HELD_RATE_S,) if holding else (HELD_RECENT_S, SHORT_S) if lately else (SHORT_S, LONG_S)
        return max(self._rate_rps(now, span_s) for span_s in spans_s)

    def _rate_rps(self, now: float, span_s: float) -> float:
        """At a wake-up the window reaches back to an empty past and is cut."""
        covered_s, (arrived,) = self.arrivals.totals(now, span_s)
        since_s = next((entry[0] for entry in self.arrivals.entries if entry[2] > 0 and entry[1] > now - span_s), now)
        return arrived / max(HELD_RATE_LEAST_S, min(covered_s, now - since_s))


@dataclass(frozen=True, slots=True)
class Outside:
    """What waits outside now."""

    held: float
    rate_rps: float | None
    came: float  # requests that came since the last observation
    blind: bool  # a wake source is set but has not spoken lately
    woken: int


def outside_of(gateways: Gateways, observation: Observation, now: float) -> Outside:
    """Take what an observation tells of gateways and wishes."""
    spec = observation.spec
    held, came, fresh = 0.0, 0.0, 0
    for reading in observation.held:
        came += gateways.take(reading)
        if now - reading.at_s <= spec.stale_after_s and (usable(reading.held) or usable(reading.arrivals)):
            fresh += 1
            held += reading.held if usable(reading.held) and reading.held is not None else 0.0
    if held > 0.0:
        gateways.held_at_s = now
    rate_rps = gateways.rate_rps(now, holding=held > 0.0)
    woken = max((wake.replicas for wake in observation.wakes if wake.expires_at_s > now), default=0)
    return Outside(held, rate_rps, came, spec.has_wake_source and fresh == 0, woken)
