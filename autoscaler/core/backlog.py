"""What waits already: the replicas that also work it off, counting what will have gathered when new ones serve.

Law: what serves and what loads counts for as long as it serves before a replica asked for now would; what is stuck
never.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoscaler.core.records import Reason
from autoscaler.core.starting import Lead
from autoscaler.core.tracking import Tick

BACKLOG_S = 0.5  # seconds of arrivals that may wait before it is a backlog
CLEAR_S = 10.0  # a backlog is worked off within this time where most of the fleet has yet to start,
# and within this where half of it serves: there it is a burst among what serves anyway. Ten seconds asked
# DeepSeek-R1 for 1 to 8 % more GPU-hours; a minute everywhere cost the demo, which starts at zero, two points.
CALM_CLEAR_S = 60.0
CALM_PART = 0.5


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits at one time, and what comes on top."""

    tick: Tick
    held: float  # requests outside
    rate_rps: float
    now: float

    @property
    def requests(self) -> float:
        """All that wait, inside and outside."""
        return self.tick.waiting + self.held

    def gathered(self, saturation_rps: float, lead: Lead) -> float:
        """What will wait when a replica asked for now serves, if each replica works off `saturation_rps` until then."""
        coming_s = sum(lead.served_s(replica, self.now) for replica in self.tick.coming)
        serving_s = len(self.tick.ready) * lead.total_s + coming_s
        return max(0.0, self.requests + self.rate_rps * lead.total_s - saturation_rps * serving_s)


def with_backlog(
    floor: int, waiting: Waiting, capacity_rps: float, saturation_rps: float, lead: Lead
) -> tuple[int, Reason | None]:
    """Replicas for the rate, `floor`, and for what waits; and why, where that is more.

    `capacity_rps` is what one carries inside the objective, `saturation_rps` what one works off at most.
    """
    serving = len(waiting.tick.ready)
    # A few waiting requests are the ordinary granularity of prefill, not a backlog.
    if waiting.requests <= 2.0 * max(1, serving) + BACKLOG_S * waiting.rate_rps:
        return floor, None
    gathered = waiting.gathered(saturation_rps, lead)
    # Beyond the rate inside the objective a replica still works off its queue, but nobody it serves meets the limits.
    clearing_rps = max(1e-6, 0.5 * (capacity_rps + saturation_rps))
    clear_s = CALM_CLEAR_S if serving and serving >= CALM_PART * floor else CLEAR_S
    needed = math.ceil((waiting.rate_rps + gathered / clear_s) / clearing_rps - 1e-9)
    if needed <= floor:
        return floor, None
    waits, later = f"{waiting.requests:.0f} requests wait", f"{gathered:.0f} when new ones serve"
    text = f"{waits}, {later}: {needed} clear them in {clear_s:.0f} s"
    numbers = (("waiting", waiting.requests), ("gathered", gathered), ("replicas", float(needed)))
    return needed, Reason("backlog", text, numbers)
