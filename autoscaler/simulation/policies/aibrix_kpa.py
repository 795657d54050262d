"""AIBrix's KPA: Knative's idea on a metric scraped from pods, as coded and as it was meant.

Source: vllm-project/aibrix pkg/controller/podautoscaler (algorithm/kpa.go, metrics/client.go, context/context.go).
As coded the mean over pods is divided by a target that is per pod, without the number of pods; panic holds nothing;
and a smaller count is the smallest recommendation of the last 300 s. As intended the sum over ready pods is divided,
panic holds its largest count until one stable window has passed without it, and the largest recommendation counts.
The default is its sample, KV use 0.5; the other settings are requests in a pod, waiting or running, spaced for what
each variant makes of them (as coded n settles near the root of total / target). Ours: a tick without a new page, or
without a ready pod, keeps the replicas; the published maximum of 8 is the deployment's.
"""

from __future__ import annotations

import math

import numpy as np

from autoscaler.simulation.engines import Floats
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.signals import Samples
from autoscaler.simulation.view import View

LOOP_S = 10.0
STABLE_WINDOW_S, PANIC_WINDOW_S = 180.0, 60.0
PANIC_THRESHOLD = 2.0  # panic mean over stable mean
TOLERANCE = 0.1
RATE = 2.0  # times the replicas, up or down, in one step
COOLDOWN_S = 300.0  # down; up 0
KV, REQUESTS = "kv_usage", "requests"
SAMPLE = (KV, 0.5)
CODED_TARGETS = (SAMPLE, (REQUESTS, 0.2), (REQUESTS, 0.7), (REQUESTS, 2.2), (REQUESTS, 7.0), (REQUESTS, 23.0))
TARGETS = (SAMPLE, (REQUESTS, 3.5), (REQUESTS, 7.5), (REQUESTS, 16.0), (REQUESTS, 34.0), (REQUESTS, 72.0))


def per_pod(view: View, metric: str) -> Floats:
    """The metric of every ready pod."""
    return view.kv_usage if metric == KV else np.asarray(view.waiting + view.running, dtype=float)


class Cooldown:
    """What becomes of a recommendation: up at once, down to the smallest (as coded) or largest of the last 300 s."""

    def __init__(self, *, is_intended: bool) -> None:
        self.is_intended = is_intended
        self.recent = Samples(COOLDOWN_S)

    def settle(self, asked: int, spec: int, now_s: float) -> int:
        """The replicas to write."""
        self.recent.add(now_s, float(asked))
        if asked >= spec:
            return asked
        return min(spec, int(self.recent.largest())) if self.is_intended else int(self.recent.smallest())


class AibrixKpa:
    """The KPA, as coded or as intended."""

    period_s = LOOP_S
    scrape_s = LOOP_S

    def __init__(self, metric: str, target: float, *, is_intended: bool) -> None:
        self.metric = metric
        self.target = target
        self.is_intended = is_intended
        self.seen = Samples(STABLE_WINDOW_S)
        self.cooldown = Cooldown(is_intended=is_intended)
        self.panic_s: float | None = None  # only as intended
        self.panic_replicas = 0

    def decide(self, view: View, now_s: float) -> int:
        """The replicas that the metric asks for; none are added to none."""
        if view.spec == 0 or not view.ready or not self.seen.is_new(view.at_s):
            return view.spec
        values = per_pod(view, self.metric)
        self.seen.add(view.at_s, float(values.sum() if self.is_intended else values.mean()))
        stable, panic = self.seen.mean(), self.seen.mean(PANIC_WINDOW_S)
        asked = self._desired(stable, view.spec)
        is_over = stable <= 0.0 or panic / stable > PANIC_THRESHOLD
        if self.is_intended:
            asked = self._held(is_over and stable > 0.0, asked, self._desired(panic, view.spec), now_s)
        elif is_over:
            asked = max(asked, self._desired(panic, view.spec))
        return self.cooldown.settle(asked, view.spec, now_s)

    def _desired(self, mean: float, spec: int) -> int:
        wanted = self.target * spec if self.is_intended else self.target
        if (1.0 - TOLERANCE) * wanted <= mean <= (1.0 + TOLERANCE) * wanted:
            return spec
        low, high = math.floor(spec / RATE), max(1, math.ceil(RATE * spec))
        return min(max(math.ceil(mean / self.target), low), high)

    def _held(self, is_over: bool, asked: int, asked_in_panic: int, now_s: float) -> int:
        if is_over:
            self.panic_s = now_s
        elif self.panic_s is not None and now_s - self.panic_s > STABLE_WINDOW_S:
            self.panic_s, self.panic_replicas = None, 0
        if self.panic_s is None:
            return asked
        self.panic_replicas = max(self.panic_replicas, asked, asked_in_panic)
        return self.panic_replicas


def _setting(metric: str, target: float, *, is_intended: bool) -> Setting:
    def build(_: Deployment) -> AibrixKpa:
        return AibrixKpa(metric, target, is_intended=is_intended)

    return Setting(f"metric={metric} target={target:g}", build, default=(metric, target) == SAMPLE)


_SOURCE = "vllm-project/aibrix pkg/controller/podautoscaler, KPA"
PEERS: tuple[Peer, ...] = (
    Peer("aibrix-kpa", _SOURCE, tuple(_setting(*one, is_intended=False) for one in CODED_TARGETS)),
    Peer("aibrix-kpa-intended", _SOURCE, tuple(_setting(*one, is_intended=True) for one in TARGETS)),
)
