"""llm-d's KEDA blueprint on pool saturation.

Source: llm-d/llm-d guides/workload-autoscaling (saturation path), the utilization detector of llm-d/llm-d-router, and
for the behaviour llm-d-benchmark config/templates/values/defaults.yaml. Saturation is the mean over servers of the
larger of waiting / 5 and KV use / 0.8, without a limit; an empty pool and a stale page read 1. As coded it is an
AverageValue over 0.7 beside running requests over 16, polling 15 s: a mean of the pool divided by the replicas, so
that the trigger alone never asks for more than saturation / 0.7. As intended it is a Value: the ready replicas times
saturation / 0.7. One pod up in 180 s, one down in 300 s after a window of 300 s. Published bounds (1 to 10) are the
deployment's.

Ours: as coded the running requests are swept, with the HPA's default behaviour, as in the guide's own ScaledObject,
which has none. As intended the saturation is swept, down to the 0.02 to 0.2 of a replica at its objective, with 256
running requests out of its way; at the HPA's default pace it would buy at every queue (5 waiting in each are 1), so it
has the published pace, or llm-d's other one, doubling after a window as long as a start.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np

from autoscaler.simulation.hpa import DEFAULT_DOWN, DEFAULT_UP, PERCENT, PODS, KedaParams, policies
from autoscaler.simulation.policies.llmd_queue import dispatched
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import SCRAPE_S, is_gone
from autoscaler.simulation.policy import AverageValue, Metric, Value
from autoscaler.simulation.view import View

FULL_WAITING, FULL_KV = 5.0, 0.8  # of one server
BLIND = 1.0
POLLING_S = 15.0


class Pace(Enum):
    """How fast the HPA follows."""

    PUBLISHED = "published"
    START = "start"  # 100 % in 15 s after a window of one start, the advice of llm-d's queue guide
    HPA = "hpa"  # its defaults


SLOW_UP = policies((PODS, 1.0, 180.0))
SLOW_DOWN = policies((PODS, 1.0, 300.0), stabilization_s=300.0)

# Saturation, running requests per replica, pace.
Knobs = tuple[float, float, Pace]
DEFAULT: Knobs = (0.7, 16.0, Pace.PUBLISHED)
BY_RUNNING: tuple[Knobs, ...] = (DEFAULT, *((0.7, running, Pace.HPA) for running in (2.0, 6.0, 25.0, 60.0, 150.0)))
BY_SATURATION: tuple[Knobs, ...] = (
    DEFAULT,
    (0.4, 256.0, Pace.PUBLISHED),
    (0.2, 256.0, Pace.PUBLISHED),
    (0.1, 256.0, Pace.PUBLISHED),
    (0.05, 256.0, Pace.PUBLISHED),
    (0.05, 256.0, Pace.START),
)


def behavior(pace: Pace, start_s: float) -> KedaParams:
    """The ScaledObject's `behavior`."""
    if pace is Pace.PUBLISHED:
        return KedaParams(SLOW_UP, SLOW_DOWN, polling_interval_s=POLLING_S)
    if pace is Pace.START:
        up = policies((PERCENT, 100.0, 15.0), stabilization_s=start_s)
        return KedaParams(up, DEFAULT_DOWN, polling_interval_s=POLLING_S)
    return KedaParams(DEFAULT_UP, DEFAULT_DOWN, polling_interval_s=POLLING_S)


def saturation(view: View, now_s: float) -> float:
    """Of the pool: the mean over servers."""
    if not view.ready or is_gone(view, now_s):
        return BLIND
    return float(np.maximum(view.waiting / FULL_WAITING, view.kv_usage / FULL_KV).mean())


class LlmdSaturation:
    """Pool saturation and running requests."""

    scrape_s = SCRAPE_S

    def __init__(self, target: float, running: float, keda: KedaParams, *, is_intended: bool) -> None:
        self.target, self.running = target, running
        self.keda = keda
        self.is_intended = is_intended
        self.was_asked = False

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """The pool's saturation, and the running requests."""
        kind = Value if self.is_intended else AverageValue
        return (kind(saturation(view, now_s), self.target), AverageValue(float(dispatched(view)), self.running))

    def active(self, view: View, now_s: float) -> bool:
        """Whether saturation or requests are above 0: always in an empty pool, which therefore never stays at 0."""
        is_first, self.was_asked = not self.was_asked, True
        return is_first or saturation(view, now_s) > 0.0 or dispatched(view) > 0


def _setting(knobs: Knobs, *, is_intended: bool) -> Setting:
    target, running, pace = knobs

    def build(deployment: Deployment) -> LlmdSaturation:
        return LlmdSaturation(target, running, behavior(pace, deployment.starts.mean_s), is_intended=is_intended)

    name = f"saturation={target:g} running={running:g} behavior={pace.value}"
    return Setting(name, build, default=knobs == DEFAULT)


_SOURCE = "llm-d/llm-d guides/workload-autoscaling, saturation path"
PEERS: tuple[Peer, ...] = (
    Peer("llmd-saturation", _SOURCE, tuple(_setting(knobs, is_intended=False) for knobs in BY_RUNNING)),
    Peer("llmd-saturation-intended", _SOURCE, tuple(_setting(knobs, is_intended=True) for knobs in BY_SATURATION)),
)
