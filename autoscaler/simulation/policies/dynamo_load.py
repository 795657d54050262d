"""Dynamo Planner's load loop: one replica more or less from the state of the workers, never while one is starting.

Source: ai-dynamo/dynamo components/src/dynamo/planner/core/load_scaling.py, aggregated engines. Mode sla predicts the
next TTFT and ITL of every worker from regressions: up if all exceed the target, down if what remains could take the
load within 0.8 of it. The easy modes, throughput (its default) and latency, compare each worker's KV use, with the
prompts that wait, to thresholds; those on queued prompts alone are for workers that only prefill, which are not in
this world. Ours: the regressions are on time per forward pass, which no page tells; passes are
linear in what they are fitted to, so the profile stands for the fit. Waiting prompts have the mean size. With
`floor` the throughput loop, every 180 s, sets the fewest, as published. The further settings are the share of the
objective that mode sla aims at.
"""

from __future__ import annotations

import math

import numpy as np

from autoscaler.core.records import Objective
from autoscaler.simulation.engines import Floats, Params
from autoscaler.simulation.policies.dynamo_predictors import Kalman
from autoscaler.simulation.policies.dynamo_throughput import INTERVAL_S, ThroughputLoop
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.rates import Recent
from autoscaler.simulation.view import View

LOOP_S = 5.0
AVERAGES_S = 60.0  # of sizes and of prefill per step; its own averages are over 64 passes
SENSITIVITY = 0.8  # of the target, on the way down
EASY_THRESHOLDS = {"throughput": (1.0, 0.6), "latency": (0.4, 0.1)}  # KV use: up if any is above, down if all below


class Averages:
    """Means over the last minute: prompt, what of it is computed, and prefill tokens in a step of one worker."""

    def __init__(self) -> None:
        self.recent = Recent(AVERAGES_S)
        self.prompt_tokens = 0.0
        self.computed_tokens = 0.0
        self.step_prefill = 0.0

    def add(self, view: View) -> None:
        """Take a page."""
        self.recent.add(view)
        old, new = self.recent.ends
        first, computed = new.first_tokens - old.first_tokens, new.prompt_tokens - old.prompt_tokens
        if first <= 0 or computed <= 0.0 or new.itl_count <= old.itl_count:
            return
        computed -= new.cached_tokens - old.cached_tokens
        step_s = (new.itl_s - old.itl_s) / (new.itl_count - old.itl_count)
        self.prompt_tokens = (new.prompt_tokens - old.prompt_tokens) / first
        self.computed_tokens = computed / first
        self.step_prefill = computed / self.recent.seconds / max(1, view.ready) * step_s


class SlaRule:
    """Next TTFT and ITL of every worker, now and after one worker less."""

    def __init__(self, profile: Params, objective: Objective, share: float) -> None:
        self.profile = profile
        self.ttft_s, self.itl_s = share * objective.ttft_s, share * objective.tpot_s
        self.averages = Averages()

    def change(self, view: View) -> int:
        """+1, 0 or -1."""
        self.averages.add(view)
        if not self.averages.prompt_tokens:
            return 0
        running = view.running.astype(np.float64)
        kv = view.kv_usage * view.kv_tokens
        queued = np.asarray(view.waiting * self.averages.computed_tokens, dtype=np.float64)
        itl_s = self._itl_s(running, kv)
        if (self._ttft_s(queued, running, kv) > self.ttft_s).all() or (itl_s > self.itl_s).all():
            return 1
        return -1 if view.ready > 1 and self._can_lose_one(view, queued, running, kv) else 0

    def _can_lose_one(self, view: View, queued: Floats, running: Floats, kv: Floats) -> bool:
        more = view.ready / (view.ready - 1)
        running, kv_waiting = running * more, view.waiting * self.averages.prompt_tokens
        own_s = self._ttft_s(np.zeros_like(kv), running, kv * more)
        wait_s = self._ttft_s(queued * more, running, kv * more) - own_s
        kv = (kv + kv_waiting) * more
        return bool(
            (wait_s < SENSITIVITY * (self.ttft_s - own_s)).all()
            and (kv < view.kv_tokens).all()
            and (self._itl_s(running, kv) < SENSITIVITY * self.itl_s).all()
        )

    def _step_s(self, prefill: Floats | float, running: Floats, kv: Floats) -> Floats:
        p = self.profile
        return p.base_s + p.sequence_s * running + p.kv_token_s * kv + p.prompt_token_s * prefill

    def _ttft_s(self, queued: Floats, running: Floats, kv: Floats) -> Floats:
        """Whole steps for what waits and one more prompt."""
        tokens = queued + self.averages.computed_tokens
        steps = np.ceil(tokens / self.profile.batched_tokens)
        return np.asarray(steps * self._step_s(0.0, running, kv) + self.profile.prompt_token_s * tokens)

    def _itl_s(self, running: Floats, kv: Floats) -> Floats:
        """A step with one more request of mean length."""
        count = running.sum()
        return self._step_s(self.averages.step_prefill, running + 1.0, kv + (kv.sum() / count if count else 0.0))


class EasyRule:
    """KV use with the prompts that wait, of every worker, against two thresholds."""

    def __init__(self, mode: str) -> None:
        self.up, self.down = EASY_THRESHOLDS[mode]
        self.averages = Averages()

    def change(self, view: View) -> int:
        """+1, 0 or -1."""
        self.averages.add(view)
        use = view.kv_usage + view.waiting * self.averages.prompt_tokens / view.kv_tokens
        if (use > self.up).any():
            return 1
        return -1 if view.ready > 1 and (use < self.down).all() else 0


class DynamoLoad:
    """The load loop, over the throughput loop's floor if there is one."""

    period_s = LOOP_S
    scrape_s = LOOP_S

    def __init__(self, rule: SlaRule | EasyRule, floor: ThroughputLoop | None = None) -> None:
        self.rule = rule
        self.floor = floor
        self.least = 1
        self.floor_s = -math.inf
        self.page_s = -math.inf

    def decide(self, view: View, now_s: float) -> int:
        """One more or less, if the fleet is at rest."""
        if view.at_s <= self.page_s:
            return view.spec
        self.page_s = view.at_s
        if self.floor is not None and now_s - self.floor_s >= INTERVAL_S:
            self.floor_s = now_s
            self.least = self.floor.needed(view) or self.least
        change = self.rule.change(view) if view.ready else 0
        if view.coming or view.ready != view.spec:
            return view.spec
        return max(self.least, view.spec + change)


def _easy(mode: str) -> Setting:
    def build(_: Deployment) -> DynamoLoad:
        return DynamoLoad(EasyRule(mode))

    return Setting(f"mode={mode}", build, default=mode == "throughput")


def _sla(share: float, *, has_floor: bool = False) -> Setting:
    def build(deployment: Deployment) -> DynamoLoad:
        profile, objective = deployment.profile, deployment.objective
        floor = ThroughputLoop(profile, objective, share, Kalman) if has_floor else None
        return DynamoLoad(SlaRule(profile, objective, share), floor)

    return Setting(f"mode=sla share={share:g}" + (" floor=kalman" if has_floor else ""), build)


PEERS: tuple[Peer, ...] = (
    Peer(
        "dynamo-load",
        "ai-dynamo/dynamo components/src/dynamo/planner, load loop",
        (_easy("throughput"), _easy("latency"), _sla(1.0), _sla(0.8), _sla(0.65), _sla(0.8, has_floor=True)),
    ),
)
