"""The HPA on requests in a pod, waiting and running.

Source: the HPA's Pods metric, as many guides use it; the target of 10 is that of Kthena's KEDA sample on active
requests. Unlike an external metric it knows of pods that load: they count as idle on the way up and as on target on
the way down. A replica at its objective holds 2 (code) to 150 requests (long outputs) here, which the other targets
span. Ours: the HPA's default behaviour, and a page that is missing is an error.
"""

from __future__ import annotations

from collections.abc import Sequence

from autoscaler.simulation.hpa import DEFAULT_DOWN, DEFAULT_UP, KedaParams
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import SCRAPE_S, is_gone
from autoscaler.simulation.policy import Metric, Pods
from autoscaler.simulation.view import View

PUBLISHED = 10.0  # requests per pod
TARGETS = (2.0, 5.0, PUBLISHED, 25.0, 60.0, 150.0)


class HpaConcurrency:
    """Requests in a pod over a target."""

    scrape_s = SCRAPE_S

    def __init__(self, target: float) -> None:
        self.target = target
        self.keda = KedaParams(DEFAULT_UP, DEFAULT_DOWN)

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """Requests in every pod that serves."""
        if is_gone(view, now_s):
            return (None,)
        return (Pods(tuple((view.waiting + view.running).tolist()), self.target),)

    def active(self, view: View, now_s: float) -> bool:
        """Always: an HPA by itself never goes to zero."""
        return True


def _setting(target: float) -> Setting:
    def build(_: Deployment) -> HpaConcurrency:
        return HpaConcurrency(target)

    return Setting(f"target={target:g}", build, default=target == PUBLISHED)


PEERS: tuple[Peer, ...] = (
    Peer("hpa-concurrency", "HPA, Pods metric on waiting and running requests", tuple(_setting(t) for t in TARGETS)),
)
