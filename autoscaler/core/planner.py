"""The planner: one mutable object per service, from observations to decisions.

Law: `observe` is deterministic; the same observations and times give the same decisions, also after a restore.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from autoscaler.core import snapshot as snapshots
from autoscaler.core.errors import AutoscalerError
from autoscaler.core.records import (
    Decision,
    HeldReading,
    Mode,
    Observation,
    Reason,
    RoleDecision,
    RoleObservation,
    RoleSpec,
    ServiceMode,
    ServiceSpec,
)
from autoscaler.core.series import Window, increase, usable
from autoscaler.core.sizing import RoleState, Sized, size
from autoscaler.core.tracking import Tick, observe_role

WAKING_PERIOD_S = 1.0
HELD_RATE_S = 30.0  # a gateway's arrivals are averaged over this at most: at a wake-up seconds count
HELD_RATE_LEAST_S = 2.0
SET_BACK_S = 60.0  # a clock behind by more than this was set back: what is remembered moves with it
LEAST_WATCH_PERIODS = 3.0  # on first sight: one page is no proof of idleness, whatever keep-warm time is set


@dataclass(slots=True)
class Gateway:
    """The last reading of one wake source."""

    at_s: float
    arrivals: float | None = None


@dataclass(slots=True)
class State:
    """Everything a planner remembers."""

    now_s: float = 0.0
    service: str = ""  # whose state this is
    roles: dict[str, RoleState] = field(default_factory=dict)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    held_arrivals: Window = field(default_factory=lambda: Window(240.0, 1.0))
    watched_since_s: float | None = None  # first time the replicas were read: history begins
    known_at_s: float | None = None  # last time the service was not blind
    busy_at_s: float | None = None  # last time anything ran, waited, was held, woken or loading
    blind_since_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Outside:
    """What waits outside the replicas."""

    held: float
    rate_rps: float | None
    blind: bool  # a wake source is set but has not spoken lately
    woken: int
    arrived: float  # requests that came in at a gateway since the last tick


class PlannerError(AutoscalerError):
    """A planner was given another service than the one it plans."""


class Planner:
    """Plans one service: `observe(observation, now) -> Decision`, `snapshot()`, `restore()`."""

    def __init__(self) -> None:
        self._state = State()

    def snapshot(self) -> bytes:
        """The learned state as versioned JSON; opaque to everybody else."""
        return snapshots.dump(self._state)

    def restore(self, snapshot: bytes) -> None:
        """Take up a snapshot. Raises SnapshotError and changes nothing if it cannot be used."""
        self._state = snapshots.load(State, snapshot)

    def observe(self, observation: Observation, now: float) -> Decision:
        """Decide at `now` (seconds); a time a little before the last one is taken as the last one.

        Raises PlannerError when the observation is of another service than the learned state.
        """
        state, spec = self._state, observation.spec
        self._of_service(str(spec.service))
        now, tick_s = self._advance(now, spec)
        outside = self._outside(observation, now)
        observed = {role.role: role for role in observation.roles}
        limits = (spec.objective.ttft_s, spec.objective.tpot_s)
        ticks: dict[str, Tick] = {}
        for role in spec.roles:
            role_state = state.roles.setdefault(role.role, RoleState())
            seen = observed.get(role.role, RoleObservation(role.role))
            ticks[role.role] = observe_role(role_state.tracked, seen, now, spec.stale_after_s, limits)
        blocked = self._stopped(spec, observed, now) or self._blind(spec, observed, ticks, outside, now)
        if blocked:
            return blocked
        if state.watched_since_s is None:
            state.watched_since_s = now
        state.known_at_s, state.blind_since_s = now, None
        return self._decide(spec, observed, ticks, outside, now, tick_s)

    def _of_service(self, service: str) -> None:
        state = self._state
        if state.service not in ("", service):
            raise PlannerError(f"planner: found an observation of {service}, expected {state.service}; one plans one")
        state.service = service

    def _advance(self, now: float, spec: ServiceSpec) -> tuple[float, float]:
        """The time to decide at, and seconds since the last decision; time nobody watched is not idle time."""
        state = self._state
        if not math.isfinite(now):
            return state.now_s, 0.0
        first, gap_s = not state.now_s, now - state.now_s
        if not first and gap_s < -SET_BACK_S:
            _set_back(state, gap_s)
            first = True
        now = state.now_s = max(now, state.now_s)
        if first:
            return now, 0.0
        unwatched_s = gap_s - max(spec.stale_after_s, LEAST_WATCH_PERIODS * spec.period_s)
        if unwatched_s > 0.0:
            state.busy_at_s = None if state.busy_at_s is None else state.busy_at_s + unwatched_s
            state.watched_since_s = None if state.watched_since_s is None else state.watched_since_s + unwatched_s
        return now, max(0.0, gap_s)

    # --- what waits outside ------------------------------------------------------------------------------------------

    def _outside(self, observation: Observation, now: float) -> _Outside:
        state, spec = self._state, observation.spec
        held, fresh, came = 0.0, 0, 0.0
        for reading in {reading.source: reading for reading in observation.held}.values():
            if not math.isfinite(reading.at_s):
                continue
            came += self._gateway(reading)
            if now - reading.at_s <= spec.stale_after_s and (usable(reading.held) or usable(reading.arrivals)):
                fresh += 1
                held += reading.held if usable(reading.held) and reading.held is not None else 0.0
        rate_rps = None
        covered_s, (arrived,) = state.held_arrivals.totals(now, HELD_RATE_S)
        if covered_s > 0:
            # At a wake-up the window reaches back to an empty past: seconds count from the first arrival.
            since_s = next((e[0] for e in state.held_arrivals.entries if e[2] > 0 and e[1] > now - HELD_RATE_S), now)
            rate_rps = arrived / max(HELD_RATE_LEAST_S, min(covered_s, now - since_s))
        woken = max((wake.replicas for wake in observation.wakes if wake.expires_at_s > now), default=0)
        return _Outside(held, rate_rps, spec.has_wake_source and fresh == 0, woken, came)

    def _gateway(self, reading: HeldReading) -> float:
        """Take one reading; gives the requests that arrived there since the last one."""
        state = self._state
        if reading.arrivals is not None and not usable(reading.arrivals):
            return 0.0
        last = state.gateways.get(reading.source)
        state.gateways[reading.source] = Gateway(reading.at_s, reading.arrivals)
        if last is None or reading.at_s <= last.at_s:
            return 0.0
        arrived = increase(last.arrivals, reading.arrivals)
        if arrived is not None:
            state.held_arrivals.add(last.at_s, reading.at_s, arrived)
        return arrived or 0.0

    # --- no data -----------------------------------------------------------------------------------------------------

    def _stopped(self, spec: ServiceSpec, observed: dict[str, RoleObservation], now: float) -> Decision | None:
        if not observed or not all(role.stopped for role in observed.values()):
            return None
        reason = Reason("stopped", "the workload is gone or stopped by its owner: the last answer is kept")
        last = {role.role: self._state.roles[role.role].last_replicas for role in spec.roles}
        roles = tuple(RoleDecision(name, count) for name, count in last.items())
        return Decision(spec.service, now, Mode.HOLD, any(last.values()), roles, (reason,), (), spec.period_s)

    def _blind(
        self,
        spec: ServiceSpec,
        observed: dict[str, RoleObservation],
        ticks: dict[str, Tick],
        outside: _Outside,
        now: float,
    ) -> Decision | None:
        """Hold while blind, unknown after the hold limit or when never seen; None when enough is known."""
        state = self._state
        why = _why_blind(spec, observed, ticks, outside)
        if why is None:
            return None
        if state.blind_since_s is None:
            state.blind_since_s = now
        blind_s = now - state.blind_since_s
        held = tuple(self._held(role, observed.get(role.role), ticks[role.role]) for role in spec.roles)
        known = state.known_at_s is not None
        if not known or blind_s > spec.hold_limit_s:
            text = f"{why}, for {blind_s:.0f} s" if known else f"{why}, and it never was otherwise"
            reasons: tuple[Reason, ...] = (Reason("unknown", text, (("blind_s", blind_s),)),)
            return Decision(spec.service, now, Mode.UNKNOWN, any(r.replicas for r in held), held, reasons)
        reasons = (Reason("hold", f"{why}: what is there is kept", (("blind_s", blind_s),)),)
        held = tuple(self._woken(spec, role, ticks, outside, now) for role in held)
        active = any(role.replicas > 0 for role in held)
        return Decision(spec.service, now, Mode.HOLD, active, held, reasons, (), spec.period_s)

    def _held(self, role: RoleSpec, seen: RoleObservation | None, tick: Tick) -> RoleDecision:
        last = self._state.roles[role.role].last_replicas
        counts = [tick.listed, last]
        if seen is not None:
            counts += [seen.spec_replicas or 0, seen.status_replicas or 0]
        return RoleDecision(role.role, min(role.max_replicas, max(counts)))

    def _woken(
        self, spec: ServiceSpec, held: RoleDecision, ticks: dict[str, Tick], outside: _Outside, now: float
    ) -> RoleDecision:
        """Blind, but somebody waits outside: that is known, and it may only add."""
        role = next(role for role in spec.roles if role.role == held.role)
        count, reasons = held.replicas, list(held.reasons)
        count = _raise(count, outside.woken, "wake", f"{outside.woken} replicas are woken by the API", reasons)
        if outside.held > 0.0 and count == 0:
            count = max(1, self._size(spec, role, ticks[role.role], outside, now, 0.0).replicas)
            reasons.append(Reason("held", f"{outside.held:.0f} requests are held and nothing serves them"))
        count = min(count, max(role.max_replicas, held.replicas))
        self._state.roles[role.role].last_replicas = count
        return replace(held, replicas=count, reasons=tuple(reasons))

    def _size(
        self, spec: ServiceSpec, role: RoleSpec, tick: Tick, outside: _Outside, now: float, tick_s: float
    ) -> Sized:
        return size(
            self._state.roles[role.role],
            role,
            spec.objective,
            tick,
            held=outside.held if role.role != "decode" else 0.0,
            held_rps=outside.rate_rps,
            now=now,
            lead_prior_s=spec.lead_time_prior_s,
            tick_s=tick_s,
        )

    # --- enough is known ---------------------------------------------------------------------------------------------

    def _decide(
        self,
        spec: ServiceSpec,
        observed: dict[str, RoleObservation],
        ticks: dict[str, Tick],
        outside: _Outside,
        now: float,
        tick_s: float,
    ) -> Decision:
        state = self._state
        sized: dict[str, Sized] = {}
        for role in spec.roles:
            sized[role.role] = self._size(spec, role, ticks[role.role], outside, now, tick_s)
        active, why = self._active(spec, ticks, outside, sized, now)
        roles = []
        for role in spec.roles:
            clamped = self._clamp(
                spec, role, observed.get(role.role), ticks[role.role], sized[role.role], outside, active, now
            )
            roles.append(clamped)
            self._remember(state.roles[role.role], clamped.replicas, ticks[role.role], now)
        waking = active and any(t.coming or not t.ready for t in ticks.values())
        waking = waking and (outside.held > 0 or any(t.waiting > 0 for t in ticks.values()))
        mode = Mode.SHADOW if spec.mode is ServiceMode.SHADOW else Mode.NORMAL
        estimates = tuple(sized[role.role].estimates for role in spec.roles)
        next_in_s = WAKING_PERIOD_S if waking else spec.period_s
        return Decision(spec.service, now, mode, active, tuple(roles), why, estimates, next_in_s)

    def _remember(self, role: RoleState, replicas: int, tick: Tick, now: float) -> None:
        present = len(tick.ready) + len(tick.coming) + len(tick.blind)
        tracked = role.tracked
        if replicas > max(present, role.last_replicas) and tracked.asked_at_s is None:
            tracked.asked_at_s = now
        elif replicas <= present:
            tracked.asked_at_s = None
        role.last_replicas, role.decided_at_s = replicas, now

    def _active(
        self, spec: ServiceSpec, ticks: dict[str, Tick], outside: _Outside, sized: dict[str, Sized], now: float
    ) -> tuple[bool, tuple[Reason, ...]]:
        """Whether the service runs at all, and why; zero needs a way back and an idle time as long as a start pays."""
        state = self._state
        if any(role.min_replicas > 0 for role in spec.roles):
            return True, ()
        busy = _busy(ticks, outside)
        if busy:
            state.busy_at_s = now
            return True, (Reason("busy", busy),)
        present = any(tick.listed for tick in ticks.values())
        if not (spec.has_wake_source or spec.zero_without_wake_source):
            return True, (Reason("no_wake_source", "nothing speaks for the service at zero, so the floor is 1"),)
        if not present and state.busy_at_s is None:
            return False, (Reason("zero", "nothing runs and nothing is asked for"),)
        # Break-even: idling costs what a start costs after one lead time (rent or buy).
        if present and outside.blind:
            text = "idle, but the wake source does not answer: from zero there would be no way back"
            return True, (Reason("wake_source_silent", text),)
        keep_s = spec.keep_warm_s if spec.keep_warm_s is not None else max(s.lead_time_s for s in sized.values())
        if state.busy_at_s is None:
            keep_s = max(keep_s, LEAST_WATCH_PERIODS * spec.period_s)
        since_s = max(t for t in (state.busy_at_s, state.watched_since_s) if t is not None)
        idle_s = now - since_s
        numbers = (("idle_s", idle_s), ("keep_warm_s", keep_s))
        if present and idle_s < keep_s:
            code = "keep_warm" if state.busy_at_s is not None else "first_sight"
            return True, (Reason(code, f"idle for {idle_s:.0f} s of the {keep_s:.0f} s it is kept warm", numbers),)
        return False, (Reason("zero", f"idle for {idle_s:.0f} s, longer than {keep_s:.0f} s", numbers),)

    def _clamp(
        self,
        spec: ServiceSpec,
        role: RoleSpec,
        seen: RoleObservation | None,
        tick: Tick,
        sized: Sized,
        outside: _Outside,
        active: bool,
        now: float,
    ) -> RoleDecision:
        """The count within every bound; each bound that acts names itself."""
        if not active:
            return RoleDecision(role.role, 0, sized.reasons)
        reasons = list(sized.reasons)
        count = sized.replicas
        # Only beside one that serves: where none ever started, more of them would only be stuck as well.
        instead = min(tick.stuck, len(tick.ready))
        if instead and count > len(tick.ready):
            text = f"{tick.stuck} replicas have been loading for far too long: {instead} more stand in"
            count = _raise(count, count + instead, "stuck", text, reasons)
        count = _raise(count, 1, "active_floor", "an active service has at least one replica", reasons)
        count = _raise(count, outside.woken, "wake", f"{outside.woken} replicas are woken by the API", reasons)
        if self._first_sight(spec, sized, now) and tick.listed > count:
            text = f"{tick.listed} replicas serve and their history is short: none is taken away yet"
            count = _raise(count, tick.listed, "first_sight", text, reasons)
        count = _raise(count, role.min_replicas, "min_replicas", f"minReplicas is {role.min_replicas}", reasons)
        most, name = role.max_replicas, "max_replicas"
        if seen is not None and seen.max_replicas_now is not None and seen.max_replicas_now < most:
            most, name = max(0, seen.max_replicas_now), "max_replicas_now"
        if count > most:
            reasons.append(Reason(name, f"{count} are needed, {most} are allowed", (("needed", float(count)),)))
            count = most
        if tick.duplicates:
            reasons.append(Reason("duplicates", f"{tick.duplicates} replicas are listed twice and counted once"))
        if tick.discarded:
            reasons.append(Reason("discarded", f"{tick.discarded} values on pages cannot be true and were left out"))
        return RoleDecision(role.role, count, tuple(reasons))

    def _first_sight(self, spec: ServiceSpec, sized: Sized, now: float) -> bool:
        keep_s = spec.keep_warm_s if spec.keep_warm_s is not None else sized.lead_time_s
        keep_s = max(keep_s, LEAST_WATCH_PERIODS * spec.period_s)
        since_s = self._state.watched_since_s
        return since_s is not None and now - since_s < keep_s


def _set_back(state: State, by_s: float) -> None:
    """The clock was set back: move everything remembered by as much (`by_s` < 0), and take new baselines."""
    windows = [state.held_arrivals]
    for role in state.roles.values():
        tracked = role.tracked
        windows += [tracked.arrivals, tracked.sizes]
        tracked.seen.clear()
        tracked.starting = {key: at_s + by_s for key, at_s in tracked.starting.items()}
        tracked.asked_at_s = None
        role.wanted.kept = [(at_s + by_s, count) for at_s, count in role.wanted.kept]
    for window in windows:
        for entry in window.entries:
            entry[0], entry[1] = entry[0] + by_s, entry[1] + by_s
    state.gateways.clear()
    state.now_s += by_s
    for name in ("watched_since_s", "known_at_s", "busy_at_s", "blind_since_s"):
        at_s = getattr(state, name)
        setattr(state, name, None if at_s is None else at_s + by_s)


def _why_blind(
    spec: ServiceSpec, observed: dict[str, RoleObservation], ticks: dict[str, Tick], outside: _Outside
) -> str | None:
    for role in spec.roles:
        seen, tick = observed.get(role.role), ticks[role.role]
        name = f"role {role.role}" if role.role else "the service"
        if seen is None or seen.replicas is None:
            return f"the replica list of {name} cannot be read"
        if tick.blind and not tick.ready:
            return f"none of the {len(tick.blind)} replicas of {name} that served answers"
    if outside.blind and not any(tick.listed for tick in ticks.values()) and outside.woken == 0:
        return "nothing runs, and the wake source does not answer"
    return None


def _busy(ticks: dict[str, Tick], outside: _Outside) -> str | None:
    """One sentence on what keeps the service up, None if nothing does."""
    if outside.held > 0:
        return f"{outside.held:.0f} requests are held"
    if outside.woken > 0:
        return "it was woken by the API"
    running = sum(t.running + t.waiting for t in ticks.values())
    if running > 0:
        return f"{running:.0f} requests run or wait"
    # Short requests come and go between two pages: only the counters see them.
    arrived = outside.arrived + sum(t.arrived for t in ticks.values())
    if arrived > 0:
        return f"{arrived:.0f} requests came since the last look"
    coming = sum(len(t.coming) for t in ticks.values())
    if coming:
        return f"{coming} replicas are loading"
    if any(t.blind for t in ticks.values()):
        return "some replicas do not answer"
    return None


def _raise(count: int, least: int, code: str, text: str, reasons: list[Reason]) -> int:
    if count >= least:
        return count
    reasons.append(Reason(code, text, (("found", float(count)), ("least", float(least)))))
    return least
