"""AIBrix's APA: replicas times use over target, as the HPA does, but with its own windows and steps.

Source: vllm-project/aibrix pkg/controller/podautoscaler (algorithm/apa.go). Use is the mean over ready pods and 180 s;
pods that still load are counted among the replicas it multiplies, which makes the cascade that its users report. As
coded a smaller count is the smallest recommendation of the last 300 s, as intended the largest. The default is its
sample, KV use 0.5; the other settings are requests in a pod. Ours: as for `aibrix_kpa`.
"""

from __future__ import annotations

import math

from autoscaler.simulation.policies.aibrix_kpa import (
    LOOP_S,
    RATE,
    SAMPLE,
    STABLE_WINDOW_S,
    TARGETS,
    TOLERANCE,
    Cooldown,
    per_pod,
)
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.signals import Samples
from autoscaler.simulation.view import View


class AibrixApa:
    """The APA, with the cooldown as coded or as intended."""

    period_s = LOOP_S
    scrape_s = LOOP_S

    def __init__(self, metric: str, target: float, *, is_intended: bool) -> None:
        self.metric = metric
        self.target = target
        self.seen = Samples(STABLE_WINDOW_S)
        self.cooldown = Cooldown(is_intended=is_intended)

    def decide(self, view: View, now_s: float) -> int:
        """The replicas that the mean use asks for; none are added to none."""
        if view.spec == 0 or not view.ready or not self.seen.is_new(view.at_s):
            return view.spec
        self.seen.add(view.at_s, float(per_pod(view, self.metric).mean()))
        use = self.seen.mean() / self.target
        asked = view.spec
        if use > 1.0 + TOLERANCE:
            asked = min(math.ceil(view.spec * use), math.ceil(RATE * view.spec))
        elif use < 1.0 - TOLERANCE:
            asked = max(math.ceil(view.spec * use), math.floor(view.spec / RATE))
        return self.cooldown.settle(asked, view.spec, now_s)


def _setting(metric: str, target: float, *, is_intended: bool) -> Setting:
    def build(_: Deployment) -> AibrixApa:
        return AibrixApa(metric, target, is_intended=is_intended)

    return Setting(f"metric={metric} target={target:g}", build, default=(metric, target) == SAMPLE)


_SOURCE = "vllm-project/aibrix pkg/controller/podautoscaler, APA"
PEERS: tuple[Peer, ...] = (
    Peer("aibrix-apa", _SOURCE, tuple(_setting(*one, is_intended=False) for one in TARGETS)),
    Peer("aibrix-apa-intended", _SOURCE, tuple(_setting(*one, is_intended=True) for one in TARGETS)),
)
