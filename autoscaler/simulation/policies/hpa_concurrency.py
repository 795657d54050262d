"""Requests waiting and running over a target: the HPA on pods, and KEDA on the router's count.

Sources. `hpa-concurrency`: the HPA's Pods metric, as many guides use it. Unlike an external metric it knows of pods
that load: they count as idle on the way up and as on target on the way down. `keda-concurrency`: volcano-sh/kthena's
KEDA sample, active requests at its router over 10, AverageValue. Both have the HPA's default behaviour; the sample's 10
is the default of both, for guides name no number. Published maxima are the deployment's.

Ours: pages that are missing are an error to the Pods metric; the router is in front of the servers, so it knows of
requests without any page and of those held at zero, from which KEDA's poll, every 30 s, brings back the first replica.
A replica at its objective here holds 2 (code) to 230 requests (long outputs), less with headroom for a start: on eight
traces the best targets in hindsight are 2 to 75, around which the other settings are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autoscaler.simulation.hpa import DEFAULT_DOWN, DEFAULT_UP, KedaParams
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import SCRAPE_S, is_gone
from autoscaler.simulation.policies.signals import in_flight
from autoscaler.simulation.policy import AverageValue, HpaPolicy, Metric, Pods
from autoscaler.simulation.view import View

PUBLISHED = 10.0  # requests per replica
TARGETS = (2.0, PUBLISHED, 15.0, 22.0, 33.0, 55.0)


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


class KedaConcurrency:
    """Requests that the router knows of over a target."""

    scrape_s = SCRAPE_S

    def __init__(self, target: float) -> None:
        self.target = target
        self.keda = KedaParams(DEFAULT_UP, DEFAULT_DOWN)

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """Their sum."""
        return (AverageValue(float(in_flight(view)), self.target),)

    def active(self, view: View, now_s: float) -> bool:
        """Whether there is any."""
        return in_flight(view) > 0


def _setting(rule: Callable[[float], HpaPolicy], target: float) -> Setting:
    def build(_: Deployment) -> HpaPolicy:
        return rule(target)

    return Setting(f"target={target:g}", build, default=target == PUBLISHED)


PEERS: tuple[Peer, ...] = (
    Peer(
        "hpa-concurrency",
        "HPA, Pods metric on waiting and running requests",
        tuple(_setting(HpaConcurrency, target) for target in TARGETS),
    ),
    Peer(
        "keda-concurrency",
        "volcano-sh/kthena, KEDA sample on the router's active requests",
        tuple(_setting(KedaConcurrency, target) for target in TARGETS),
    ),
)
