"""From a history and settings to the scenario that every policy is played in, and the players.

Law: pure. What the user did not say is worked out from the history and said in the report.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from autoscaler.backtest.history import History, Plan
from autoscaler.backtest.settings import Settings
from autoscaler.core.priors import PRIORS, Prior
from autoscaler.simulation.comparison import Kind, Player, bins_of, loads
from autoscaler.simulation.engines import Params
from autoscaler.simulation.scenario import Scenario, Starts

WARM_UP_S, WARM_UP_SHARE = 3600.0, 0.1  # not scored, for every policy alike: the shorter of the two
# The most replicas, unless it is said: so many times what the busiest ten minutes need, or the busiest minute.
CEILING, BURST_CEILING, BURST_S = 4.0, 3.0, 60.0
LEAST_CEILING = 4
CHART_BINS = 480
# The planner decides every 5 s when live, a millisecond of this program each time. Over long histories it decides less
# often, or a week would take five minutes. Over a day each of azure2024-code and servegen-mlarge, 30 s moved attainment
# by at most 0.11 points and GPU-hours by 1.0 %, 15 s by 0.08 points and 0.8 %.
PERIODS_S = ((12 * 3600.0, 5.0), (36 * 3600.0, 15.0), (float("inf"), 30.0))  # (histories up to, seconds)
LIVE_PERIOD_S = 5.0
EARLY_S = 2.0  # a replica that served at a time was asked for its start-up time earlier


@dataclass(frozen=True, slots=True)
class Setup:
    """The scenario, who plays it, and what was worked out for it."""

    scenario: Scenario
    bins: tuple[float, int]  # of the charts: seconds, number
    ours: Player
    ran: Player | None
    peers: tuple[Player, ...]
    facts: tuple[str, ...]


def params_of(prior: Prior, tokens_per_step: int | None, sequences: int | None) -> Params:
    """The simulated replica of a prior."""
    step, limits = prior.step, prior.limits
    return Params(
        step.base_s,
        step.sequence_s,
        step.prompt_token_s,
        step.kv_token_s,
        limits.kv_tokens,
        int(sequences or limits.sequences),
        float(tokens_per_step or limits.batched_tokens),
    )


def setup(history: History, settings: Settings) -> Setup:
    """Build the scenario and the players."""
    prior = PRIORS[settings.replica]
    params = params_of(prior, settings.tokens_per_step, settings.sequences)
    end_s = history.end_s
    warm_up_s = min(WARM_UP_S, WARM_UP_SHARE * end_s) if settings.warm_up_s is None else settings.warm_up_s
    warm_up_s = min(warm_up_s, 0.5 * end_s)
    starts = Starts(settings.lead_time_s)
    scenario = Scenario(
        history.trace,
        warm_up_s,
        end_s,
        params,
        starts,
        settings.objective,
        min_replicas=settings.min_replicas,
        gpus_per_replica=settings.gpus_per_replica,
    )
    need = loads(scenario)
    ran = asked_for(history, starts)
    peak = max(CEILING * float(need.max()), BURST_CEILING * float(loads(scenario, BURST_S).max()))
    most = settings.max_replicas or max(
        LEAST_CEILING, settings.min_replicas, math.ceil(peak), *(n for _, n in ran or ())
    )
    first = ran[0][1] if ran else max(1, math.ceil(float(need[0]) - 1e-9))
    scenario = replace(
        scenario, max_replicas=most, initial_replicas=min(most, max(settings.min_replicas, first))
    )  # everybody begins with the same replicas
    period_s = settings.period_s or next(period for most_s, period in PERIODS_S if end_s <= most_s)
    facts = [
        f"Replica: {prior.key} ({prior.source}), {params.batched_tokens:g} tokens per step, "
        f"{params.sequences} sequences, {params.kv_tokens:,.0f} KV tokens; "
        f"starts take {settings.lead_time_s:g} s, 10 % more or less.",
        f"The first {warm_up_s / 60.0:.0f} minutes warm every policy up and are not scored; all begin with "
        f"{scenario.initial_replicas} replica{'s' if scenario.initial_replicas != 1 else ''}.",
    ]
    if settings.max_replicas is None:
        facts.append(f"maxReplicas was not given: {most}, from the busiest minutes and what ran.")
    if period_s != LIVE_PERIOD_S:
        facts.append(f"The planner decides every {period_s:g} s here, live every {LIVE_PERIOD_S:g} s: for speed.")
    ours = Player(
        Kind.OURS, "llm-autoscaler", period_s=period_s, prior=prior.key, batched_tokens=settings.tokens_per_step,
        sequences=settings.sequences, keep_warm_s=settings.keep_warm_s,
    )  # fmt: skip
    return Setup(
        scenario,
        bins_of(scenario, CHART_BINS),
        ours,
        Player(Kind.RAN, "what ran", plan=ran) if ran else None,
        tuple(Player(Kind.PEER, name) for name in settings.policies),
        tuple(facts),
    )


def asked_for(history: History, starts: Starts) -> Plan | None:
    """What ran as changes of spec.replicas: replicas seen serving had been asked for a start-up time before."""
    if history.ran is None or not history.ran_are_ready:
        return history.ran
    plan: list[tuple[float, int]] = [history.ran[0]]
    lead_s = starts.mean_s + EARLY_S
    for (_, before), (at_s, count) in zip(history.ran, history.ran[1:], strict=False):
        asked_s = max(0.0, at_s - lead_s) if count > before else at_s
        while len(plan) > 1 and plan[-1][0] >= asked_s:  # a raise asked for before an earlier fall voids it
            plan.pop()
        plan.append((asked_s, count))
    return tuple(plan)


def busiest(history: History, length_s: float) -> tuple[float, float]:
    """The span of a length with the most tokens asked for, beginning at a whole hour."""
    if history.end_s <= length_s:
        return 0.0, history.end_s
    hours = int(history.end_s // 3600.0)
    hour = np.minimum((history.trace.arrival_s // 3600.0).astype(int), hours)
    tokens = history.trace.prompt_tokens + history.trace.output_tokens
    sums = np.concatenate([[0.0], np.cumsum(np.bincount(hour, weights=tokens, minlength=hours + 1)[:hours])])
    wide = max(1, int(length_s // 3600.0))
    first = int(np.argmax(sums[wide:] - sums[:-wide]))
    return first * 3600.0, first * 3600.0 + length_s
