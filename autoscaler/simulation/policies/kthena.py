"""Kthena's homogeneous autoscaler: a sum over pods over a target, dampened while pods are not ready.

Source: volcano-sh/kthena pkg/autoscaler (algorithm/recommendation.go, algorithm/revision.go), behaviour defaults of
its API. As coded the sum over pods counts as one pod's value, so its tolerance compares the sum with one target:
four pods at 1.05 targets together stay four, at 1.2 together become two. As intended (and in its newest source) the
mean is compared. Panic is off, as published. The default is its guide's 10 waiting requests; the other settings are
requests in a pod. Ours: a tick without a new page is skipped, as it skips one with a failing scrape; the published
bounds are the deployment's, at least 1 as its API demands.
"""

from __future__ import annotations

import math

from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.signals import Samples
from autoscaler.simulation.view import View

SYNC_S = 15.0
TOLERANCE = 0.1
UP_PERIOD_S, UP_INSTANCES, UP_SHARE = 60.0, 4, 1.0  # the larger of the two, on the fewest of the period
DOWN_WINDOW_S = 300.0  # the largest recommendation counts
WAITING, REQUESTS = "waiting", "requests"
GUIDE = (WAITING, 10.0)
TARGETS = (GUIDE, (REQUESTS, 3.5), (REQUESTS, 7.5), (REQUESTS, 16.0), (REQUESTS, 34.0), (REQUESTS, 72.0))
_MOMENT_S = 1e-3  # its windows include what is exactly as old as they are long


class Kthena:
    """One policy with one pod metric."""

    period_s = SYNC_S
    scrape_s = SYNC_S

    def __init__(self, metric: str, target: float, least: int, most: int, *, is_intended: bool) -> None:
        self.metric = metric
        self.target = target
        self.least, self.most = least, most
        self.is_intended = is_intended
        self.page_s = -math.inf
        self.asked = Samples(DOWN_WINDOW_S + _MOMENT_S)
        self.held = Samples(UP_PERIOD_S + _MOMENT_S)  # replicas, each at the end of a period of 15 s

    def decide(self, view: View, now_s: float) -> int:
        """The recommendation, corrected by what was recommended and done before."""
        if view.at_s <= self.page_s or not view.ready:
            return max(view.spec, self.least)
        self.page_s = view.at_s
        self.held.add(now_s, float(view.spec))
        asked = min(max(self._recommended(view), self.least), self.most)
        self.asked.add(now_s, float(asked))
        if asked < view.spec:
            return min(view.spec, int(self.asked.largest()))
        fewest = int(self.held.smallest())
        return max(view.spec, min(asked, fewest + max(UP_INSTANCES, int(UP_SHARE * fewest))))

    def total(self, view: View) -> float:
        """The metric, summed over pods."""
        return float((view.waiting if self.metric == WAITING else view.waiting + view.running).sum())

    def _recommended(self, view: View) -> int:
        if not self.least <= view.spec <= self.most:
            return self.least if view.spec < self.least else self.most
        total = self.total(view)
        pods = view.ready if self.is_intended else 1  # as coded the sum is one pod's
        unready = max(0, view.spec - view.ready)
        ratio = total / (pods * self.target)
        if unready and ratio >= 1.0:
            pods += unready
            ratio = total / (pods * self.target)
            if ratio < 1.0:
                return view.spec
        if abs(ratio - 1.0) <= TOLERANCE:
            return view.spec
        wanted = math.ceil(ratio * pods - 1e-9)
        return max(wanted, view.spec) if unready and ratio >= 1.0 else wanted


def _setting(metric: str, target: float, *, is_intended: bool) -> Setting:
    def build(deployment: Deployment) -> Kthena:
        return Kthena(metric, target, max(1, deployment.min_replicas), deployment.max_replicas, is_intended=is_intended)

    return Setting(f"metric={metric} target={target:g}", build, default=(metric, target) == GUIDE)


_SOURCE = "volcano-sh/kthena pkg/autoscaler"
PEERS: tuple[Peer, ...] = (
    Peer("kthena", _SOURCE, tuple(_setting(*one, is_intended=False) for one in TARGETS)),
    Peer("kthena-intended", _SOURCE, tuple(_setting(*one, is_intended=True) for one in TARGETS)),
)
