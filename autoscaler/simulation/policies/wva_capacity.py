"""WVA's V2: tokens in use and queued against the tokens that a replica can have in use.

Source: llm-d WVA v0.9.0, internal/engines/analyzers/saturation_v2; the loop and the HPA are those of `wva`. A
replica's capacity is the smaller of 0.80 of its KV cache and, for compute, what was in use while a queue of 5 stood
(else the mean of ten such observations for outputs of that length, else what the engine's limits allow in steady
state); the median over replicas counts. More replicas above 0.85 of the capacity of those there are and come, fewer
below 0.70 of those ready; what is held at the gateway counts with its prompt and output.

Ours: the engine's limits are the deployment's own arguments (its fallback is 8192 tokens a step and 256 sequences);
sizes are the fleet's. A replica at its objective has 0.1 to 0.2 of that capacity in use here until a queue was seen,
and up to all of what was in use beneath one, so the other settings move both shares together; they are as quick as
those of `wva`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from autoscaler.simulation.engines import Floats, Ints
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import hit_share, mean_output_tokens, mean_prompt_tokens
from autoscaler.simulation.policies.wva import FULL_KV, FULL_QUEUE, WvaLoop, pace
from autoscaler.simulation.view import View

MORE, LESS = 0.85, 0.70  # of the capacity
LESS_OF_MORE = LESS / MORE
SEEN = 10  # observations of a capacity that are averaged
OUTPUT_BUCKETS = (100.0, 500.0)  # tokens
SHARES = (1.2, MORE, 0.6, 0.4, 0.25, 0.13)


class WvaV2(WvaLoop):
    """Token capacity: as many replicas as demand is above or below it."""

    def __init__(self, deployment: Deployment, more: float = MORE, *, is_fast: bool = False) -> None:
        super().__init__(deployment, is_fast=is_fast)
        self.more, self.less = more, more * LESS_OF_MORE
        self.batched_tokens = deployment.profile.batched_tokens
        self.sequences = deployment.profile.sequences
        self.capacities: dict[int, deque[float]] = {}

    def decide(self, view: View) -> int:
        """Up by what is required, down by what is spare."""
        return combined(view, [self.analysis(view)])

    def analysis(self, view: View) -> tuple[float, float]:
        """Replicas required beyond those there are and come, and replicas to spare."""
        kv_use, queue = self.peaks(view)
        prompt, output = mean_prompt_tokens(self.sizes), mean_output_tokens(self.sizes)
        in_use = kv_use * view.kv_tokens
        capacity = self._capacity(view, in_use, queue, prompt, output)
        held = view.held * (prompt * (1.0 - hit_share(self.sizes)) + output)
        demand = float((in_use + queue * prompt).sum()) + held
        return self.shares(view, demand, capacity)

    def shares(self, view: View, demand: float, capacity: float) -> tuple[float, float]:
        """A demand against the capacity of one replica, both in replicas."""
        required = demand / self.more / capacity - view.spec
        return max(0.0, required), max(0.0, view.ready - demand / self.less / capacity)

    def _capacity(self, view: View, in_use: Floats, queue: Ints, prompt: float, output: float) -> float:
        """The median over replicas of min(memory, compute)."""
        memory = FULL_KV * view.kv_tokens
        bucket = int(np.searchsorted(OUTPUT_BUCKETS, output, side="right"))
        history = self.capacities.setdefault(bucket, deque(maxlen=SEEN))
        observed = (queue >= FULL_QUEUE) & (in_use > 0.0)
        history.extend(in_use[observed].tolist())
        others = memory
        if history:
            others = sum(history) / len(history)
        elif output > 0.0:
            running = min(self.batched_tokens * output / (prompt + output), float(self.sequences))
            others = running * (prompt + output / 2.0)
        return float(np.median(np.minimum(memory, np.where(observed, in_use, others))))


def combined(view: View, analyses: Sequence[tuple[float, float]]) -> int:
    """More when any analysis requires it, fewer when all have replicas to spare."""
    required = max(one[0] for one in analyses)
    if required > 0.0:
        return view.spec + math.ceil(required - 1e-9)
    return max(1, view.spec - math.floor(min(one[1] for one in analyses) + 1e-9))


def _v2(more: float) -> Setting:
    is_default = more == MORE

    def build(deployment: Deployment) -> WvaV2:
        return WvaV2(deployment, more, is_fast=not is_default)

    return Setting(f"more={more:g} {pace(is_default=is_default)}", build, default=is_default)


PEERS: tuple[Peer, ...] = (
    Peer("wva-v2", "llm-d WVA v0.9.0, internal/engines/analyzers/saturation_v2", tuple(_v2(m) for m in SHARES)),
)
