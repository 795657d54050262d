"""From what is tracked to a replica count for one role: demand over capacity, backlog, what is coming, what is surplus.

Law: up at once and in one step, down only what has been surplus for its break-even time; every clamp is a reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from autoscaler.core import histogram as hist
from autoscaler.core.capacity import Capacity, Mix, ReplicaModel, replica_model
from autoscaler.core.priors import Limits, prior
from autoscaler.core.records import Estimates, Objective, Reason, RoleSpec
from autoscaler.core.series import SlidingMax
from autoscaler.core.tracking import Tick, Tracked, forget_latencies

ASSUMED_MIX = Mix(1000.0, 200.0)  # until sizes were seen: near the Azure 2023 conversation mix (1246, 204)
LEAST_SIZES = 100.0  # requests: means of sizes with a squared variation of 1 are then known within 10 %
SHORT_S, LONG_S = 60.0, 240.0  # persistence of the larger of two means: fast up, steady down
SURPLUS_MARGIN = 1.05  # a replica is surplus only if the rest would carry 5 % more, so noise does not flap
CLEAR_S = 10.0  # a backlog is worked off within this time
SLOWNESS_BOUNDS = (0.4, 3.0)
HEADROOM_BOUNDS = (0.7, 1.2)
FLAT_SLOPE = 0.3  # fall of the share per unit of ln(rate) below which a share says little of the rate
LEAST_EVIDENCE = 200.0  # requests: a share of 0.95 is then known within about 1.5 points
LEARN_S = 180.0  # time constant of the corrections
LEAST_STARTS_QUANTILE = 0.9
AIM_MISSES = 0.8  # of the misses allowed: attainment is a floor, and runs of the demo differ by half a point
MAKE_UP_S = 1200.0  # time constant: 95 % of what was missed is made up for within the hour that follows
MAKE_UP_MOST = 0.993  # beyond it the last points cost more than they make up
UPPER_QUANTILE = 1.2816  # standard normal, 0.9: one in ten; the far tail costs more than it gains
DISPERSION_BOUNDS = (1.0, 4.0)  # Poisson at least; above, the ticks hold a trend rather than noise


@dataclass(frozen=True, slots=True)
class Sized:
    """The count one role needs, before service-wide rules."""

    replicas: int
    reasons: tuple[Reason, ...]
    estimates: Estimates
    lead_time_s: float
    rate_rps: float


@dataclass(slots=True)
class RoleState:
    """Everything remembered of one role."""

    tracked: Tracked = field(default_factory=Tracked)
    wanted: SlidingMax = field(default_factory=SlidingMax)
    last_replicas: int = 0
    decided_at_s: float | None = None
    missed: float = 0.0  # requests that were held for longer than the limit and are not made up for yet
    rate_rps: float = 0.0  # the last one


def lead_time_s(tracked: Tracked, prior_s: float) -> float:
    """Decision to serving at the 90th percentile of what was measured; the prior until one start was seen."""

    def quantile(values: list[float]) -> float:
        ordered = sorted(values)
        return ordered[min(len(ordered) - 1, math.ceil(LEAST_STARTS_QUANTILE * len(ordered)) - 1)]

    start_s = quantile(tracked.starts_s) if tracked.starts_s else prior_s
    return start_s + (quantile(tracked.reacts_s) if tracked.reacts_s else 0.0)


def mix_of(tracked: Tracked, now: float, role: str) -> tuple[Mix, bool]:
    """The sizes of recent requests, and whether they are assumed rather than measured."""
    _, (begun, prompt, cached, generated, grown) = tracked.sizes.totals(now, tracked.sizes.span_s, 5)
    # What runs now has on average been through half of its output, and so had what ran when the window began.
    through = begun - 0.5 * grown
    if through < LEAST_SIZES or prompt <= 0.0:
        mix, assumed = ASSUMED_MIX, True
    else:
        mix = Mix(prompt / begun, max(1.0, generated / through), cached_share=min(0.95, cached / prompt))
        assumed = False
    if role == "prefill":
        return Mix(mix.prompt_tokens, 1.0, cached_share=mix.cached_share), assumed
    if role == "decode":
        return Mix(mix.prompt_tokens, mix.output_tokens, cached_share=0.999), assumed
    return mix, assumed


def model_of(tracked: Tracked, spec: RoleSpec, mix: Mix, objective: Objective) -> ReplicaModel:
    """The replica's model: prior, corrected by the measured speed, within the limits its page tells."""
    base = prior(spec.prior)
    limits = Limits(
        tracked.kv_capacity_tokens or base.limits.kv_tokens,
        tracked.max_running or base.limits.sequences,
        float(spec.max_batched_tokens or base.limits.batched_tokens),
    )
    return replica_model(base.step.scaled(tracked.slowness), limits, mix, objective)


def learn(tracked: Tracked, tick: Tick, model: ReplicaModel, now: float, objective: Objective, tick_s: float) -> None:
    """Correct the model's speed from the measured time per token, and its capacity from the measured attainment."""
    serving = len(tick.ready)
    # Both corrections compare with a steady state: a fleet that grows or works off a queue proves nothing.
    if tick.coming or tick.blind or not serving or tick.waiting > 2.0 * serving:
        forget_latencies(tracked)
        return
    gain = min(0.5, tick_s / LEARN_S)
    _learn_speed(tracked, tick, model, now, gain)
    _learn_headroom(tracked, tick, model, now, objective, gain)


def _learn_speed(tracked: Tracked, tick: Tick, model: ReplicaModel, now: float, gain: float) -> None:
    serving = len(tick.ready)
    if not tick.itl_s or tick.running < serving:
        return
    step, n = model.step, tick.running / serving
    covered_s, (_, prompt, cached, _) = tracked.sizes.totals(now, SHORT_S, 4)
    prefill = (prompt - cached) / covered_s / serving if covered_s > 0 else 0.0
    idle = max(0.1, 1.0 - step.prompt_token_s * prefill)
    expected_s = (step.base_s + step.sequence_s * n + step.kv_token_s * tick.kv_tokens / serving) / idle
    ratio = min(3.0, max(1 / 3, tick.itl_s / expected_s))
    low, high = SLOWNESS_BOUNDS
    tracked.slowness = min(high, max(low, tracked.slowness * ratio**gain))


def _learn_headroom(
    tracked: Tracked, tick: Tick, model: ReplicaModel, now: float, objective: Objective, gain: float
) -> None:
    """Move the headroom along the model's own slope until it expects the share that pages tell.

    Where the slope is flat, as in an idle fleet, a share proves nothing, and nothing moves.
    """
    covered_s, (arrived,) = tracked.arrivals.totals(now, SHORT_S)
    if covered_s <= 0.0:
        return
    rate_rps = arrived / covered_s / len(tick.ready) / tracked.headroom
    tracked.expected += tick.judged * model.at(rate_rps).share
    ttft, tpot = tracked.ttft.share(objective.ttft_s), tracked.tpot.share(objective.tpot_s)
    if ttft is None or tpot is None or min(ttft.count, tpot.count) < LEAST_EVIDENCE:
        return
    error = hist.joint(ttft, tpot).middle - tracked.expected / tpot.count
    slope = model.slope(rate_rps)
    low, high = HEADROOM_BOUNDS
    moved = tracked.headroom * math.exp(gain * error * slope / (slope * slope + FLAT_SLOPE**2))
    tracked.headroom = min(high, max(low, moved))


def size(
    state: RoleState,
    spec: RoleSpec,
    objective: Objective,
    tick: Tick,
    *,
    held: float,
    held_rps: float | None,
    came: float,
    now: float,
    lead_prior_s: float,
    tick_s: float,
) -> Sized:
    """The replicas one role needs now; `held` requests wait outside, where `came` came since."""
    tracked = state.tracked
    mix, assumed = mix_of(tracked, now, spec.role)
    model = model_of(tracked, spec, mix, objective)
    learn(tracked, tick, model, now, objective, tick_s)
    lead_s = lead_time_s(tracked, lead_prior_s)
    rate_rps = _rate(tracked, now) if held_rps is None else held_rps
    state.rate_rps = rate_rps
    asked = _asked(state, objective, held, came, lead_s, tick_s)
    capacity = model.capacity(asked)
    carried_rps = max(1e-6, capacity.rate_rps * tracked.headroom)
    forecast_rps = _upper(tracked, rate_rps, now)
    need = forecast_rps / carried_rps
    floor = math.ceil(need - 1e-9)
    reasons = [
        Reason(
            "floor",
            f"{rate_rps:.2f} req/s, {forecast_rps:.2f} forecast, at {carried_rps:.2f} a replica: {need:.2f} needed",
            (
                ("rate_rps", rate_rps),
                ("forecast_rps", forecast_rps),
                ("capacity_rps", carried_rps),
                ("forecast_replicas", need),
            ),
        )
    ]
    if state.missed >= 1.0:
        text = f"requests held at a start missed the limit: {asked:.1%} is asked until they are made up for"
        reasons.append(Reason("make_up", text, (("asked", asked),)))
    if assumed:
        reasons.append(Reason("assumed_mix", "request sizes are assumed: none was measured yet"))
    wanted, backlog_reason = _with_backlog(floor, capacity, tick, held, rate_rps, lead_s, now)
    if backlog_reason:
        reasons.append(backlog_reason)
    wanted = max(wanted, _kept(state, tick, wanted, need, lead_s, now, reasons))
    demand = rate_rps / carried_rps
    estimates = replace(
        _estimates(spec.role, objective, mix, rate_rps, carried_rps, demand, lead_s, tracked, tick, held),
        forecast_replicas=need,
    )
    return Sized(wanted, tuple(reasons), estimates, lead_s, rate_rps)


def _rate(tracked: Tracked, now: float) -> float:
    rates = []
    for over_s in (SHORT_S, LONG_S):
        covered_s, (arrived,) = tracked.arrivals.totals(now, over_s)
        if covered_s > 0:
            # Seconds without an entry are unknown, except that a window never covered in full counts by its span.
            rates.append(arrived / max(covered_s, min(over_s, 5.0)))
    return max(rates, default=0.0)


def _asked(state: RoleState, objective: Objective, held: float, came: float, lead_s: float, tick_s: float) -> float:
    """The share to size for, so that the requests missed while held are made up for by those that follow.

    No server's page tells of those: they wait outside, about a lead time each. What is missed fades as it is made up.
    """
    state.missed *= math.exp(-tick_s / MAKE_UP_S)
    if held > 0.0 and lead_s > objective.ttft_s:
        state.missed += came
    aim = 1.0 - AIM_MISSES * (1.0 - objective.attainment)
    if state.missed < 1.0:
        return aim
    following = max(state.missed, state.rate_rps * MAKE_UP_S)
    return min(max(aim, MAKE_UP_MOST), aim + state.missed / following)


def _upper(tracked: Tracked, rate_rps: float, now: float) -> float:
    """The rate that is exceeded with one chance in ten: persistence, and the noise that its window leaves.

    A count over a window has variance = dispersion * mean; the dispersion is measured over the same ticks.
    """
    if rate_rps <= 0.0:
        return 0.0
    chi2 = ticks = 0.0
    for entry in tracked.arrivals.entries:
        expected = rate_rps * (entry[1] - entry[0])
        if entry[0] >= now - LONG_S and expected > 0.0:
            chi2 += (entry[2] - expected) ** 2 / expected
            ticks += 1.0
    low, high = DISPERSION_BOUNDS
    dispersion = min(high, max(low, chi2 / ticks if ticks else low))
    return rate_rps + UPPER_QUANTILE * math.sqrt(dispersion * rate_rps / SHORT_S)


def _with_backlog(
    floor: int, capacity: Capacity, tick: Tick, held: float, rate_rps: float, lead_s: float, now: float
) -> tuple[int, Reason | None]:
    """Replicas that also work off what waits, counting what will have gathered by the time new ones serve."""
    waiting = tick.waiting + held
    # A few waiting requests are the ordinary granularity of prefill, not a backlog.
    if waiting <= 2.0 * max(1, len(tick.ready)):
        return floor, None
    # What serves or loads already works on it too, for as long as it serves until one asked for now would.
    ages_s = (max(0.0, now - (now if one.created_at_s is None else one.created_at_s)) for one in tick.coming)
    serving_s = len(tick.ready) * lead_s + sum(min(lead_s, age_s) for age_s in ages_s)
    gathered = max(0.0, waiting + rate_rps * lead_s - capacity.saturation_rps * serving_s)
    # Beyond the rate inside the objective a replica still works off its queue, but nobody it serves meets the limits.
    clearing_rps = max(1e-6, 0.5 * (capacity.rate_rps + capacity.saturation_rps))
    needed = math.ceil((rate_rps + gathered / CLEAR_S) / clearing_rps - 1e-9)
    if needed <= floor:
        return floor, None
    text = f"{waiting:.0f} requests wait, {gathered:.0f} when new ones serve: {needed} clear them in {CLEAR_S:.0f} s"
    return needed, Reason("backlog", text, (("waiting", waiting), ("gathered", gathered), ("replicas", float(needed))))


def _kept(
    state: RoleState, tick: Tick, wanted: int, need: float, lead_s: float, now: float, reasons: list[Reason]
) -> int:
    """The count to keep on the way down: the most that was wanted within the break-even time."""
    with_margin = max(wanted, min(state.last_replicas, math.ceil(need * SURPLUS_MARGIN - 1e-9)))
    # Also what was wanted and has not come yet: dropping such wishes cost 0.5 points of attainment and saved nothing.
    most = state.wanted.push(now, with_margin, lead_s)
    if tick.blind and state.last_replicas > most:
        reasons.append(Reason("partly_blind", f"{len(tick.blind)} replicas do not answer: none is taken away"))
        return state.last_replicas
    if most > wanted:
        text = f"{most} were wanted within the last {lead_s:.0f} s, the break-even time of a start: kept"
        reasons.append(Reason("break_even", text, (("kept", float(most)), ("break_even_s", lead_s))))
    return most


def _estimates(
    role: str,
    objective: Objective,
    mix: Mix,
    rate_rps: float,
    carried_rps: float,
    need: float,
    lead_s: float,
    tracked: Tracked,
    tick: Tick,
    held: float,
) -> Estimates:
    ttft, tpot = tracked.ttft.share(objective.ttft_s), tracked.tpot.share(objective.tpot_s)
    attainment = hist.joint(ttft, tpot).middle if ttft is not None and tpot is not None else None
    return Estimates(
        role=role,
        arrivals_rps=rate_rps,
        prompt_tokens_mean=mix.prompt_tokens,
        output_tokens_mean=mix.output_tokens,
        capacity_rps=carried_rps,
        demand_replicas=need,
        forecast_replicas=need,
        lead_time_s=lead_s,
        attainment=attainment,
        backlog_requests=tick.waiting + held,
    )
