"""llm-d's SLO-aware KEDA blueprint: latency over its limit, with a band in which nothing changes.

Source: llm-d/llm-d guides/workload-autoscaling/README.slo-aware.md. The 90th percentiles of TTFT and TPOT over one
minute, each over its limit; the larger, at most 2, averaged over 45 s, is s. Above 0.55 the replicas grow by the
share that s (times ready over replicas while some come) is above it, below 0.40 they shrink by the share below it.
Up at most +100 % or 4 in 60 s, window 30 s; down 1 in 120 s, window 180 s. Published bounds (3 to 8) are the
deployment's; its limits of 3 s and 100 ms are the objective's.

Ours: measured latencies, its own fallback, stand for predicted ones; at least one replica stays; while pages fail s
keeps its last value. Above the band it never asks for fewer, as the guide's text says (the bare formula does when few
of many replicas are ready). The guide says to raise the band where a limit is near the base latency, as TPOT is here
(17 of 60 ms), so the other settings raise it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from autoscaler.core.records import Objective
from autoscaler.simulation.hpa import PERCENT, PODS, KedaParams, policies
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import RATE_WINDOW_S, SCRAPE_S, tpot_quantile, ttft_quantile
from autoscaler.simulation.policies.rates import Recent
from autoscaler.simulation.policies.signals import Samples
from autoscaler.simulation.policy import AverageValue, Metric
from autoscaler.simulation.view import View

QUANTILE = 0.9
CLAMP = 2.0  # of s
SMOOTHING_S = 45.0
PUBLISHED = (0.55, 0.40)  # shares of the objective: above, grow; below, shrink
BANDS = (PUBLISHED, (0.7, 0.51), (0.85, 0.62), (1.0, 0.73), (1.2, 0.87), (1.5, 1.09))
UP = policies((PERCENT, 100.0, 60.0), (PODS, 4.0, 60.0), stabilization_s=30.0)
DOWN = policies((PODS, 1.0, 120.0), stabilization_s=180.0)


class LlmdSlo:
    """The control law; its result is the replicas wanted."""

    scrape_s = SCRAPE_S

    def __init__(self, objective: Objective, grow: float, shrink: float) -> None:
        self.objective = objective
        self.grow, self.shrink = grow, shrink
        self.keda = KedaParams(UP, DOWN)
        self.recent = Recent(RATE_WINDOW_S)
        self.saturation = Samples(SMOOTHING_S)

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """The replicas wanted, target 1."""
        self._record(view)
        if not self.saturation.kept:
            return (None,)
        return (AverageValue(float(self._wanted(view)), 1.0),)

    def active(self, view: View, now_s: float) -> bool:
        """Always."""
        self._record(view)
        return True

    def _record(self, view: View) -> None:
        """The recording rules, once for every scrape; a rate needs two."""
        self.recent.add(view)
        if self.recent.seconds and self.saturation.is_new(view.at_s):
            first = (ttft_quantile(self.recent, QUANTILE) or 0.0) / self.objective.ttft_s
            each = (tpot_quantile(self.recent, QUANTILE) or 0.0) / self.objective.tpot_s
            self.saturation.add(view.at_s, min(max(first, each), CLAMP))

    def _wanted(self, view: View) -> int:
        replicas, smooth = view.spec, self.saturation.mean()
        if smooth > self.grow:
            credit = view.ready / replicas if 0 < view.ready < replicas else 1.0
            return replicas + max(0, math.ceil(replicas * (smooth * credit / self.grow - 1.0) - 1e-9))
        if smooth < self.shrink:
            return replicas - math.floor(replicas * (1.0 - smooth / self.shrink) + 1e-9)
        return replicas


def _setting(grow: float, shrink: float) -> Setting:
    def build(deployment: Deployment) -> LlmdSlo:
        return LlmdSlo(deployment.objective, grow, shrink)

    return Setting(f"grow={grow:g} shrink={shrink:g}", build, default=(grow, shrink) == PUBLISHED)


PEERS: tuple[Peer, ...] = (
    Peer(
        "llmd-slo",
        "llm-d/llm-d guides/workload-autoscaling/README.slo-aware.md",
        tuple(_setting(*one) for one in BANDS),
    ),
)
