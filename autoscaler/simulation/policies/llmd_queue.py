"""llm-d's KEDA blueprint on the endpoint picker's queue and running requests, plain and with the overshoot guard.

Source: llm-d/llm-d docs/architecture/advanced/autoscaling/keda-epp.md, guides/workload-autoscaling/keda-epp. Requests
queued over 1 and running over 16, both AverageValue, polling 15 s, cooldown 300 s, windows of 300 s up and down, at
most a doubling in 15 s. The guard is one formula in replicas, target 1, without a window up: demand up to the replicas
there are counts as it is, above it less those not ready yet. As published its demand is the queue alone, which stays 0
below saturation; with `running`, as an overlay before had it, it is the larger of both. KEDA takes a formula's result
for its activity, so where zero is allowed the guard without `running` goes there while requests run. Published bounds
(1 to 8) are the deployment's.

Ours: requests are routed at once here, so the picker's queue is what waits at the gateway and what waits in servers
beyond the 5 each that its saturation detector lets through. The queue's series begins when a replica was first ready:
a fresh pool at 0 never wakes. When no page answers the picker's own counts are those of the last look. Settings but
the default size the window up by the measured start, as the guide says, and for the smallest target leave it out, as
the guide before did; their running requests are around the best in hindsight on eight traces, 2 to 75.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from autoscaler.simulation.hpa import DEFAULT_DOWN, PERCENT, KedaParams, policies
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import SCRAPE_S
from autoscaler.simulation.policy import AverageValue, Metric
from autoscaler.simulation.view import View

QUEUED = 1.0  # requests per replica
PUBLISHED = 16.0  # running requests per replica
NO_WINDOW, START = "0", "start"  # of the window up
RUNNING = ((PUBLISHED, "300"), (2.0, NO_WINDOW), (12.0, START), (17.0, START), (23.0, START), (42.0, START))
GUARDED = (None, 2.0, 12.0, PUBLISHED, 22.0, 42.0)
POLLING_S = 15.0
DOUBLE = policies((PERCENT, 100.0, 15.0))
LET_THROUGH = 5  # requests waiting in a server at which the saturation detector calls it full


def queued(view: View) -> int:
    """Requests that the endpoint picker's flow control would hold."""
    return view.held + max(0, int(view.waiting.sum()) - LET_THROUGH * view.ready)


def dispatched(view: View) -> int:
    """Requests that it sent to servers and that are not finished."""
    inside = int(view.waiting.sum()) + int(view.running.sum())
    return inside + view.held - queued(view)


class LlmdQueue:
    """Queue and running requests, each over its target."""

    scrape_s = SCRAPE_S

    def __init__(self, running: float, window_s: float) -> None:
        self.running = running
        self.keda = KedaParams(DOUBLE._replace(stabilization_s=window_s), DEFAULT_DOWN, polling_interval_s=POLLING_S)
        self.has_series = False
        self.was_asked = False

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """Requests queued and requests running."""
        return (AverageValue(self._queued(view), QUEUED), AverageValue(float(dispatched(view)), self.running))

    def active(self, view: View, now_s: float) -> bool:
        """Whether anything is queued or runs; replicas that serve when it is first asked count."""
        is_first, self.was_asked = not self.was_asked, True
        return self._queued(view) > 0.0 or dispatched(view) > 0 or (is_first and view.ready > 0)

    def _queued(self, view: View) -> float:
        self.has_series = self.has_series or view.ready > 0
        return float(queued(view)) if self.has_series else 0.0


class LlmdQueueGuard(LlmdQueue):
    """Demand in replicas, discounted by those that come."""

    def __init__(self, running: float | None) -> None:
        super().__init__(math.inf if running is None else running, 0.0)

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """The replicas wanted."""
        return (AverageValue(self._wanted(view), 1.0),)

    def active(self, view: View, now_s: float) -> bool:
        """Whether the formula gives more than 0; replicas that serve when it is first asked count."""
        is_first, self.was_asked = not self.was_asked, True
        return self._wanted(view) > 0.0 or (is_first and view.ready > 0)

    def _wanted(self, view: View) -> float:
        demand = max(self._queued(view) / QUEUED, dispatched(view) / self.running)
        unavailable = max(0, view.spec - view.ready)
        return demand if demand <= view.spec else max(demand - unavailable, float(view.spec))


def _setting(running: float, window: str) -> Setting:
    def build(deployment: Deployment) -> LlmdQueue:
        return LlmdQueue(running, deployment.starts.mean_s if window == START else float(window))

    return Setting(f"running={running:g} window={window}", build, default=(running, window) == RUNNING[0])


def _guarded(running: float | None) -> Setting:
    def build(_: Deployment) -> LlmdQueueGuard:
        return LlmdQueueGuard(running)

    return Setting("running=off" if running is None else f"running={running:g}", build, default=running is None)


_SOURCE = "llm-d/llm-d docs/architecture/advanced/autoscaling/keda-epp.md"
PEERS: tuple[Peer, ...] = (
    Peer("llmd-queue", _SOURCE, tuple(_setting(*one) for one in RUNNING)),
    Peer("llmd-queue-guard", _SOURCE, tuple(_guarded(running) for running in GUARDED)),
)
