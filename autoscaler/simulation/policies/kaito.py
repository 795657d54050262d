"""keda-kaito-scaler: one replica more or fewer while every metric is beyond its threshold; and its former rule.

Source: kaito-project/keda-kaito-scaler at 3ce909d, README, pkg/scaledobject/provisioner.go, pkg/scaler/metric_cache.go.
It scrapes the servers itself every 15 s. `keda-kaito`: the replicas are doubled when every one is ready and *all*
metrics are above their upper thresholds, halved when all are below their lower ones (a Value of 2, 0.5 or 1 over 1);
the HPA lets through one replica up in 300 s after a window of 60 s, one down in 300 s after a window of 300 s. Its
README's examples are 10 and 1 requests waiting per replica, the default here, and the same with 30 s and 1 s in the
queue, the mean over 300 s of which four fifths must be known; a replica that goes takes its counters with it, and the
mean reads 0 until the window has passed. Pages older than 45 s are an error. `keda-kaito-legacy`: until v0.5.1, pkg/
controllers/autoprovision: requests waiting over a threshold, 10 in its README, AverageValue; one up in 300 s after
60 s, one down in 600 s after 300 s and only below half of the target. Its maximum is the deployment's.

Ours: servers here tell no time in the queue, so the time to first token stands for it. A replica at its objective has
0.1 to 0.7 requests waiting, 3 to 11 with prompts in chunks of 512 tokens, so most other thresholds are lower. Those of
`keda-kaito` use what can be set, no evaluation window and 15 s up, and leave the 300 s down, which eight traces like
better than 60; the step of one is fixed, and it waits for every start. Of the former rule only the threshold can be
set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from autoscaler.simulation.engines import TTFT_S
from autoscaler.simulation.hpa import PODS, KedaParams, policies
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import SCRAPE_S, is_gone
from autoscaler.simulation.policy import AverageValue, Metric, Value
from autoscaler.simulation.view import View

STALE_S = 45.0
# The window up, one replica up in, one replica down in, the window down; seconds.
PUBLISHED = (60.0, 300.0, 300.0, 300.0)
QUICK = (0.0, 15.0, 300.0, 300.0)
FORMER = (60.0, 300.0, 600.0, 300.0)
FORMER_TOLERANCE = 0.5  # down
MEAN_S, COVERED = 300.0, 0.8
GROW, HOLD, SHRINK = 2.0, 1.0, 0.5
POLLING_S = 15.0
LEGACY = 10.0  # requests waiting per replica
LEGACY_THRESHOLDS = (0.1, 0.25, 0.5, 1.0, 2.0, LEGACY)
Band = tuple[float, float]  # upper, lower
EXAMPLE: tuple[Band, Band | None] = ((10.0, 1.0), None)
BANDS: tuple[tuple[Band, Band | None], ...] = (  # requests waiting per replica; seconds, if those count too
    EXAMPLE,
    ((10.0, 1.0), (30.0, 1.0)),
    ((0.3, 0.1), None),
    ((0.5, 0.17), None),
    ((1.0, 0.33), None),
    ((2.0, 0.67), None),
)


class _Kaito:
    """One step at a time; at least one replica stays."""

    scrape_s = SCRAPE_S

    def __init__(self, pace: tuple[float, float, float, float], tolerance: float = 0.1) -> None:
        window_s, up_s, down_s, down_window_s = pace
        self.keda = KedaParams(
            policies((PODS, 1.0, up_s), stabilization_s=window_s),
            policies((PODS, 1.0, down_s), stabilization_s=down_window_s, tolerance=tolerance),
            polling_interval_s=POLLING_S,
        )

    def active(self, view: View, now_s: float) -> bool:
        """Always."""
        return True


class KaitoLegacy(_Kaito):
    """Requests waiting over a threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__(FORMER, FORMER_TOLERANCE)
        self.threshold = threshold

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """The sum of what waits."""
        if is_gone(view, now_s, STALE_S):
            return (None,)
        return (AverageValue(float(view.waiting.sum()), self.threshold),)


class Kaito(_Kaito):
    """All metrics above, or all below."""

    def __init__(self, waiting: Band = EXAMPLE[0], first_s: Band | None = None, *, is_quick: bool = False) -> None:
        super().__init__(QUICK if is_quick else PUBLISHED)
        self.waiting, self.first_s = waiting, first_s
        self.seen: deque[tuple[float, float, int]] = deque()  # time; sum and count over the servers of then

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """What the replicas are to be multiplied by."""
        self._record(view)
        if is_gone(view, now_s, STALE_S) or not view.ready:
            return (None,)
        told = [(float(view.waiting.sum()) / view.ready, self.waiting)]
        if self.first_s is not None:
            mean_s = self._mean_s()
            if mean_s is None:
                return (None,)
            told.append((mean_s, self.first_s))
        if view.ready >= view.spec and all(value > upper for value, (upper, _) in told):
            return (Value(GROW, 1.0),)
        if all(value < lower for value, (_, lower) in told):
            return (Value(SHRINK, 1.0),)
        return (Value(HOLD, 1.0),)

    def _record(self, view: View) -> None:
        if self.seen and view.at_s <= self.seen[-1][0]:
            return
        self.seen.append((view.at_s, float(view.floats[:, TTFT_S].sum()), int(view.ttft.sum())))
        while self.seen[0][0] < view.at_s - MEAN_S:
            self.seen.popleft()

    def _mean_s(self) -> float | None:
        """Seconds per first token told in the window; None while too little of it is known."""
        (from_s, old_s, old), (until_s, new_s, new) = self.seen[0], self.seen[-1]
        if until_s - from_s < COVERED * MEAN_S:
            return None
        return (new_s - old_s) / (new - old) if new > old and new_s >= old_s else 0.0


def _legacy(threshold: float) -> Setting:
    def build(_: Deployment) -> KaitoLegacy:
        return KaitoLegacy(threshold)

    return Setting(f"threshold={threshold:g}", build, default=threshold == LEGACY)


def _setting(waiting: Band, first_s: Band | None) -> Setting:
    is_quick = waiting != EXAMPLE[0]

    def build(_: Deployment) -> Kaito:
        return Kaito(waiting, first_s, is_quick=is_quick)

    first = f" first={first_s[0]:g}/{first_s[1]:g}" if first_s else ""
    knobs = f"waiting={waiting[0]:g}/{waiting[1]:g}{first} cooldown={'15/300' if is_quick else '300/300'}"
    return Setting(knobs, build, default=(waiting, first_s) == EXAMPLE)


_SOURCE = "kaito-project/keda-kaito-scaler pkg/scaledobject"
PEERS: tuple[Peer, ...] = (
    Peer("keda-kaito", _SOURCE, tuple(_setting(*bands) for bands in BANDS)),
    Peer("keda-kaito-legacy", _SOURCE, tuple(_legacy(threshold) for threshold in LEGACY_THRESHOLDS)),
)
