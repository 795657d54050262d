"""Dynamo Planner's throughput loop: the load predicted one interval ahead over what the profile says one engine takes.

Source: ai-dynamo/dynamo components/src/dynamo/planner/core (throughput_scaling.py, perf_model/agg.py), aggregated
engines. Every 180 s the request count and the mean prompt and output sizes of the interval are predicted for the next
one; an engine's rate is that of the largest batch whose mean ITL and TTFT are within the targets. Its published
predictor is an automatic ARIMA; Kalman is its own choice for bursty load. Its TTFT 0.5 s and ITL 50 ms are the
objective's, its budget of 8 GPUs the deployment's maximum. The settings are the predictor and the share of the
objective it aims at: its targets are means, the objective is a share of requests. Ours: the output size is tokens
generated over requests finished in the interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autoscaler.core.records import Objective
from autoscaler.simulation.engines import Floats, Params
from autoscaler.simulation.policies.dynamo_predictors import AutoArima, Kalman, Predictor
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.view import View

INTERVAL_S = 180.0
SCRAPE_S = 15.0
MOST_CHANGE = 8  # replicas in one step


@dataclass(frozen=True, slots=True)
class Mix:
    """Mean sizes of requests."""

    prompt_tokens: float
    output_tokens: float
    cached_share: float


def engine_rps(profile: Params, mix: Mix, ttft_s: float, itl_s: float) -> float:
    """Requests per second of the largest batch whose mean ITL and TTFT are within the targets, or of a batch of one.

    A batch is limited by the KV cache, the sequence limit, and by prefill that keeps up with decode.
    """
    prompt, output = max(1.0, mix.prompt_tokens), max(1.0, mix.output_tokens)
    computed, held = prompt * (1.0 - mix.cached_share), prompt + output / 2.0
    keeps_up = output * profile.batched_tokens / (prompt + output)
    most = max(1, int(min(profile.kv_tokens / held, profile.sequences, profile.batched_tokens - 1.0, keeps_up)))
    batch: Floats = np.arange(1.0, most + 1.0)
    decode_s = profile.base_s + batch * (profile.sequence_s + profile.kv_token_s * held)
    tokens = np.minimum(batch * computed / output, profile.batched_tokens)
    step_s = decode_s + profile.prompt_token_s * tokens
    ahead = np.floor(tokens) + computed  # what one step has queued, and the request itself, in whole steps
    first_s = np.ceil(ahead / profile.batched_tokens) * decode_s + profile.prompt_token_s * ahead
    misses = np.nonzero((step_s > itl_s) | (first_s > ttft_s))[0]
    best = most - 1 if not len(misses) else max(0, int(misses[0]) - 1)
    return float(batch[best] / (output * step_s[best]))


class ThroughputLoop:
    """What the predicted load needs, from counters read once an interval."""

    def __init__(self, profile: Params, objective: Objective, share: float, predictor: type[Predictor]) -> None:
        self.profile = profile
        self.ttft_s, self.itl_s = share * objective.ttft_s, share * objective.tpot_s
        self.requests, self.prompt, self.output, self.hit = predictor(), predictor(), predictor(), predictor()
        self.former: View | None = None

    def needed(self, view: View) -> int | None:
        """The replicas for the interval to come; None before one is over, or without load so far."""
        former, self.former = self.former, view
        if former is None or view.at_s <= former.at_s:
            return None
        new, old = view.totals, former.totals
        first, finished = new.first_tokens - old.first_tokens, new.finished - old.finished
        prompt_tokens = new.prompt_tokens - old.prompt_tokens
        self.requests.add((view.arrivals - former.arrivals) * INTERVAL_S / (view.at_s - former.at_s))
        if first > 0 and finished > 0:  # an interval without a request says nothing of sizes
            self.prompt.add(prompt_tokens / first)
            self.output.add((new.generated_tokens - old.generated_tokens) / finished)
            self.hit.add((new.cached_tokens - old.cached_tokens) / max(1.0, prompt_tokens))
        if not self.prompt.count:
            return None
        mix = Mix(self.prompt.next(), self.output.next(), min(0.99, self.hit.next()))
        rps = engine_rps(self.profile, mix, self.ttft_s, self.itl_s)
        return max(1, math.ceil(self.requests.next() / INTERVAL_S / rps))


class DynamoThroughput:
    """The loop alone, as published: it writes the count itself."""

    period_s = INTERVAL_S
    scrape_s = SCRAPE_S

    def __init__(self, loop: ThroughputLoop) -> None:
        self.loop = loop

    def decide(self, view: View, now_s: float) -> int:
        """What the next interval needs, at most 8 replicas away."""
        needed = self.loop.needed(view)
        if needed is None:
            return max(1, view.spec)
        return min(max(needed, view.spec - MOST_CHANGE), view.spec + MOST_CHANGE)


def _setting(name: str, predictor: type[Predictor], share: float) -> Setting:
    def build(deployment: Deployment) -> DynamoThroughput:
        return DynamoThroughput(ThroughputLoop(deployment.profile, deployment.objective, share, predictor))

    return Setting(f"predictor={name} share={share:g}", build, default=(name, share) == ("arima", 1.0))


PEERS: tuple[Peer, ...] = (
    Peer(
        "dynamo-throughput",
        "ai-dynamo/dynamo components/src/dynamo/planner, throughput loop",
        (
            *(_setting("arima", AutoArima, share) for share in (1.0, 0.5)),
            *(_setting("kalman", Kalman, share) for share in (1.0, 0.65, 0.5)),
            _setting("constant", Predictor, 0.65),
        ),
    ),
)
