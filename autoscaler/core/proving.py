"""What pages have proven a replica to carry, and how far below a fleet may go at once on what they have not.

Law: a rate that was carried for a minute inside the objective is proven for good, and one decrease asks for at most
`STEP` times that of each replica. Beyond it a fleet shrinks by `STEP` a minute, so that it never stays for want of
proof. Where pages tell no latencies nothing is proven and nothing is limited.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

CHUNK_S = 60.0
LEAST_REQUESTS = 10.0  # in a chunk, which is longer until they came
STEP = 1.25  # times what is proven. Sizes read too early asked for 1.8 times what was true (the demo's first minutes)


@dataclass(slots=True)
class Proof:
    """The largest rate of a replica that was carried inside the objective, and the minute in the making."""

    each_rps: float | None = None  # None: no page told a latency yet
    arrived: float = 0.0
    replica_s: float = 0.0
    seconds: float = 0.0
    requests: float = 0.0
    missed: float = 0.0
    stepped_s: float | None = None  # when it last went beyond what is proven

    def drop(self) -> None:
        """Forget the minute in the making."""
        self.arrived = self.replica_s = self.seconds = self.requests = self.missed = 0.0

    def note(self, arrived: float, replica_s: float, seconds: float) -> None:
        """Take what came in one tick: `arrived` requests over `replica_s` replica-seconds."""
        self.arrived += arrived
        self.replica_s += replica_s
        self.seconds += seconds

    def judge(self, requests: float, missed: float, allowed: float) -> None:
        """Take the requests that pages told of, and those outside the objective; `allowed` is the share that may be."""
        if self.each_rps is None:
            self.each_rps = 0.0
        self.requests += requests
        self.missed += missed
        if self.seconds < CHUNK_S or self.requests < LEAST_REQUESTS or self.replica_s <= 0.0:
            return
        if self.missed <= allowed * self.requests:
            self.each_rps = max(self.each_rps, self.arrived / self.replica_s)
        self.drop()

    def least(self, rate_rps: float, wanted: int, asked: int, now: float) -> int:
        """The count to go to from `asked` replicas at this rate where `wanted` are wanted."""
        if self.each_rps is None or wanted >= asked or rate_rps <= wanted * STEP * self.each_rps:
            return wanted
        if rate_rps <= (asked - 1) * STEP * self.each_rps:
            return math.ceil(rate_rps / (STEP * self.each_rps) - 1e-9)
        if self.stepped_s is not None and now < self.stepped_s + CHUNK_S:
            return asked
        self.stepped_s = now
        return max(wanted, min(asked - 1, math.ceil(asked / STEP)))
