"""WVA's model-based analyzer (QMA): arrivals over what its queueing model carries within both limits.

Source: llm-d WVA v0.9.0, internal/engines/analyzers/queueingmodel (experimental; never validated end to end, its issue
1342); the model is `wva_queue`, its tuner `wva_filter`, the loop and the HPA are those of `wva`. Replicas are arrivals
over the largest rate that keeps both limits, rounded up. `wva-model` learns its times online; `wva-model-profiled` has
tuning off and takes them from an offline profile, as releases before it took them from the custom resource. One
accelerator, so its choice by cost falls away. As coded it never scaled: its supply is that rounded count times the
rate, so that less than one replica is ever missing or to spare; what its documents say is obeyed here.

Ours: the batch is what fits in the KV cache, the profile's time per sequence has no place in the model; the mix is that
of five minutes, rate and latencies are of one. Where no rate keeps the limits it repeats itself. It plans means where
the objective is a share of requests, so the settings are shares of both limits, 1 as published; those but the default
are as quick as those of `wva`. The published tuner begins with what it first sees, and near a limit that is so wrong
that it believes nothing any more; the other settings of `wva-model` begin with the profile.
"""

from __future__ import annotations

import math
from enum import Enum

from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import RATE_WINDOW_S, hit_share, mean_output_tokens, mean_prompt_tokens
from autoscaler.simulation.policies.rates import Recent
from autoscaler.simulation.policies.wva import WvaLoop, pace
from autoscaler.simulation.policies.wva_filter import Seen, Tuner
from autoscaler.simulation.policies.wva_queue import Queue, Times
from autoscaler.simulation.view import View


class Tuning(Enum):
    """Where alpha, beta and gamma come from."""

    SEEN = "seen"  # learnt, from the first observation on
    PROFILE = "profile"  # learnt, from the profile on
    OFF = "off"  # the profile's


# Share of both limits, tuning.
Knobs = tuple[float, Tuning]
DEFAULT: Knobs = (1.0, Tuning.SEEN)
LEARNT: tuple[Knobs, ...] = (DEFAULT, *((share, Tuning.PROFILE) for share in (1.0, 0.75, 0.6, 0.48, 0.38)))
PROFILED_DEFAULT: Knobs = (1.0, Tuning.OFF)
PROFILED: tuple[Knobs, ...] = tuple((share, Tuning.OFF) for share in (1.0, 0.82, 0.67, 0.55, 0.45, 0.37))


class WvaModel(WvaLoop):
    """Arrivals over the rate that one replica keeps within the limits."""

    def __init__(self, deployment: Deployment, share: float, tuning: Tuning, *, is_fast: bool = False) -> None:
        super().__init__(deployment, is_fast=is_fast)
        profile, objective = deployment.profile, deployment.objective
        self.ttft_s, self.itl_s = share * objective.ttft_s, share * objective.tpot_s
        self.sequences, self.kv_tokens = profile.sequences, profile.kv_tokens
        self.rates = Recent(RATE_WINDOW_S)
        times = Times(profile.base_s, profile.prompt_token_s, profile.kv_token_s)
        self.tuner = Tuner(None if tuning is Tuning.SEEN else times)
        self.is_learning = tuning is not Tuning.OFF

    def decide(self, view: View) -> int:
        """Replicas for the last minute's rate at the mix of the last five."""
        prompt = mean_prompt_tokens(self.sizes) * (1.0 - hit_share(self.sizes))
        output = mean_output_tokens(self.sizes)
        most_rps = self.most_rps(view, prompt, output) if prompt >= 1.0 and output >= 1.0 else None
        if most_rps is None:
            return self.desired if self.desired is not None else view.spec
        return math.ceil(self.rates.arrivals_rps() / most_rps - 1e-9)

    def most_rps(self, view: View, prompt: float, output: float) -> float | None:
        """The rate of one replica for a mix; None: none keeps the limits, or nothing was learnt yet."""
        batch = max(1, min(self.sequences, int(self.kv_tokens / (prompt + output / 2.0))))
        if self.is_learning:
            self.tuner.update(self._seen(view, prompt, output, batch))
        times = self.tuner.times
        return None if times is None else Queue(times, prompt, output, batch).sized_rps(self.ttft_s, self.itl_s)

    def _seen(self, view: View, prompt: float, output: float, batch: int) -> Seen:
        old, new = self.rates.ends
        first, gaps = new.first_tokens - old.first_tokens, new.itl_count - old.itl_count
        return Seen(
            self.rates.arrivals_rps() / view.ready,
            prompt,
            output,
            (new.ttft_s - old.ttft_s) / first if first > 0 else 0.0,
            (new.itl_s - old.itl_s) / gaps if gaps > 0 else 0.0,
            batch,
        )

    def _see(self, view: View) -> None:
        super()._see(view)
        self.rates.add(view)


def _setting(knobs: Knobs, default: Knobs) -> Setting:
    share, tuning = knobs
    is_default = knobs == default

    def build(deployment: Deployment) -> WvaModel:
        return WvaModel(deployment, share, tuning, is_fast=not is_default)

    return Setting(f"share={share:g} tuning={tuning.value} {pace(is_default=is_default)}", build, default=is_default)


_SOURCE = "llm-d WVA v0.9.0, internal/engines/analyzers/queueingmodel"
PEERS: tuple[Peer, ...] = (
    Peer("wva-model", _SOURCE, tuple(_setting(knobs, DEFAULT) for knobs in LEARNT)),
    Peer("wva-model-profiled", _SOURCE, tuple(_setting(knobs, PROFILED_DEFAULT) for knobs in PROFILED)),
)
