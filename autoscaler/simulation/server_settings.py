"""Settings of the model server worth trying on a history: tokens per step, and sequences.

A step that is full of prompt tokens holds up every decode in it. With C tokens a step, n running sequences and h KV
tokens each, it takes a + b n + c n h + g (C - n): kept within the limit on the time per output token, no prompt can
make a request miss it. As many sequences should be let in as decode within that limit and fit in the cache. Law:
candidates only, the formulas of `core.advice`; a simulation of the history decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoscaler.core.advice import SEQUENCES, TOKENS, grained, sequences_within, step_tokens
from autoscaler.core.records import Objective
from autoscaler.simulation.engines import Params
from autoscaler.simulation.trace import Trace

# Share of what the limit leaves over the base of a step that decodes take: about half of a full fleet's.
DECODES = 0.2
# The formula holds for one load; a fuller fleet wants shorter steps, and shorter steps may be too short for the prompts
# that come.
TIMES = (0.75, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One change to the server."""

    setting: str
    value: int
    params: Params


def candidates(params: Params, objective: Objective, trace: Trace) -> tuple[Candidate, ...]:
    """Other tokens per step, by the limit on the time per output token and around it; and other sequences."""
    left_s = objective.tpot_s - params.base_s
    if left_s <= 0.0 or not len(trace.arrival_s):
        return ()
    formula = step_tokens(params.prompt_token_s, params.base_s + DECODES * left_s, objective.tpot_s)
    tokens = {grained(formula * times) for times in TIMES}
    found = [
        # vLLM refuses fewer tokens per step than sequences.
        Candidate(TOKENS, c, params._replace(batched_tokens=float(c), sequences=min(params.sequences, c)))
        for c in sorted(tokens)
        if c != params.batched_tokens
    ]
    most = _sequences(params, objective, held_tokens(trace))
    if most != params.sequences:
        found.append(Candidate(SEQUENCES, most, params._replace(sequences=most)))
    return tuple(found)


def _sequences(params: Params, objective: Objective, held: float) -> int:
    """Fewer where a full batch alone is over the limit, more where it is below it and the cache has room."""
    step = (params.base_s, params.sequence_s + params.kv_token_s * held, objective.tpot_s, held)
    in_time = sequences_within(*step, math.inf)
    if in_time < params.sequences:
        return in_time
    return max(params.sequences, min(sequences_within(*step, params.kv_tokens), int(params.batched_tokens)))


def held_tokens(trace: Trace) -> float:
    """KV tokens a running request holds on average: requests count by how long they run."""
    outputs = trace.output_tokens
    return float(((trace.prompt_tokens + outputs / 2.0) * outputs).sum() / max(1.0, float(outputs.sum())))
