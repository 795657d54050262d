"""llm-d's KEDA blueprint on pool saturation.

Source: llm-d/llm-d guides/workload-autoscaling (saturation path), the utilization detector of llm-d/llm-d-router, and
for the behaviour llm-d-benchmark config/templates/values/defaults.yaml. Saturation is the mean over servers of the
larger of waiting / 5 and KV use / 0.8, without a limit; an empty pool and a stale page read 1. As coded it is an
AverageValue over 0.7 beside running requests over 16, polling 15 s: a mean of the pool divided by the replicas, so
that the trigger alone never asks for more than saturation / 0.7. As intended it is a Value: the ready replicas times
saturation / 0.7. One pod up in 180 s, one down in 300 s after a window of 300 s. Published bounds (1 to 10) are the
deployment's.

Ours: the settings but the default have the HPA's default behaviour, as the guide's own ScaledObject without one; as
coded the running requests are swept, as intended the saturation, with 256 running requests out of its way, down to
the 0.02 to 0.2 of a replica at its objective.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoscaler.simulation.hpa import DEFAULT_DOWN, DEFAULT_UP, PODS, KedaParams, policies
from autoscaler.simulation.policies.llmd_queue import dispatched
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import SCRAPE_S, is_gone
from autoscaler.simulation.policy import AverageValue, Metric, Value
from autoscaler.simulation.view import View

FULL_WAITING, FULL_KV = 5.0, 0.8  # of one server
BLIND = 1.0
PUBLISHED = (0.7, 16.0)  # saturation, running requests per replica
BY_RUNNING = (PUBLISHED, (0.7, 2.0), (0.7, 6.0), (0.7, 25.0), (0.7, 60.0), (0.7, 150.0))
BY_SATURATION = (PUBLISHED, (0.35, 256.0), (0.2, 256.0), (0.1, 256.0), (0.05, 256.0), (0.025, 256.0))
POLLING_S = 15.0
SLOW_UP = policies((PODS, 1.0, 180.0))
SLOW_DOWN = policies((PODS, 1.0, 300.0), stabilization_s=300.0)


def saturation(view: View, now_s: float) -> float:
    """Of the pool: the mean over servers."""
    if not view.ready or is_gone(view, now_s):
        return BLIND
    return float(np.maximum(view.waiting / FULL_WAITING, view.kv_usage / FULL_KV).mean())


class LlmdSaturation:
    """Pool saturation and running requests."""

    scrape_s = SCRAPE_S

    def __init__(self, target: float, running: float, *, is_slow: bool, is_intended: bool) -> None:
        self.target, self.running = target, running
        self.is_intended = is_intended
        up, down = (SLOW_UP, SLOW_DOWN) if is_slow else (DEFAULT_UP, DEFAULT_DOWN)
        self.keda = KedaParams(up, down, polling_interval_s=POLLING_S)
        self.was_asked = False

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """The pool's saturation, and the running requests."""
        kind = Value if self.is_intended else AverageValue
        return (kind(saturation(view, now_s), self.target), AverageValue(float(dispatched(view)), self.running))

    def active(self, view: View, now_s: float) -> bool:
        """Whether saturation or requests are above 0: always in an empty pool, which therefore never stays at 0."""
        is_first, self.was_asked = not self.was_asked, True
        return is_first or saturation(view, now_s) > 0.0 or dispatched(view) > 0


def _setting(target: float, running: float, *, is_intended: bool) -> Setting:
    is_default = (target, running) == PUBLISHED

    def build(_: Deployment) -> LlmdSaturation:
        return LlmdSaturation(target, running, is_slow=is_default, is_intended=is_intended)

    pace = "published" if is_default else "hpa"
    return Setting(f"saturation={target:g} running={running:g} behavior={pace}", build, default=is_default)


_SOURCE = "llm-d/llm-d guides/workload-autoscaling, saturation path"
PEERS: tuple[Peer, ...] = (
    Peer("llmd-saturation", _SOURCE, tuple(_setting(*one, is_intended=False) for one in BY_RUNNING)),
    Peer("llmd-saturation-intended", _SOURCE, tuple(_setting(*one, is_intended=True) for one in BY_SATURATION)),
)
