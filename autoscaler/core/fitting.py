"""What the capacity curve is worked out from: the mix, the step model, the limits, as learned.

Law: inputs move in steps of one per cent, and the curve is a pure function of them; so it is worked out anew only when
they moved, and a restored planner comes to the same curve.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from autoscaler.core.capacity import Curve, Mix, curve
from autoscaler.core.priors import Limits, StepModel, prior
from autoscaler.core.records import Objective, RoleSpec
from autoscaler.core.sizes import LONG, Sizes, lognormal
from autoscaler.core.tracking import Tick, Tracked

ASSUMED_PROMPT, ASSUMED_OUTPUT = (
    1000.0,
    200.0,
)  # until sizes were seen: near the Azure 2023 conversation mix (1246, 204)
ASSUMED_CV2 = 1.0  # of Azure 2023 conversation and code: prompts 0.93, 0.94; outputs 0.65, 4.7
LEAST_SIZES = 100.0  # requests: means of sizes with a squared variation of 1 are then known within 10 %
ENOUGH_SIZES = 12000.0  # requests: their mean is then known within 1 %, and a longer span would only lag
LEAST_SPAN_S = 150.0
FILLING = 0.8  # share of what began that still runs, beyond which outputs are not read
GRID = 0.01
SHARES_GRID = 4  # digits
LEAST_TOKENS = 50.0  # times between tokens, before they tell a step's length
# Prompts are counted when they end, steps while they last: within a second or two the one is there without the other,
# and a wake-up taught a base of twice the true one.
STEPS_S = 15.0
HELD_FADE_S = 300.0
PRIOR_SPREAD = 0.35  # of each coefficient: the table's rows against measured engines (0.82 to 0.96) and one another


def _grid(value: float) -> float:
    return math.exp(round(math.log(max(1e-12, value)) / GRID) * GRID)


@functools.lru_cache(maxsize=64)
def _grid_sizes(sizes: Sizes) -> Sizes:
    shares = [round(share, SHARES_GRID) for share in sizes.shares]
    total = sum(shares)
    return Sizes(tuple(_grid(t) for t in sizes.tokens), tuple(share / total for share in shares))


def mix_of(tracked: Tracked, now: float, role: str, rate_rps: float = 0.0) -> tuple[Mix, bool]:
    """The sizes of recent requests, and whether they are assumed rather than measured."""
    span_s = min(tracked.sizes.span_s, max(LEAST_SPAN_S, ENOUGH_SIZES / max(1e-9, rate_rps)))
    _, (begun, prompt, cached, generated, grown) = tracked.sizes.totals(now, span_s, 5)
    # What runs now has on average been through half of its output, and so had what ran when the window began.
    through = begun - 0.5 * grown
    # A fleet that fills at a wake-up has generated next to nothing yet: a hundred requests read as 2 tokens each.
    if min(begun, through) >= LEAST_SIZES and prompt > 0.0 and grown <= FILLING * begun:
        tracked.means = [prompt / begun, max(1.0, generated / through), min(0.95, cached / prompt)]
    assumed = not tracked.means
    prompt_mean, output_mean, cached_share = tracked.means or [ASSUMED_PROMPT, ASSUMED_OUTPUT, 0.0]
    prompt_mean, output_mean, cached_share = _grid(prompt_mean), _grid(output_mean), round(cached_share, 2)
    held = None
    if tracked.running_s > 1.0 and tracked.held_s > 0.0 and not assumed:
        held = _grid(max(0.25 * prompt_mean, tracked.held_s / tracked.running_s))
    shapes = tracked.learned.shapes
    prompts = _grid_sizes(shapes.prompts.sizes(prompt_mean, LONG) or lognormal(prompt_mean, ASSUMED_CV2))
    outputs = _grid_sizes(shapes.outputs.sizes(output_mean) or lognormal(output_mean, ASSUMED_CV2))
    if role == "prefill":
        return Mix(prompts, Sizes((1.0,), (1.0,)), cached_share), assumed
    if role == "decode":
        return Mix(prompts, outputs, 0.999, held), assumed
    return Mix(prompts, outputs, cached_share, held), assumed


@functools.lru_cache(maxsize=256)
def _curve(step: StepModel, limits: Limits, mix: Mix, objective: Objective, replicas: float) -> Curve:
    return curve(step, limits, mix, objective, replicas)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the curve is worked out from, as it was a moment ago."""

    at_s: float
    step: StepModel
    limits: Limits
    mix: Mix
    assumed: bool  # the sizes of requests are a guess
    knows_tokens: bool = True  # tokens per step were told, by pages or the operator
    knows_sequences: bool = True  # and how many requests run at a time

    @property
    def per_running_s(self) -> float:
        """Step time that each running request adds to each step."""
        return self.step.sequence_s + self.step.kv_token_s * self.mix.holds

    @property
    def prompt_weight_s(self) -> float:
        """Step time that each prompt token of a request adds over its life."""
        return self.step.prompt_token_s * (1.0 - self.mix.cached_share)

    def work_s(self, prompt: float, output: float) -> float:
        """Step time that a request of such sizes, tokens, adds over its life."""
        return self.prompt_weight_s * prompt + self.per_running_s * output

    def curve(self, objective: Objective, replicas: int) -> Curve:
        """The curve of one replica among `replicas`."""
        near = float(replicas if replicas <= 4 else round(2.0 ** (round(2.0 * math.log2(replicas)) / 2.0)))
        return _curve(self.step, self.limits, self.mix, objective, near)


def fit(tracked: Tracked, spec: RoleSpec, rate_rps: float, now: float) -> Fitted:
    """Prior and what was learned, within the limits that pages tell."""
    base = prior(spec.prior)
    tokens = spec.max_batched_tokens or tracked.learned.batched_tokens
    sequences = spec.max_sequences or tracked.learned.max_running
    limits = Limits(
        tracked.learned.kv_capacity_tokens or base.limits.kv_tokens,
        float(sequences or base.limits.sequences),
        float(tokens or base.limits.batched_tokens),
    )
    step = tracked.speed.model(base.step)
    step = StepModel(_grid(step.base_s), _grid(step.sequence_s), _grid(step.prompt_token_s), _grid(step.kv_token_s))
    mix, assumed = mix_of(tracked, now, spec.role, rate_rps)
    return Fitted(now, step, limits, mix, assumed, knows_tokens=bool(tokens), knows_sequences=bool(sequences))


def learn_speed(tracked: Tracked, spec: RoleSpec, tick: Tick, tick_s: float) -> None:
    """Take what one tick tells of a step's length and of the KV tokens a request holds."""
    added, fade = tick.added, math.exp(-tick_s / HELD_FADE_S)
    tracked.held_s = tracked.held_s * fade + added.kv_token_s
    tracked.running_s = tracked.running_s * fade + added.running_s
    # A prompt slows those that decode when it comes; the least-loaded replica it goes to has fewer than the mean.
    fewer = (1.0 - 1.0 / max(1, len(tick.ready))) ** 2 * max(0.0, added.prompt - added.cached)
    told = (tick_s, added.itl_s, added.itl_count, added.sequences, added.prompt_waits - fewer, added.kv_read)
    tracked.steps = [before + now for before, now in zip(tracked.steps, told, strict=True)]
    seconds, spent_s, tokens, sequences, prompts, kv_read = tracked.steps
    if seconds < STEPS_S or tokens < LEAST_TOKENS:
        return
    tracked.steps = [0.0] * len(told)
    base = prior(spec.prior)
    spread = base.spread * PRIOR_SPREAD
    tracked.speed.learn(
        base.step, spread, spent_s / tokens, sequences / tokens, max(0.0, prompts) / tokens, kv_read / tokens, seconds
    )
