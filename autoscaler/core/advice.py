"""Settings of the model server that would save replicas: tokens per step, and requests at a time.

A step that is full of prompt tokens holds up every decode in it. With C tokens a step and n running sequences of h KV
tokens it takes a + b n + c n h + g (C - n): kept within the limit on the time per output token, no prompt can make a
request miss it; and fewer tokens than that make prompts wait. As many sequences should be let in as decode within that
limit and fit in the cache: at fewer, requests wait beside a server that has room. Law: said, never applied, and only
against settings that are known; it is the formula's word until a back-test of the user's own history agrees. How far
it was off in simulations: docs/design.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autoscaler.core.capacity import KV_USABLE, Curve, curve
from autoscaler.core.fitting import Fitted
from autoscaler.core.priors import Limits
from autoscaler.core.records import Objective, Reason

TOKENS, SEQUENCES = "max_num_batched_tokens", "max_num_seqs"  # as vLLM calls them
EVERY_S = 600.0  # it hangs on the step model and the mix, which drift over hours
GRAIN_TOKENS = 64  # sizes of prefill kernels
GRAIN_SEQUENCES = 8
LEAST_TOKENS, MOST_TOKENS, MOST_SEQUENCES = 64, 8192, 1024  # the most: vLLM's own on its largest GPUs
# Of what a replica clears with the other setting: beyond it first tokens come late, whatever the closed form says. What
# is set now is believed to the last, so that the doubt is never a saving.
KNEE = 0.85
LEAST_SAVED = 0.05  # of the replicas: the closed form is within about so much


@dataclass(frozen=True, slots=True)
class Advice:
    """One setting: what is set, what would be better, and what it would save."""

    setting: str
    now: float
    better: float
    saved_share: float  # of the replicas
    saved_gpus: float  # of those asked for when it was worked out: GPU-hours an hour

    @property
    def reason(self) -> Reason:
        """The advice in words."""
        what = "steps of {:.0f} tokens" if self.setting == TOKENS else "{:.0f} requests at a time"
        text = (
            f"{what.format(self.better)} instead of {self.now:.0f} (vLLM: --{self.setting.replace('_', '-')}) would "
            f"save about {self.saved_share:.0%} of the replicas, {self.saved_gpus:.1f} GPU-hours an hour at this load; "
            "`autoscaler backtest` checks it on your history"
        )
        numbers = (
            (self.setting, self.now),
            (f"better_{self.setting}", self.better),
            ("saved_share", self.saved_share),
            ("saved_gpus", self.saved_gpus),
        )
        return Reason("server_advice", text, numbers)


@dataclass(frozen=True, slots=True)
class Advised:
    """What was advised, and when."""

    at_s: float
    found: tuple[Advice, ...]


def step_tokens(prompt_token_s: float, decode_s: float, tpot_s: float) -> float:
    """Tokens of the longest step within the limit on the time per output token, decodes taking `decode_s` of it."""
    return (tpot_s - decode_s) / prompt_token_s


def grained(tokens: float) -> int:
    """The nearest size that kernels are made for."""
    return min(MOST_TOKENS, max(LEAST_TOKENS, round(tokens / GRAIN_TOKENS) * GRAIN_TOKENS))


def sequences_within(base_s: float, per_running_s: float, tpot_s: float, holds_tokens: float, kv_tokens: float) -> int:
    """The most sequences that decode within the limit on the time per output token and fit in the cache; at least 1."""
    in_cache = KV_USABLE * kv_tokens / max(1.0, holds_tokens)
    most = min((tpot_s - base_s) / per_running_s, in_cache, MOST_SEQUENCES)
    return max(1, int(most) if most < GRAIN_SEQUENCES else int(most) // GRAIN_SEQUENCES * GRAIN_SEQUENCES)


def advise(fitted: Fitted, objective: Objective, replicas: int, gpus_per_replica: int) -> tuple[Advice, ...]:
    """Compare the settings that are known with those of the formulas, one at a time."""
    one = fitted.curve(objective, replicas)
    now_rps = one.rate(objective.attainment)
    found = []
    for setting, now, better, limits in _others(fitted, objective, one, now_rps):
        then = curve(fitted.step, limits, fitted.mix, objective, float(replicas))
        then_rps = min(then.rate(objective.attainment), KNEE * then.clearing_rps)
        saved = 1.0 - now_rps / then_rps if then_rps > 0.0 else 0.0
        if saved >= LEAST_SAVED:
            found.append(Advice(setting, now, better, saved, saved * replicas * gpus_per_replica))
    return tuple(found)


def _others(
    fitted: Fitted, objective: Objective, one: Curve, now_rps: float
) -> Iterator[tuple[str, float, float, Limits]]:
    """Settings to compare with: which, as it is, as it could be, and the limits then.

    A guess of ours against a better one would be advice on nobody's setting.
    """
    limits, step, per_running_s = fitted.limits, fitted.step, fitted.per_running_s
    if fitted.knows_tokens:
        running = now_rps * fitted.mix.outputs.mean * step.base_s / max(0.1, 1.0 - now_rps * one.request_s)
        decode_s = step.base_s + running * per_running_s
        tokens = float(grained(step_tokens(step.prompt_token_s, decode_s, objective.tpot_s)))
        # vLLM refuses fewer tokens per step than sequences.
        yield TOKENS, limits.batched_tokens, tokens, Limits(limits.kv_tokens, min(limits.sequences, tokens), tokens)
    if fitted.knows_sequences:
        holds = fitted.mix.holds
        most = float(sequences_within(step.base_s, per_running_s, objective.tpot_s, holds, limits.kv_tokens))
        most = min(most, limits.batched_tokens)
        yield SEQUENCES, limits.sequences, most, Limits(limits.kv_tokens, most, limits.batched_tokens)
