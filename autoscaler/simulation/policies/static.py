"""A fleet of constant size: what most people run.

Source: the plain `replicas: N`. Published default: none; the settings are shares of the most that is allowed.
"""

from __future__ import annotations

import math

from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.view import View

SHARES = (0.125, 0.19, 0.25, 0.375, 0.5, 1.0)  # of max_replicas, which is four times what the peak needs


class Static:
    """Always the same number."""

    period_s = 60.0
    scrape_s = 60.0

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas

    def decide(self, view: View, now_s: float) -> int:
        """The number."""
        return self.replicas


def _setting(share: float) -> Setting:
    def build(deployment: Deployment) -> Static:
        return Static(max(1, math.ceil(share * deployment.max_replicas - 1e-9)))

    return Setting(f"share={share}", build, default=share == 0.25)


PEER = Peer("static", "a Deployment's own replicas", tuple(_setting(share) for share in SHARES))
