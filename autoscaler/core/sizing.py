"""From what is tracked to a replica count for one role: expected share over the forecast, backlog, what is surplus.

Law: up at once and in one step, down only what has been surplus for its break-even time; every clamp is a reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autoscaler.core.advice import EVERY_S, Advised, advise
from autoscaler.core.asking import lean
from autoscaler.core.attained import AIM_MISSES
from autoscaler.core.backlog import Waiting, with_backlog
from autoscaler.core.capacity import Curve
from autoscaler.core.demand import Demand
from autoscaler.core.expecting import Expecting
from autoscaler.core.fitting import Fitted, fit, learn_speed
from autoscaler.core.headroom import Headroom
from autoscaler.core.keeping import Keeping, count
from autoscaler.core.piecewise import at
from autoscaler.core.proving import STEP, Proof
from autoscaler.core.records import Estimates, Objective, Reason, RoleSpec
from autoscaler.core.starting import Lead, lead_of, stuck_reason
from autoscaler.core.tracking import Tick, Tracked
from autoscaler.core.trials import Aim, Trials, Yard

REACT_S = 15.0  # the HPA's sync: what a decision waits for
REFIT_S = 30.0  # mix and step model are taken anew so often, and a rule is rehearsed
TOLERANCE = 0.1  # of the replicas there: a need nearer than that changes nothing,
NEAR_SHARE = 0.02  # as long as the share is not so much less
MADE_UP = 0.02  # of ln(rate), before it is worth a reason
SLOPE, CLIFF = 0.99, 0.999  # share of times per token in time at the aim: from here on only first tokens miss
CLIFF_HALF_KNOWN = 240  # slots, an hour


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
    demand: Demand = field(default_factory=Demand)
    headroom: Headroom = field(default_factory=Headroom)
    trials: Trials = field(default_factory=Trials)
    fitted: Fitted | None = None
    advised: Advised | None = None
    expecting: Expecting = field(default_factory=Expecting)
    keeping: Keeping = field(default_factory=Keeping)
    proof: Proof = field(default_factory=Proof)
    found: int = 0  # replicas at first sight
    last_replicas: int = 0
    decided_at_s: float | None = None
    settled_at_s: float = 0.0  # until then nothing is taken away: what was not seen reads like quiet
    rate_rps: float = 0.0  # the last one, by the rule that was followed


def _learn_headroom(
    state: RoleState, tick: Tick, one: Curve, objective: Objective, tick_s: float, *, waking: bool
) -> None:
    """Book what pages tell of attainment, and let the headroom learn from it."""
    attained, told, serving = state.tracked.learned.attained, tick.added.told, len(tick.ready)
    attained.fade(tick_s)
    misses = attained.misses(told, objective, one.step_most_s)
    if misses is not None:
        # Those that were held are booked already; at a wake-up their first tokens are the first that pages tell of.
        booked = min(attained.charged, told.firsts)
        attained.charged -= booked
        new = 1.0 - booked / told.firsts
        attained.charge(misses.either * new, told.firsts * new, objective)
    elif not attained.told and tick.seconds > 0.0 and tick.arrived > 0.0:
        expected = one.share(tick.arrived / tick.seconds / state.headroom.carried.each)
        attained.charge((1.0 - expected) * tick.arrived, tick.arrived, objective)
    # What was held reached servers at once: a minute of it made a fleet look a third faster than it was.
    if tick.blind or not serving or waking:
        state.headroom.drop()
        state.proof.drop()
        return
    state.headroom.note(max(0.0, tick.arrived), tick.seconds, tick_s)
    state.proof.note(max(0.0, tick.arrived), tick.seconds, tick_s)
    if misses is not None:
        state.proof.judge(misses.requests, misses.either, 1.0 - objective.attainment)
        state.headroom.learn(one, objective.ttft_s, misses, waiting=tick.waiting > serving)


@dataclass(frozen=True, slots=True)
class _Known:
    """What one tick sizes by."""

    fitted: Fitted
    one: Curve
    lead: Lead
    rate_rps: float
    recent: float | None  # the share that pages show


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
    known = _learn(state, spec, objective, tick, held, held_rps, came, now, lead_prior_s, tick_s)
    aim = _aim(state, spec, objective, known, now)
    rate_rps = state.rate_rps
    real = rate_rps / aim.rate_rps
    rounding = state.trials.rule.rounding
    floor = max(1, count(rate_rps, aim.rate_rps, rounding)) if rate_rps > 0.0 else 0
    reasons = [_floor_reason(state, floor, real, aim)]
    floor = _near(state, floor, real, aim, tick, spec, reasons)
    owed = state.tracked.learned.attained.owed
    if aim.lean < -MADE_UP:
        text = f"{owed:.0f} requests too many missed the objective and are made up for"
        reasons.append(Reason("make_up", text, (("owed", owed), ("lean", aim.lean))))
    if known.fitted.assumed:
        reasons.append(Reason("assumed_mix", "request sizes are assumed: none was measured yet"))
        if tick.ready and held_rps is None:
            # Pages tell of sizes within half a minute; a wish made before is kept for eight: 41 % more in an hour.
            floor = min(floor, len(tick.ready) + len(tick.coming))
    if state.advised is not None:
        reasons += [one.reason for one in state.advised.found]
    stuck = stuck_reason(known.lead, tick.coming, now) if tick.coming else None
    if stuck:
        reasons.append(stuck)
    waiting = Waiting(tick, held, rate_rps, now)
    wanted, backlog = with_backlog(floor, waiting, aim.rate_rps, known.one.saturation_rps, known.lead)
    if backlog:
        reasons.append(backlog)
    successor = count(state.expecting.peaks_rps[state.trials.following], aim.rate_rps, rounding)
    wanted = max(wanted, _kept(state, tick, wanted, successor, known.lead.total_s, now, reasons))
    estimates = Estimates(
        role=spec.role,
        arrivals_rps=rate_rps,
        prompt_tokens_mean=known.fitted.mix.prompts.mean,
        output_tokens_mean=known.fitted.mix.outputs.mean,
        capacity_rps=aim.rate_rps,
        demand_replicas=real,
        forecast_replicas=real,
        lead_time_s=known.lead.total_s,
        attainment=known.recent,
        backlog_requests=tick.waiting + held,
    )
    return Sized(wanted, tuple(reasons), estimates, known.lead.total_s, rate_rps)


def _learn(
    state: RoleState,
    spec: RoleSpec,
    objective: Objective,
    tick: Tick,
    held: float,
    held_rps: float | None,
    came: float,
    now: float,
    lead_prior_s: float,
    tick_s: float,
) -> _Known:
    """Take what one tick tells of speed, sizes, demand and attainment."""
    tracked = state.tracked
    learn_speed(tracked, spec, tick, tick_s)
    fitted = state.fitted
    # Not in the tick that reads pages: each is half a millisecond at 20 replicas.
    if fitted is None or fitted.assumed or (not tick.whole and now - fitted.at_s >= REFIT_S):
        fitted = state.fitted = fit(tracked, spec, state.rate_rps, now)
    if tick.until_s > tick.since_s:
        sizes = (0.0, 0.0) if fitted.assumed else (fitted.mix.prompts.mean, fitted.mix.outputs.mean)
        # What a gateway held reaches servers at once; it did not come at once.
        arrived = tick.arrived if held_rps is None else held_rps * (tick.until_s - tick.since_s)
        state.demand.add(tick.since_s, tick.until_s, max(0.0, arrived), *sizes)
    # What one replica carries hangs on how many share the load.
    one = fitted.curve(objective, max(len(tick.ready), min(spec.max_replicas, state.last_replicas), 1))
    lead = lead_of(tracked, lead_prior_s)
    lead_s = lead.total_s
    _learn_headroom(state, tick, one, objective, tick_s, waking=held_rps is not None)
    attained = tracked.learned.attained
    if held > 0.0 and lead_s > objective.ttft_s:
        # No server's page tells of requests held outside: they miss, about a lead time's worth of them.
        attained.charge(came, came, objective)
        attained.charged += came
    state.expecting.take(tracked.arrivals, state.demand, fitted, held_rps, lead_s, now)
    state.rate_rps = state.expecting.rates_rps[state.trials.following]
    return _Known(fitted, one, lead, state.rate_rps, attained.share(objective, one.step_most_s))


def _aim(state: RoleState, spec: RoleSpec, objective: Objective, known: _Known, now: float) -> Aim:
    """The rate that one replica is meant to carry."""
    fitted, one, carried = known.fitted, known.one, state.headroom.carried
    base_rps = min(one.asked_rps * carried.each, one.clearing_rps * carried.first)
    yard = Yard(
        one,
        carried,
        base_rps,
        (fitted.prompt_weight_s, fitted.per_running_s),
        fitted.mix.prompts.cv2,
        known.lead.total_s + REACT_S,
        objective.ttft_s,
        spec.max_replicas,
    )
    if now == fitted.at_s and not fitted.assumed and (state.advised is None or now - state.advised.at_s >= EVERY_S):
        state.advised = Advised(now, advise(fitted, objective, max(1, state.last_replicas), spec.gpus_per_replica))
    elif now == fitted.at_s:
        state.trials.go_on(state.demand, yard, objective.attainment)
    asked = 1.0 - AIM_MISSES * (1.0 - objective.attainment)
    slots = len(state.demand.rates_rps)
    in_time = at(base_rps / carried.each, one.rates_rps, one.tpot_shares)
    cliff = min(1.0, max(0.0, (in_time - SLOPE) / (CLIFF - SLOPE))) * slots / (slots + CLIFF_HALF_KNOWN)
    leaning = lean(state.tracked.learned.attained, objective, known.rate_rps, known.recent, cliff)
    return state.trials.aim(asked, yard, leaning)


def _floor_reason(state: RoleState, floor: int, real: float, aim: Aim) -> Reason:
    rule = state.trials.rule
    text = (
        f"{state.rate_rps:.2f} req/s over {rule.window_s:.0f} s at {aim.rate_rps:.2f} a replica: {floor} for "
        f"{aim.share:.1%} of them, {real:.2f} before rounding"
    )
    numbers = (
        ("rate_rps", state.rate_rps),
        ("window_s", rule.window_s),
        ("capacity_rps", aim.rate_rps),
        ("asked", aim.asked),
        ("share", aim.share),
        ("forecast_replicas", real),
        ("model_factor", state.headroom.each.value),
    )
    return Reason("floor", text, numbers)


def _near(
    state: RoleState, floor: int, real: float, aim: Aim, tick: Tick, spec: RoleSpec, reasons: list[Reason]
) -> int:
    """The count, or what is there where that gives nearly the same share: noise does not start replicas."""
    present = min(spec.max_replicas, len(tick.ready) + len(tick.coming))
    if present == floor or not present or real < present * (1.0 - TOLERANCE) or real > present * (1.0 + TOLERANCE):
        return floor
    if present < floor <= state.last_replicas:  # asked for already and not there yet: it is not taken back
        return floor
    share = state.trials.share(state.rate_rps / present, aim.base_rps)
    if share is not None and share < min(aim.asked, aim.share) - NEAR_SHARE:
        return floor
    text = f"{real:.2f} are within {TOLERANCE:.0%} of the {present} there: no change"
    reasons.append(Reason("near", text, (("present", float(present)), ("needed", real))))
    return present


def _kept(
    state: RoleState, tick: Tick, wanted: int, successor: int, lead_s: float, now: float, reasons: list[Reason]
) -> int:
    """The count to keep on the way down, and why."""
    keep_s = state.trials.rule.kept_s(lead_s)
    most = state.keeping.most(now, wanted, state.trials.following, successor, keep_s)
    if tick.blind and state.last_replicas > most:
        reasons.append(Reason("partly_blind", f"{len(tick.blind)} replicas do not answer: none is taken away"))
        return state.last_replicas
    if now < state.settled_at_s and state.last_replicas > most:
        left_s = state.settled_at_s - now
        text = f"pages were dark or began anew: {state.last_replicas} are kept for {left_s:.0f} s more"
        reasons.append(Reason("settling", text, (("kept", float(state.last_replicas)),)))
        return state.last_replicas
    least = state.proof.least(state.rate_rps, most, state.last_replicas, now)
    if least > most:
        text = f"{most} would each carry more than {STEP:g} times what any page has proven: {least} first"
        reasons.append(Reason("unproven", text, (("kept", float(least)), ("proven_rps", state.proof.each_rps or 0.0))))
        return least
    if most > wanted:
        text = f"{most} were wanted within the last {keep_s:.0f} s, for which a surplus replica is kept"
        reasons.append(Reason("break_even", text, (("kept", float(most)), ("break_even_s", keep_s))))
    return most
