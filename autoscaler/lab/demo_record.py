"""What the demo remembers of its run, and the figures it draws from that."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

from autoscaler.core.records import Objective


@dataclass(frozen=True, slots=True)
class Served:
    """One request of the trace, as its user saw it; times are trace seconds, from its arrival at the front queue."""

    arrival_s: float
    first_token_s: float | None  # None: lost
    finish_s: float | None
    output_tokens: int
    held: bool = False  # it waited while nothing ran

    def good(self, objective: Objective) -> bool:
        """Whether both limits were met: TTFT from arrival, TPOT as the mean over the tokens after the first."""
        if self.first_token_s is None or self.finish_s is None:
            return False
        if self.first_token_s - self.arrival_s > objective.ttft_s:
            return False
        tokens = self.output_tokens - 1
        return tokens <= 0 or (self.finish_s - self.first_token_s) / tokens <= objective.tpot_s


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of the whole loop at one time, for the live view and the chart."""

    at_s: float
    asked: int  # replicas the scaler asks for
    spec: int  # replicas KEDA and the HPA have set
    ready: int
    arrivals_rps: float
    held: int
    running: int
    mode: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScaleStep:
    """One change of the replica count: when, from what to what, by whom, and the scaler's reason at that time."""

    at_s: float
    before: int
    after: int
    by: str  # push, poll or hpa
    reason: str


@dataclass(slots=True)
class Run:
    """Everything recorded while the demo runs."""

    objective: Objective
    trace_s: float
    offered: int  # requests in the trace
    served: list[Served] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    steps: list[ScaleStep] = field(default_factory=list)
    submitted: int = 0
    good: int = 0

    def add(self, served: Served) -> None:
        """Take the outcome of one request."""
        self.served.append(served)
        self.good += served.good(self.objective)

    @property
    def attainment(self) -> float:
        """Share of the finished requests that met both limits; 1 before the first."""
        return self.good / len(self.served) if self.served else 1.0

    @property
    def lost(self) -> int:
        """Requests that never got a whole answer."""
        return sum(one.finish_s is None for one in self.served)

    def reached_zero(self) -> bool:
        """Whether the fleet was at zero again after it had run."""
        ran = next((i for i, moment in enumerate(self.moments) if moment.spec > 0), None)
        return ran is not None and any(m.spec == 0 and m.ready == 0 for m in self.moments[ran:])

    def woke_by_push(self) -> bool:
        """Whether the first step away from zero came by the push stream."""
        first = next((step for step in self.steps if step.before == 0), None)
        return first is not None and first.by == "push"

    def attainment_by_minute(self) -> list[tuple[float, float, int]]:
        """(minute start in trace seconds, attainment, requests) of every minute with arrivals."""
        starts = [60.0 * i for i in range(int(self.trace_s // 60) + 1)]
        good = [0] * len(starts)
        count = [0] * len(starts)
        for one in self.served:
            minute = max(0, bisect.bisect_right(starts, one.arrival_s) - 1)
            count[minute] += 1
            good[minute] += one.good(self.objective)
        return [(s, g / n, n) for s, g, n in zip(starts, good, count, strict=True) if n]
