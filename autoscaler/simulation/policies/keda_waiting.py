"""KEDA on waiting requests: the autoscaling of the vLLM production-stack's Helm chart.

Source: vllm-project/production-stack helm/values.yaml and helm/templates/scaledobject-vllm.yaml. Requests waiting in
all servers over a threshold of 5 (20 in its tutorial), AverageValue, polling 15 s, cooldown 360 s, initial cooldown
60 s, the HPA's default behaviour; its maximum of 5 replicas is the deployment's. As coded the query is not
aggregated: with two replicas it gives two series, which KEDA's scaler calls an error, and after more than three
errors in a row, polls and the HPA's reads both counted, the fallback of 2 replicas is served. `keda-waiting` sums, as
meant. Published default: 5. A replica at its objective here has 0.1 to 0.7 requests waiting, 3 to 11 with prompts in
chunks of 512 tokens, and less with headroom for a start, so the other thresholds are mostly below.

Ours: the way to zero and back is its zero variant's, incoming requests in the last minute, where the deployment allows
zero; `keda-waiting-idle0` has only the waiting trigger with idleReplicaCount 0, as its sample, whatever the minimum: it
goes to zero while requests run, once none has waited for the cooldown, and nothing wakes it, for the series ends with
the servers. It counts as active just before the run.
"""

from __future__ import annotations

from collections.abc import Sequence

from autoscaler.simulation.hpa import DEFAULT_DOWN, DEFAULT_UP, KedaParams
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import RATE_WINDOW_S, SCRAPE_S, is_gone
from autoscaler.simulation.policies.rates import Recent
from autoscaler.simulation.policy import AverageValue, Metric
from autoscaler.simulation.view import View

POLLING_S, COOLDOWN_S, INITIAL_COOLDOWN_S = 15.0, 360.0, 60.0
FAILURES = 3  # in a row; one more and the fallback is served
FALLBACK_REPLICAS = 2
PUBLISHED = 5.0  # requests waiting per replica
THRESHOLDS = (0.07, 0.15, 0.3, 0.5, PUBLISHED, 20.0)
FEW_THRESHOLDS = (0.3, PUBLISHED, 20.0)  # for the two in which it is not the threshold that decides


class KedaWaiting:
    """Requests waiting in all servers over a threshold."""

    scrape_s = SCRAPE_S

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.keda = KedaParams(
            DEFAULT_UP,
            DEFAULT_DOWN,
            polling_interval_s=POLLING_S,
            cooldown_s=COOLDOWN_S,
            initial_cooldown_s=INITIAL_COOLDOWN_S,
        )
        self.recent = Recent(RATE_WINDOW_S)

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """The sum of what waits; an empty answer counts as 0."""
        self.recent.add(view)
        return (AverageValue(_waiting(view, now_s), self.threshold),)

    def active(self, view: View, now_s: float) -> bool:
        """Whether requests came in the last minute."""
        self.recent.add(view)
        return self.recent.arrivals_rps() > 0.0 or not self.recent.seconds


class KedaWaitingUnaggregated(KedaWaiting):
    """As coded: a series per replica, and more than one series is an error."""

    def __init__(self, threshold: float) -> None:
        super().__init__(threshold)
        self.failures = 0

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """One replica's queue, an error, or the fallback."""
        if not self._fails(view, now_s):
            return super().metrics(view, now_s)
        if self.failures <= FAILURES:
            return (None,)
        return (AverageValue(FALLBACK_REPLICAS * self.threshold, self.threshold),)

    def active(self, view: View, now_s: float) -> bool:
        """As summed; an error takes nothing away."""
        return self._fails(view, now_s) or super().active(view, now_s)

    def _fails(self, view: View, now_s: float) -> bool:
        is_error = view.ready > 1 and not is_gone(view, now_s)
        self.failures = self.failures + 1 if is_error else 0
        return is_error


class KedaWaitingIdle0(KedaWaiting):
    """Active only while a request waits: what runs does not count."""

    def __init__(self, threshold: float) -> None:
        super().__init__(threshold)
        self.keda = self.keda._replace(idles_at_zero=True)
        self.was_asked = False

    def active(self, view: View, now_s: float) -> bool:
        """Whether a request waits in a server; servers that are gone have no series."""
        is_first, self.was_asked = not self.was_asked, True
        return is_first or _waiting(view, now_s) > 0.0


def _waiting(view: View, now_s: float) -> float:
    return 0.0 if is_gone(view, now_s) else float(view.waiting.sum())


def _setting(rule: type[KedaWaiting], threshold: float) -> Setting:
    def build(_: Deployment) -> KedaWaiting:
        return rule(threshold)

    return Setting(f"threshold={threshold:g}", build, default=threshold == PUBLISHED)


_SOURCE = "vllm-project/production-stack helm/templates/scaledobject-vllm.yaml"
PEERS: tuple[Peer, ...] = (
    Peer("keda-waiting", _SOURCE, tuple(_setting(KedaWaiting, t) for t in THRESHOLDS)),
    Peer("keda-waiting-unaggregated", _SOURCE, tuple(_setting(KedaWaitingUnaggregated, t) for t in FEW_THRESHOLDS)),
    Peer("keda-waiting-idle0", _SOURCE, tuple(_setting(KedaWaitingIdle0, t) for t in FEW_THRESHOLDS)),
)
