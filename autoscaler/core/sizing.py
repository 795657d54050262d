"""From what is tracked to a replica count for one role: expected share over the forecast, backlog, what is surplus.

Law: up at once and in one step, down only what has been surplus for its break-even time; every clamp is a reason.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

from autoscaler.core.asking import Count, Price, asked_share, caution, count_for
from autoscaler.core.capacity import Curve
from autoscaler.core.fitting import curve_of, learn_speed, mix_of
from autoscaler.core.forecast import Forecast
from autoscaler.core.headroom import Headroom
from autoscaler.core.records import Estimates, Objective, Reason, RoleSpec
from autoscaler.core.series import SlidingMax
from autoscaler.core.tracking import Tick, Tracked

SHORT_S, LONG_S = 60.0, 240.0
REACT_S = 15.0  # the HPA's sync: what a decision waits for
CLEAR_S = 10.0  # a backlog is worked off within this time
BACKLOG_S = 0.5  # seconds of arrivals that may wait before it is a backlog
# A surplus replica is kept this long. It is not idle: the share it adds is spent elsewhere, so the best is longer than
# the break-even time of an idle one (240 + 2.2 L: 1.05 of the bound at 120 s starts where one lead time had 1.12).
KEEP_S, KEEP_LEADS = 240.0, 2.2
TOLERANCE = 0.1  # of the replicas there: a need nearer than that changes nothing
CURVE_ROUNDS = 2  # one replica alone carries half of what it does among four: a count's own curve, not the former one's
LEAST_RATE = 0.7  # of the rate at the objective: beyond it the last points cost more than they make up
MADE_UP = 0.005  # of the share asked, before it is worth a reason
LEAST_STARTS_QUANTILE = 0.9


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
    forecast: Forecast = field(default_factory=Forecast)
    headroom: Headroom = field(default_factory=Headroom)
    price: Price = field(default_factory=Price)
    wanted: SlidingMax = field(default_factory=SlidingMax)
    last_replicas: int = 0
    decided_at_s: float | None = None
    rate_rps: float = 0.0  # the last one


def lead_time_s(tracked: Tracked, prior_s: float) -> float:
    """Decision to serving at the 90th percentile of what was measured; the prior until one start was seen."""

    def quantile(values: list[float]) -> float:
        ordered = sorted(values)
        return ordered[min(len(ordered) - 1, math.ceil(LEAST_STARTS_QUANTILE * len(ordered)) - 1)]

    start_s = quantile(tracked.starts_s) if tracked.starts_s else prior_s
    return start_s + (quantile(tracked.reacts_s) if tracked.reacts_s else 0.0)


def _learn_headroom(state: RoleState, tick: Tick, now_curve: Curve, objective: Objective, tick_s: float) -> None:
    """Book what pages tell of attainment, and let the headroom learn from it."""
    attained, told, serving = state.tracked.attained, tick.told, len(tick.ready)
    attained.fade(tick_s)
    misses = attained.misses(told, objective)
    if misses is not None:
        # Those that were held are booked already; at a wake-up their first tokens are the first that pages tell of.
        booked = min(attained.charged, told.firsts)
        attained.charged -= booked
        new = 1.0 - booked / told.firsts
        attained.charge(misses * new, told.firsts * new, objective)
    elif tick.seconds > 0.0 and tick.arrived > 0.0:
        expected = now_curve.share(tick.arrived / tick.seconds / state.headroom.factor)
        attained.charge((1.0 - expected) * tick.arrived, tick.arrived, objective)
    if tick.blind or not serving or tick.waiting > BACKLOG_S * state.rate_rps + 2.0 * serving:
        state.headroom.drop()
    elif misses is not None:
        state.headroom.learn(now_curve, tick.arrived, tick.seconds, told.firsts, misses, tick_s)


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
    learn_speed(tracked, spec, tick, tick_s)
    mix, assumed = mix_of(tracked, now, spec.role)
    one = curve_of(tracked, spec, mix, objective, max(1, len(tick.ready)))
    one_of = functools.partial(curve_of, tracked, spec, mix, objective)
    lead_s = lead_time_s(tracked, lead_prior_s)
    rate_rps, factors = state.forecast.observe(tracked.arrivals, now, lead_s + REACT_S)
    _learn_headroom(state, tick, one, objective, tick_s)
    if held_rps is not None:
        rate_rps = held_rps
    if held > 0.0 and lead_s > objective.ttft_s:
        # No server's page tells of requests held outside: they miss, about a lead time's worth of them.
        tracked.attained.charge(came, came, objective)
        tracked.attained.charged += came
    state.rate_rps = rate_rps
    recent = tracked.attained.share(objective)
    asked = asked_share(tracked.attained, objective, rate_rps, recent)
    care = caution(tracked.attained, objective, rate_rps, recent)
    factors = tuple(factor**care for factor in factors)
    headroom = state.headroom.factor
    count = Count(0, 1.0, 0.0)
    if rate_rps > 0.0:
        # What one replica carries hangs on how many share the load, so the curve is that of the answer.
        one = one_of(max(len(tick.ready), min(spec.max_replicas, state.last_replicas), 1))
        most_asked = min(asked, max(objective.attainment, one.share(LEAST_RATE * one.rate(objective.attainment))))
        if tick_s > 0.0:
            state.price.take(one, rate_rps, factors, most_asked, headroom, tick_s)
        for _ in range(CURVE_ROUNDS):
            count = count_for(one, rate_rps, factors, most_asked, headroom, spec.max_replicas, state.price)
            one = one_of(max(1, min(spec.max_replicas, count.replicas)))
    capacity_rps = rate_rps / count.real if count.real > 0.0 else one.rate(asked) * headroom
    reasons = [_floor_reason(count, rate_rps, factors, asked, capacity_rps)]
    floor = _near(count, tick, spec, reasons)
    if asked > objective.attainment + MADE_UP:
        text = f"requests missed before are made up for: {asked:.1%} is asked of those that follow"
        reasons.append(Reason("make_up", text, (("asked", asked), ("owed", tracked.attained.owed))))
    if assumed:
        reasons.append(Reason("assumed_mix", "request sizes are assumed: none was measured yet"))
    wanted, backlog_reason = _with_backlog(floor, one, headroom, asked, tick, held, rate_rps, lead_s, now)
    if backlog_reason:
        reasons.append(backlog_reason)
    wanted = max(wanted, _kept(state, tick, wanted, lead_s, now, reasons))
    estimates = Estimates(
        role=spec.role,
        arrivals_rps=rate_rps,
        prompt_tokens_mean=mix.prompts.mean,
        output_tokens_mean=mix.outputs.mean,
        capacity_rps=capacity_rps,
        demand_replicas=rate_rps / capacity_rps,
        forecast_replicas=count.real,
        lead_time_s=lead_s,
        attainment=recent,
        backlog_requests=tick.waiting + held,
    )
    return Sized(wanted, tuple(reasons), estimates, lead_s, rate_rps)


def _floor_reason(
    count: Count, rate_rps: float, factors: tuple[float, ...], asked: float, capacity_rps: float
) -> Reason:
    text = (
        f"{rate_rps:.2f} req/s expected at {capacity_rps:.2f} a replica: {count.replicas} for {asked:.1%} of them, "
        f"{count.real:.2f} before rounding"
    )
    numbers = (
        ("rate_rps", rate_rps),
        ("rate_low_rps", rate_rps * factors[0]),
        ("rate_high_rps", rate_rps * factors[-1]),
        ("capacity_rps", capacity_rps),
        ("asked", asked),
        ("share", count.share),
        ("forecast_replicas", count.real),
    )
    return Reason("floor", text, numbers)


def _near(count: Count, tick: Tick, spec: RoleSpec, reasons: list[Reason]) -> int:
    """The count, or what is there where that is near enough: noise of a tenth does not start replicas."""
    present = min(spec.max_replicas, len(tick.ready) + len(tick.coming))
    if present == count.replicas or not present or abs(count.real / present - 1.0) > TOLERANCE:
        return count.replicas
    text = f"{count.real:.2f} are within {TOLERANCE:.0%} of the {present} there: no change"
    reasons.append(Reason("near", text, (("present", float(present)), ("needed", count.real))))
    return present


def _with_backlog(
    floor: int,
    one: Curve,
    headroom: float,
    asked: float,
    tick: Tick,
    held: float,
    rate_rps: float,
    lead_s: float,
    now: float,
) -> tuple[int, Reason | None]:
    """Replicas that also work off what waits, counting what will have gathered by the time new ones serve."""
    waiting = tick.waiting + held
    # A few waiting requests are the ordinary granularity of prefill, not a backlog.
    if waiting <= 2.0 * max(1, len(tick.ready)) + BACKLOG_S * rate_rps:
        return floor, None
    # What serves or loads already works on it too, for as long as it serves until one asked for now would.
    ages_s = (max(0.0, now - (now if r.created_at_s is None else r.created_at_s)) for r in tick.coming)
    serving_s = len(tick.ready) * lead_s + sum(min(lead_s, age_s) for age_s in ages_s)
    gathered = max(0.0, waiting + rate_rps * lead_s - one.saturation_rps * serving_s)
    # Beyond the rate inside the objective a replica still works off its queue, but nobody it serves meets the limits.
    clearing_rps = max(1e-6, 0.5 * (one.rate(asked) * headroom + one.saturation_rps))
    needed = math.ceil((rate_rps + gathered / CLEAR_S) / clearing_rps - 1e-9)
    if needed <= floor:
        return floor, None
    text = f"{waiting:.0f} requests wait, {gathered:.0f} when new ones serve: {needed} clear them in {CLEAR_S:.0f} s"
    return needed, Reason("backlog", text, (("waiting", waiting), ("gathered", gathered), ("replicas", float(needed))))


def _kept(state: RoleState, tick: Tick, wanted: int, lead_s: float, now: float, reasons: list[Reason]) -> int:
    """The count to keep on the way down: the most that was wanted within the time a surplus replica is kept."""
    keep_s = KEEP_S + KEEP_LEADS * lead_s
    # Also what was wanted and has not come yet: dropping such wishes cost 0.5 points of attainment and saved nothing.
    most = state.wanted.push(now, wanted, keep_s)
    if tick.blind and state.last_replicas > most:
        reasons.append(Reason("partly_blind", f"{len(tick.blind)} replicas do not answer: none is taken away"))
        return state.last_replicas
    if most > wanted:
        text = f"{most} were wanted within the last {keep_s:.0f} s, for which a surplus replica is kept"
        reasons.append(Reason("break_even", text, (("kept", float(most)), ("break_even_s", keep_s))))
    return most
