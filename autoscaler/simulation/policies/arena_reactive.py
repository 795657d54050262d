"""Planner-gym's reactive baseline: one replica more or fewer on the raw signal, every 15 s.

Source: ai-dynamo/dynamo gyms/planner-gym, src/autoscaling_arena/adapters/reactive.py and
configs/match.sim.agg.all-datasets.yaml (reactive-default). One more while over 4 requests wait in all servers
together, one fewer while none does; no tolerance, no window; replicas that start count as there. Its KEDA baseline is
`keda_waiting` with a threshold of 5, its fixed four are `static`. Published bounds (1 to 8) are the deployment's.

Ours: a tick without a new page is skipped. Where tokens are slow before anything waits the queue says nothing, so half
of the settings are its other rule, the one of its decode pools, on the mean KV use (0.8 and 0.3 as published), for the
one pool there is; a replica at its objective here has a KV use of 0.01 to 0.15.
"""

from __future__ import annotations

import math

from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.view import View

POLL_S = 15.0
TELEMETRY_S = 5.0
QUEUE, KV = "queue", "kv"
# Signal, above which one more, below which one fewer, replicas in one step.
Knobs = tuple[str, float, float, int]
DEFAULT: Knobs = (QUEUE, 4.0, 1.0, 1)
KNOBS: tuple[Knobs, ...] = (
    DEFAULT,
    (QUEUE, 0.0, 1.0, 1),
    (QUEUE, 4.0, 1.0, 4),
    (KV, 0.12, 0.05, 1),
    (KV, 0.05, 0.02, 1),
    (KV, 0.01, 0.004, 1),
)


class ArenaReactive:
    """A step up, a step down, or none."""

    period_s = POLL_S
    scrape_s = TELEMETRY_S

    def __init__(self, knobs: Knobs, least: int, most: int) -> None:
        self.signal, self.up, self.down, self.step = knobs
        self.least, self.most = max(1, least), most
        self.page_s = -math.inf

    def decide(self, view: View, now_s: float) -> int:
        """By the queue of all servers, or their mean KV use."""
        now = max(view.spec, self.least)
        if view.at_s <= self.page_s or not view.ready:
            return now
        self.page_s = view.at_s
        value = float(view.waiting.sum() if self.signal == QUEUE else view.kv_usage.mean())
        if value > self.up:
            return min(now + self.step, self.most)
        return max(now - self.step, self.least) if value < self.down else now


def _setting(knobs: Knobs) -> Setting:
    signal, up, down, step = knobs

    def build(deployment: Deployment) -> ArenaReactive:
        return ArenaReactive(knobs, deployment.min_replicas, deployment.max_replicas)

    return Setting(f"signal={signal} up={up:g} down={down:g} step={step}", build, default=knobs == DEFAULT)


PEERS: tuple[Peer, ...] = (
    Peer("arena-reactive", "ai-dynamo/dynamo gyms/planner-gym, reactive-default", tuple(map(_setting, KNOBS))),
)
