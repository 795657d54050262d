"""KubeAI: the mean of requests in flight at its proxies over ten minutes, over a target per replica.

Source: kubeai-project/kubeai internal/modelautoscaler, internal/modelclient/scale.go, internal/movingaverage. The
window of a new model starts as sixty zeros, so a step of load needs minutes to be believed. Up at once; a smaller
count is obeyed from the fourth in a row on. From zero the first request makes one. Ours: a tick without a new page is
skipped. The settings are the target.
"""

from __future__ import annotations

import math

from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.signals import in_flight
from autoscaler.simulation.view import View

INTERVAL_S = 10.0
WINDOW = 60  # samples
SUPPRESSED = 3  # smaller counts in a row: a scale-down delay of 30 s over the interval
TARGETS = (3.0, 6.0, 12.0, 24.0, 48.0, 100.0)


class KubeAi:
    """One model's autoscaler."""

    period_s = INTERVAL_S
    scrape_s = INTERVAL_S

    def __init__(self, target: float, least: int, most: int) -> None:
        self.target = target
        self.least, self.most = least, most
        self.window = [0] * WINDOW
        self.taken = 0
        self.page_s = -math.inf
        self.smaller = 0

    def decide(self, view: View, now_s: float) -> int:
        """The mean over the target, unless it is one of the first smaller ones."""
        if view.at_s <= self.page_s:
            return view.spec
        self.page_s = view.at_s
        self.window[self.taken % WINDOW] = in_flight(view)
        self.taken += 1
        if view.spec == 0 and view.held:
            return 1
        mean = sum(self.window) / WINDOW
        asked = min(max(math.ceil(mean / self.target), self.least), self.most)
        if asked >= view.spec:
            self.smaller = 0
            return asked
        self.smaller += 1
        return asked if self.smaller > SUPPRESSED else view.spec


def _setting(target: float) -> Setting:
    def build(deployment: Deployment) -> KubeAi:
        return KubeAi(target, deployment.min_replicas, deployment.max_replicas)

    return Setting(f"target={target:g}", build, default=target == 100.0)


PEERS: tuple[Peer, ...] = (
    Peer("kubeai", "kubeai-project/kubeai internal/modelautoscaler", tuple(map(_setting, TARGETS))),
)
