"""llm-d's Workload Variant Autoscaler: the loop that all its analyzers share, and V1 (percent saturation).

Source: llm-d WVA v0.9.0, internal/engines/saturation, docs/saturation-analyzer.md, chart values; one variant, so cost
and roles fall away. Every 30 s it decides from the peaks of the last minute and tells an HPA the replicas:
AverageValue 1, windows of 240 s, at most 10 pods in 150 s. V1 moves one replica by the mean spare of those not
saturated (KV use 0.80, queue 5; triggers 0.1 and 3), and not at all while the replicas or their pages are not as it
wished. When pages fail it repeats itself. To zero when nothing *finished* for 10 minutes, from zero when something is
held at the gateway.

Ours: its wish is kept within the deployment's bounds, and its 100 ms loop from zero is KEDA's poll. As coded a wish of
one more at 10 replicas or more is within the HPA's tolerance of 0.1, and V1 waits for it for ever; the settings but
the default have tolerance 0 and its chart's development window up of 30 s. Their KV thresholds reach down to the 0.01
to 0.15 of a replica at its objective.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

import numpy as np

from autoscaler.simulation.engines import Floats, Ints
from autoscaler.simulation.hpa import PODS, KedaParams, policies
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import SCRAPE_S, SIZES_WINDOW_S, is_gone
from autoscaler.simulation.policies.rates import Recent
from autoscaler.simulation.policy import AverageValue, Metric
from autoscaler.simulation.view import View

LOOP_S = 30.0
PEAK_S = 60.0
RETENTION_S = 600.0  # without a finished request, then zero
WINDOW_S, FAST_WINDOW_S, TOLERANCE = 240.0, 30.0, 0.1
FULL_KV, FULL_QUEUE = 0.80, 5
SPARE_KV, SPARE_QUEUE = FULL_KV / 8.0, 3.0
V1_KV = (FULL_KV, 0.4, 0.15, 0.06, 0.025, 0.01)


def behavior(*, is_fast: bool) -> KedaParams:
    """The HPA that its chart creates, or one that follows at once."""
    up_s, tolerance = (FAST_WINDOW_S, 0.0) if is_fast else (WINDOW_S, TOLERANCE)
    return KedaParams(
        policies((PODS, 10.0, 150.0), stabilization_s=up_s, tolerance=tolerance),
        policies((PODS, 10.0, 150.0), stabilization_s=WINDOW_S, tolerance=tolerance),
        polling_interval_s=5.0,
        cooldown_s=WINDOW_S,
    )


def matched(view: View, serial: Ints) -> tuple[Ints, Ints]:
    """Rows of the view and rows of an older one that are the same life."""
    if np.array_equal(view.serial, serial):
        rows = np.arange(len(serial))
        return rows, rows
    _, here, there = np.intersect1d(view.serial, serial, return_indices=True)
    return here, there


class WvaLoop(ABC):
    """What all its analyzers share: the timer, the peaks, the way to zero, the wish told to the HPA."""

    scrape_s = SCRAPE_S

    def __init__(self, deployment: Deployment, *, is_fast: bool) -> None:
        self.keda = behavior(is_fast=is_fast)
        self.least, self.most = deployment.min_replicas, deployment.max_replicas
        self.next_s = -math.inf
        self.desired: int | None = None
        self.history = Recent(RETENTION_S)
        self.sizes = Recent(SIZES_WINDOW_S)
        self.seen: deque[tuple[float, Ints, Floats, Ints]] = deque()

    @abstractmethod
    def decide(self, view: View) -> int:
        """The replicas wanted; called with fresh pages."""

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """The wish, renewed every 30 s; repeated while pages fail."""
        self._see(view)
        if view.spec == 0:
            self.desired = None
            return (None,)
        if self.desired is None:
            self.desired = view.spec
        if now_s >= self.next_s and not is_gone(view, now_s) and view.ready:
            self.next_s = now_s + LOOP_S
            self.desired = min(self.most, max(1, self.least, self.decide(view)))
        return (AverageValue(float(self.desired), 1.0),)

    def active(self, view: View, now_s: float) -> bool:
        """Whether anything finished in ten minutes; at zero, whether anything is held."""
        self._see(view)
        if self.least > 0:
            return True
        if view.spec == 0:
            return view.held > 0
        old, new = self.history.ends
        return new.finished > old.finished or self.history.seconds < RETENTION_S

    def peaks(self, view: View) -> tuple[Floats, Ints]:
        """The most KV use and the longest queue of each replica in the last minute."""
        kv_use, queue = view.kv_usage.copy(), view.waiting.copy()
        for _, serial, old_kv, old_queue in self.seen:
            here, there = matched(view, serial)
            kv_use[here] = np.maximum(kv_use[here], old_kv[there])
            queue[here] = np.maximum(queue[here], old_queue[there])
        return kv_use, queue

    def _see(self, view: View) -> None:
        if self.seen and view.at_s <= self.seen[-1][0]:
            return
        self.history.add(view)
        self.sizes.add(view)
        self.seen.append((view.at_s, view.serial, view.kv_usage, view.waiting))
        while self.seen[0][0] <= view.at_s - PEAK_S:
            self.seen.popleft()


class WvaV1(WvaLoop):
    """Percent saturation: one replica more or fewer."""

    def __init__(self, deployment: Deployment, full_kv: float = FULL_KV, *, is_fast: bool = False) -> None:
        super().__init__(deployment, is_fast=is_fast)
        self.full_kv, self.spare_kv = full_kv, full_kv * SPARE_KV / FULL_KV

    def decide(self, view: View) -> int:
        """By the spare of those that are not saturated; blocked in transition."""
        if self.desired != view.spec or view.ready != view.spec:
            return self.desired if self.desired is not None else view.spec
        kv_use, queue = self.peaks(view)
        spare = (kv_use < self.full_kv) & (queue < FULL_QUEUE)
        count = int(spare.sum())
        if not count:
            return view.spec + 1
        mean_kv, mean_queue = float(kv_use[spare].mean()), float(queue[spare].mean())
        if not self._has_spare(mean_kv, mean_queue):
            return view.spec + 1
        more = count / (count - 1) if count > 1 else math.inf
        return view.spec - 1 if count > 1 and self._has_spare(mean_kv * more, mean_queue * more) else view.spec

    def _has_spare(self, kv_use: float, queue: float) -> bool:
        return self.full_kv - kv_use >= self.spare_kv - 1e-12 and FULL_QUEUE - queue >= SPARE_QUEUE - 1e-12


def pace(*, is_default: bool) -> str:
    """The knobs of `behavior`, as a setting names them."""
    return "window=240 tolerance=0.1" if is_default else "window=30 tolerance=0"


def _v1(full_kv: float) -> Setting:
    is_default = full_kv == FULL_KV

    def build(deployment: Deployment) -> WvaV1:
        return WvaV1(deployment, full_kv, is_fast=not is_default)

    return Setting(f"kv={full_kv:g} {pace(is_default=is_default)}", build, default=is_default)


PEERS: tuple[Peer, ...] = (
    Peer("wva-v1", "llm-d WVA v0.9.0, internal/engines/saturation", tuple(_v1(full_kv) for full_kv in V1_KV)),
)
