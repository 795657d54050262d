"""Knative's pod autoscaler, which serverless KServe uses: concurrency over a target, with a panic mode for bursts.

Source: knative/serving pkg/autoscaler/scaling (and pkg/reconciler/autoscaling/kpa for the way to zero). Desired
replicas are the mean concurrency of the last 60 s over the target; when the last 6 s ask for twice what is ready it
panics: for 60 s it only scales up. Ours: concurrency is read every 2 s instead of averaged inside the proxies, and a
tick without a new page keeps the replicas. The settings are the container concurrency, of which 0.7 is the target.
"""

from __future__ import annotations

import math

from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.signals import Samples, in_flight
from autoscaler.simulation.view import View

TICK_S = 2.0
STABLE_WINDOW_S = 60.0
PANIC_WINDOW_S = 6.0  # 10 % of the stable one
PANIC_THRESHOLD = 2.0  # desired over ready
MOST_UP, MOST_DOWN = 1000.0, 2.0  # times what is ready, in one step
TO_ZERO_GRACE_S = 30.0
UTILIZATION = 0.7  # of the container concurrency
CONCURRENCIES = (4.0, 8.0, 16.0, 29.0, 53.0, 100.0)


class Knative:
    """The KPA on total concurrency."""

    period_s = TICK_S
    scrape_s = TICK_S

    def __init__(self, target: float) -> None:
        self.target = target
        self.seen = Samples(STABLE_WINDOW_S)
        self.panic_s: float | None = None  # when it was last over the threshold; None: stable
        self.panic_replicas = 0
        self.idle_from_s: float | None = None

    def decide(self, view: View, now_s: float) -> int:
        """The replicas that concurrency asks for."""
        if not self.seen.is_new(view.at_s):
            return view.spec
        if not self.seen.kept and view.ready > 1:  # a new autoscaler keeps what it finds for one window
            self.panic_s, self.panic_replicas = now_s, view.ready
        self.seen.add(view.at_s, float(in_flight(view)))
        ready = max(1, view.ready)
        stable = math.ceil(self.seen.mean() / self.target)
        panic = math.ceil(self.seen.mean(PANIC_WINDOW_S) / self.target)
        low, high = math.floor(ready / MOST_DOWN), math.ceil(ready * MOST_UP)
        wanted = min(max(stable, low), high)
        if self._panics(panic / ready >= PANIC_THRESHOLD, now_s):
            self.panic_replicas = max(self.panic_replicas, wanted, min(max(panic, low), high))
            wanted = self.panic_replicas
        return self._after_grace(wanted, now_s)

    def _panics(self, is_over: bool, now_s: float) -> bool:
        if is_over:
            self.panic_s = now_s
        elif self.panic_s is not None and now_s - self.panic_s > STABLE_WINDOW_S:
            self.panic_s, self.panic_replicas = None, 0
        return self.panic_s is not None

    def _after_grace(self, wanted: int, now_s: float) -> int:
        """The last replica stays for the grace period after nothing is wanted."""
        if wanted > 0:
            self.idle_from_s = None
            return wanted
        if self.idle_from_s is None:
            self.idle_from_s = now_s
        return 0 if now_s - self.idle_from_s >= TO_ZERO_GRACE_S else 1


def _setting(concurrency: float) -> Setting:
    def build(_: Deployment) -> Knative:
        return Knative(UTILIZATION * concurrency)

    return Setting(f"concurrency={concurrency:g}", build, default=concurrency == 100.0)


PEERS: tuple[Peer, ...] = (
    Peer("knative", "knative/serving pkg/autoscaler/scaling", tuple(map(_setting, CONCURRENCIES))),
)
