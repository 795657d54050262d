"""Ray Serve: ongoing and queued requests over a target per replica, believed after a delay.

Source: ray-project/ray python/ray/serve/autoscaling_policy.py. A larger wish must hold for 30 s in a row, a smaller
one for 600 s; from no replica the first request makes one at once. Factors are 1, as published. Ours: the loop runs
every second instead of ten times a second, on pages that come every 10 s, and a wish without a page of the last 30 s
counts the newest one. The settings are the target of ongoing requests.
"""

from __future__ import annotations

import math

from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.signals import Samples, in_flight
from autoscaler.simulation.view import View

LOOP_S = 1.0
PUSH_S = 10.0
LOOK_BACK_S = 30.0
UP_DELAY_S, DOWN_DELAY_S = 30.0, 600.0
TARGETS = (2.0, 4.0, 9.0, 19.0, 40.0, 85.0)


class RayServe:
    """One deployment's replica queue length policy."""

    period_s = LOOP_S
    scrape_s = PUSH_S

    def __init__(
        self, target: float, least: int, most: int, *, up_factor: float = 1.0, down_factor: float = 1.0
    ) -> None:
        self.target = target
        self.least, self.most = least, most
        self.up_factor, self.down_factor = up_factor, down_factor
        self.seen = Samples(LOOK_BACK_S)
        self.mean = 0.0
        self.in_a_row = 0  # wishes, negative: for fewer

    def decide(self, view: View, now_s: float) -> int:
        """The wish, once it has held long enough."""
        if self.seen.is_new(view.at_s):
            self.seen.add(view.at_s, float(in_flight(view)))
            self.mean = self.seen.mean()
        if not view.ready:
            return max(math.ceil(self.up_factor), view.spec) if self.mean > 0.0 else view.spec
        wished = min(max(self._wished(self.mean / self.target, view.ready), self.least), self.most)
        if wished == view.spec:
            self.in_a_row = 0
            return view.spec
        if wished > view.spec:
            self.in_a_row = max(0, self.in_a_row) + 1
            has_held = self.in_a_row > UP_DELAY_S / LOOP_S
        else:
            self.in_a_row = min(0, self.in_a_row) - 1
            has_held = -self.in_a_row > DOWN_DELAY_S / LOOP_S
            wished = wished if view.spec == 1 else max(1, wished)
        if not has_held:
            return view.spec
        self.in_a_row = 0
        return wished

    def _wished(self, raw: float, ready: int) -> int:
        """From the replicas that run towards the raw wish; at least one fewer where a factor below 1 gets stuck."""
        factor = self.up_factor if raw > ready else self.down_factor
        wished = math.ceil(ready + factor * (raw - ready) - 1e-9)
        return wished - 1 if wished == ready and math.ceil(raw - 1e-9) < ready else wished


def _setting(target: float) -> Setting:
    def build(deployment: Deployment) -> RayServe:
        return RayServe(target, deployment.min_replicas, deployment.max_replicas)

    return Setting(f"target={target:g}", build, default=target == 2.0)


PEERS: tuple[Peer, ...] = (
    Peer("ray-serve", "ray-project/ray python/ray/serve/autoscaling_policy.py", tuple(map(_setting, TARGETS))),
)
