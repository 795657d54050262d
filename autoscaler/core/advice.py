"""The setting of the model server that would save replicas: tokens per step.

A step that is full of prompt tokens holds up every decode in it. With C tokens a step and n running sequences of h KV
tokens it takes a + b n + c n h + g (C - n): kept within the limit on the time per output token, no prompt can make a
request miss it. Law: said, never applied, and only against tokens per step that are known; it is the formula's word
until a back-test of the user's own history agrees, which tries other settings too.
"""

from __future__ import annotations

from dataclasses import dataclass

from autoscaler.core.capacity import Curve, curve
from autoscaler.core.fitting import Fitted
from autoscaler.core.priors import Limits
from autoscaler.core.records import Objective, Reason

EVERY_S = 600.0  # it hangs on the step model and the mix, which drift over hours
GRAIN_TOKENS = 64  # sizes of prefill kernels
LEAST_TOKENS = 64
KNEE = 0.85  # of what a replica clears: beyond it first tokens come late, whatever the closed form says
LEAST_SAVED = 0.05  # of the replicas: the closed form is within about so much


@dataclass(frozen=True, slots=True)
class Advice:
    """Tokens per step: what is set, what would be better, and what it would save."""

    at_s: float
    tokens: float
    better_tokens: float
    saved_share: float  # of the replicas; 0: nothing to gain
    saved_gpus: float = 0.0  # of those asked for when it was worked out: GPU-hours an hour

    @property
    def reason(self) -> Reason:
        """The advice in words."""
        text = (
            f"steps of {self.better_tokens:.0f} tokens instead of {self.tokens:.0f} (vLLM: --max-num-batched-tokens) "
            f"would save about {self.saved_share:.0%} of the replicas, {self.saved_gpus:.1f} GPU-hours an hour at this "
            "load; `autoscaler backtest` checks it on your history"
        )
        numbers = (
            ("tokens", self.tokens),
            ("better_tokens", self.better_tokens),
            ("saved_share", self.saved_share),
            ("saved_gpus", self.saved_gpus),
        )
        return Reason("server_advice", text, numbers)


def step_tokens(prompt_token_s: float, decode_s: float, tpot_s: float) -> float:
    """Tokens of the longest step within the limit on the time per output token, decodes taking `decode_s` of it."""
    return (tpot_s - decode_s) / prompt_token_s


def grained(tokens: float) -> int:
    """The nearest size that kernels are made for."""
    return max(LEAST_TOKENS, round(tokens / GRAIN_TOKENS) * GRAIN_TOKENS)


def _carries(one: Curve, attainment: float) -> float:
    return min(one.rate(attainment), KNEE * one.clearing_rps)


def advise(fitted: Fitted, objective: Objective, replicas: int, gpus_per_replica: int, now: float) -> Advice:
    """Compare the tokens per step with those that keep every step within the limit."""
    limits, step, tokens = fitted.limits, fitted.step, fitted.limits.batched_tokens
    nothing = Advice(now, tokens, tokens, 0.0)
    if not fitted.knows_tokens:
        return nothing  # a guess of ours against a better one would be advice on nobody's setting
    one = fitted.curve(objective, replicas)
    now_rps = _carries(one, objective.attainment)
    running = now_rps * fitted.mix.outputs.mean * step.base_s / max(0.1, 1.0 - now_rps * one.request_s)
    better = float(
        grained(step_tokens(step.prompt_token_s, step.base_s + running * fitted.per_running_s, objective.tpot_s))
    )
    if better >= tokens:
        return nothing
    shorter = Limits(limits.kv_tokens, min(limits.sequences, better), better)
    then_rps = _carries(curve(step, shorter, fitted.mix, objective, float(replicas)), objective.attainment)
    saved = 1.0 - now_rps / then_rps if then_rps > 0.0 else 0.0
    if saved < LEAST_SAVED:
        return nothing
    return Advice(now, tokens, better, saved, saved * replicas * gpus_per_replica)
