"""Kthena's autoscaler on a latency: the 95th percentile of a histogram of every pod, over a target.

Source: volcano-sh/kthena pkg/autoscaler (autoscaler/metric_collector.go, histogram); the rule is that of `kthena`. A
histogram counts as its 95th percentile over a sliding 60 s. As coded the percentiles of all pods are summed, which for
a latency is the ratio rule (replicas times percentile over target) with a tolerance that is right for one pod only.

Ours: a pod without an observation in the window counts 0; percentiles are interpolated in the page's buckets. No
target is published: the default is the TTFT limit itself, the other settings are shares of it and of the TPOT limit,
which is the one that is missed first where steps take many tokens.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from autoscaler.simulation.engines import TPOT_BOUNDS, TTFT_BOUNDS, Ints
from autoscaler.simulation.policies.kthena import Kthena
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.rates import bucket_quantile
from autoscaler.simulation.view import View

QUANTILE, WINDOW_S = 0.95, 60.0
TTFT, TPOT = "ttft", "tpot"
LIMIT = (TTFT, 1.0)
TARGETS = (LIMIT, (TTFT, 0.3), (TTFT, 0.15), (TPOT, 1.2), (TPOT, 1.0), (TPOT, 0.8))


class KthenaLatency(Kthena):
    """One policy with one histogram, as coded."""

    def __init__(self, metric: str, target_s: float, least: int, most: int) -> None:
        super().__init__(metric, target_s, least, most, is_intended=False)
        self.pages: deque[tuple[float, Ints, Ints]] = deque()  # when, lives, observations per bucket

    def total(self, view: View) -> float:
        """The sum of the pods' percentiles; seconds."""
        counts = view.ttft if self.metric == TTFT else view.tpot
        self.pages.append((view.at_s, view.serial, counts))
        while len(self.pages) > 2 and self.pages[1][0] <= view.at_s - WINDOW_S:
            self.pages.popleft()
        bounds = TTFT_BOUNDS if self.metric == TTFT else TPOT_BOUNDS
        return sum(bucket_quantile(bounds, row, QUANTILE) or 0.0 for row in self._new(view, counts))

    def _new(self, view: View, counts: Ints) -> Ints:
        """Observations of the window; all of them where the pod is younger or its counters began again."""
        _, serial, former = self.pages[0]
        new = counts.copy()
        _, here, there = np.intersect1d(view.serial, serial, return_indices=True)
        if self.pages[0][0] < view.at_s:
            new[here] -= former[there]
        began_again = (new < 0).any(axis=1)
        new[began_again] = counts[began_again]
        return new


def _setting(metric: str, share: float) -> Setting:
    def build(deployment: Deployment) -> KthenaLatency:
        limit_s = deployment.objective.ttft_s if metric == TTFT else deployment.objective.tpot_s
        return KthenaLatency(metric, share * limit_s, max(1, deployment.min_replicas), deployment.max_replicas)

    return Setting(f"metric={metric} share={share:g}", build, default=(metric, share) == LIMIT)


PEERS: tuple[Peer, ...] = (
    Peer("kthena-latency", "volcano-sh/kthena pkg/autoscaler", tuple(_setting(*one) for one in TARGETS)),
)
