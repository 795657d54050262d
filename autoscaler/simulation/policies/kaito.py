"""keda-kaito-scaler, its single-metric and its multi-metric mode.

Source: kaito-project/keda-kaito-scaler pkg/scaledobject (builder, provisioner), README. It scrapes the servers itself
every 15 s. `keda-kaito-legacy`: requests waiting over 10, AverageValue. `keda-kaito`: the replicas are doubled when
every one is ready and *all* metrics are above their upper thresholds, halved when all are below their lower ones (a
Value of 2, 0.5 or 1 over 1); its README's example is 5 and 1 requests waiting per replica with 2 s and 0.5 s for the
95th percentile of the time in the queue. Both: one replica up in 300 s after a window of 60 s, one down in 300 s after
a window of 300 s; pages older than 45 s are an error. Its maximum is the deployment's.

Ours: servers here tell no time in the queue, so the 95th percentile of the time to first token over the evaluation
window of 60 s stands for it. A replica at its objective has 0.05 to 0.5 requests waiting and 0.2 to 0.9 s to the first
token, so the other thresholds are lower; they use the cooldowns that can be set, 60 s up and 120 s down, but the step
of one is fixed.
"""

from __future__ import annotations

from collections.abc import Sequence

from autoscaler.simulation.hpa import PODS, KedaParams, policies
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import SCRAPE_S, is_gone, ttft_quantile
from autoscaler.simulation.policies.rates import Recent
from autoscaler.simulation.policy import AverageValue, Metric, Value
from autoscaler.simulation.view import View

STALE_S = 45.0
EVALUATION_S = 60.0
UP_S, DOWN_S = 300.0, 300.0  # one replica in each
QUICK_UP_S, QUICK_DOWN_S = 60.0, 120.0
QUANTILE = 0.95
GROW, SHRINK = 2.0, 0.5
POLLING_S = 15.0
LEGACY = 10.0  # requests waiting per replica
LEGACY_THRESHOLDS = (0.015, 0.05, 0.15, 0.5, 1.5, LEGACY)
EXAMPLE = (5.0, 1.0, 2.0, 0.5)  # requests waiting, upper and lower; seconds, upper and lower
THRESHOLDS = (
    EXAMPLE,
    (2.0, 1.0, 1.2, 0.9),
    (0.8, 0.4, 0.8, 0.6),
    (0.3, 0.15, 0.65, 0.55),
    (0.3, 0.15, 0.35, 0.28),
    (0.1, 0.05, 0.45, 0.4),
)


class _Kaito:
    """One step at a time; at least one replica stays."""

    scrape_s = SCRAPE_S

    def __init__(self, *, is_quick: bool) -> None:
        up_s, down_s = (QUICK_UP_S, QUICK_DOWN_S) if is_quick else (UP_S, DOWN_S)
        self.keda = KedaParams(
            policies((PODS, 1.0, up_s), stabilization_s=EVALUATION_S),
            policies((PODS, 1.0, down_s), stabilization_s=down_s),
            polling_interval_s=POLLING_S,
        )

    def active(self, view: View, now_s: float) -> bool:
        """Always."""
        return True


class KaitoLegacy(_Kaito):
    """Requests waiting over a threshold."""

    def __init__(self, threshold: float, *, is_quick: bool = False) -> None:
        super().__init__(is_quick=is_quick)
        self.threshold = threshold

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """The sum of what waits."""
        if is_gone(view, now_s, STALE_S):
            return (None,)
        return (AverageValue(float(view.waiting.sum()), self.threshold),)


class Kaito(_Kaito):
    """All metrics above, or all below."""

    def __init__(self, thresholds: tuple[float, float, float, float] = EXAMPLE, *, is_quick: bool = False) -> None:
        super().__init__(is_quick=is_quick)
        self.waiting_up, self.waiting_down, self.first_up_s, self.first_down_s = thresholds
        self.recent = Recent(EVALUATION_S)

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """What the replicas are to be multiplied by."""
        self.recent.add(view)
        if is_gone(view, now_s, STALE_S) or not view.ready or not self.recent.seconds:
            return (None,)
        waiting = float(view.waiting.sum()) / view.ready
        first_s = ttft_quantile(self.recent, QUANTILE) or 0.0
        if view.ready >= view.spec and waiting > self.waiting_up and first_s > self.first_up_s:
            return (Value(GROW, 1.0),)
        if waiting < self.waiting_down and first_s < self.first_down_s:
            return (Value(SHRINK, 1.0),)
        return (Value(1.0, 1.0),)


def _legacy(threshold: float) -> Setting:
    is_default = threshold == LEGACY

    def build(_: Deployment) -> KaitoLegacy:
        return KaitoLegacy(threshold, is_quick=not is_default)

    return Setting(f"threshold={threshold:g} cooldown={_cooldown(is_default=is_default)}", build, default=is_default)


def _setting(thresholds: tuple[float, float, float, float]) -> Setting:
    is_default = thresholds == EXAMPLE

    def build(_: Deployment) -> Kaito:
        return Kaito(thresholds, is_quick=not is_default)

    more, less, more_s, less_s = thresholds
    knobs = f"waiting={more:g}/{less:g} first={more_s:g}/{less_s:g} cooldown={_cooldown(is_default=is_default)}"
    return Setting(knobs, build, default=is_default)


def _cooldown(*, is_default: bool) -> str:
    return "300/300" if is_default else "60/120"


_SOURCE = "kaito-project/keda-kaito-scaler pkg/scaledobject"
PEERS: tuple[Peer, ...] = (
    Peer("keda-kaito", _SOURCE, tuple(_setting(thresholds) for thresholds in THRESHOLDS)),
    Peer("keda-kaito-legacy", _SOURCE, tuple(_legacy(threshold) for threshold in LEGACY_THRESHOLDS)),
)
