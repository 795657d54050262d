"""The planner: one mutable object per service, from observations to decisions.

Law: `observe` is deterministic; the same observations and times give the same decisions, also after a restore.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from autoscaler.core import snapshot as snapshots
from autoscaler.core.expecting import Expecting
from autoscaler.core.keeping import Keeping
from autoscaler.core.outside import Gateways, Outside, outside_of
from autoscaler.core.records import (
    Decision,
    Mode,
    Observation,
    Reason,
    ReplicaPhase,
    RoleDecision,
    RoleObservation,
    RoleSpec,
    ServiceMode,
    ServiceSpec,
)
from autoscaler.core.sizing import RoleState, Sized, size
from autoscaler.core.tracking import Tick, observe_role

WAKING_PERIOD_S = 1.0
DARK_PERIODS = 3.0  # without a decision: a restart of ours, or a loop that hung
# What serves at first sight was sized by somebody who knew more: the rate's window of 180 s, and the two minutes of
# record that the first rehearsal needs. Let go after 60 s, 5 became 3 and then 5 again, for 2.5 points (Azure 2023).
FIRST_SIGHT_S = 300.0
SETTLE_S = 200.0  # the rate's window of 180 s and the 19 s between two whole pages: then all of it was seen again


@dataclass(slots=True)
class State:
    """Everything a planner remembers."""

    now_s: float = 0.0
    roles: dict[str, RoleState] = field(default_factory=dict)
    gateways: Gateways = field(default_factory=Gateways)
    watched_since_s: float | None = None  # first time the replicas were read: history begins
    known_at_s: float | None = None  # last time the service was not blind
    busy_at_s: float | None = None  # last time anything ran, waited, was held, woken or loading
    blind_since_s: float | None = None


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

    def forget_presence(self, now: float) -> None:
        """Keep what was learned, forget what was there, asked and waiting: whoever learned from records saw nothing.

        So first sight begins anew, and for a whole window nothing is taken away.
        """
        self._state = State(now_s=self._state.now_s, roles=self._state.roles)
        for role in self._state.roles.values():
            role.tracked.seen, role.tracked.starting, role.tracked.asked_at_s = {}, [], None
            role.expecting, role.keeping = Expecting(), Keeping()
            role.last_replicas, role.decided_at_s = 0, None
            role.settled_at_s = now + SETTLE_S

    def observe(self, observation: Observation, now: float) -> Decision:
        """Decide at `now` (seconds); a time before the last one is taken as the last one."""
        state, spec = self._state, observation.spec
        tick_s = max(0.0, now - state.now_s) if state.now_s else 0.0
        now = state.now_s = max(now, state.now_s)
        outside = outside_of(state.gateways, observation, now)
        observed = {role.role: role for role in observation.roles}
        limits = (spec.objective.ttft_s, spec.objective.tpot_s)
        ticks: dict[str, Tick] = {}
        for role in spec.roles:
            role_state = state.roles.setdefault(role.role, RoleState())
            seen = observed[role.role] = _without_leaving(
                role_state, observed.get(role.role, RoleObservation(role.role))
            )
            ticks[role.role] = observe_role(role_state.tracked, seen, now, spec.stale_after_s, limits)
        blocked = self._stopped(spec, observed, now) or self._blind(spec, observed, ticks, outside, now)
        if blocked:
            return blocked
        if state.watched_since_s is None:
            state.watched_since_s = now
            for role in spec.roles:
                told = observed[role.role].spec_replicas
                state.roles[role.role].found = max(ticks[role.role].listed, told or 0)
        dark_s = max(tick_s, 0.0 if state.blind_since_s is None else now - state.blind_since_s)
        # Shorter than that the rate's window has nearly all of it, and a replica's first page is always a little late.
        dark = dark_s > DARK_PERIODS * spec.period_s
        if dark:
            self._resume(spec, dark_s)
        for role in spec.roles:
            if dark or ticks[role.role].resets:
                state.roles[role.role].settled_at_s = now + SETTLE_S
        state.known_at_s, state.blind_since_s = now, None
        return self._decide(spec, observed, ticks, outside, now, tick_s)

    def _resume(self, spec: ServiceSpec, dark_s: float) -> None:
        """Nobody watched for so long: that was neither idle time nor time in which a replica was surplus.

        Counted as such, three replicas became two four minutes after a dark of five, where three were wanted all
        along: 79 % attained and not 100 (Azure 2024 conversation, 512 tokens a step).
        """
        if self._state.busy_at_s is not None:
            self._state.busy_at_s += dark_s
        for role in spec.roles:
            self._state.roles[role.role].keeping.delay(dark_s)
            self._state.roles[role.role].expecting.delay(dark_s)

    # --- no data -----------------------------------------------------------------------------------------------------

    def _stopped(self, spec: ServiceSpec, observed: dict[str, RoleObservation], now: float) -> Decision | None:
        if not observed or not all(role.stopped for role in observed.values()):
            return None
        reason = Reason("stopped", "the workload is gone or stopped by its owner: nothing is asked of it")
        roles = tuple(RoleDecision(role.role, 0) for role in spec.roles)
        return Decision(spec.service, now, Mode.HOLD, False, roles, (reason,), (), spec.period_s)

    def _blind(
        self,
        spec: ServiceSpec,
        observed: dict[str, RoleObservation],
        ticks: dict[str, Tick],
        outside: Outside,
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
        active = any(role.replicas > 0 for role in held)
        return Decision(spec.service, now, Mode.HOLD, active, held, reasons, (), spec.period_s)

    def _held(self, role: RoleSpec, seen: RoleObservation | None, tick: Tick) -> RoleDecision:
        """What the cluster was told to run, or the last count asked if that is more.

        Pods beyond both are leaving: asked 2 and at 2 with 8 still listed, holding what is listed took the decrease
        back. Without a scale to read nobody can tell, and what is listed is kept.
        """
        state = self._state.roles[role.role]
        told = seen.spec_replicas if seen is not None else None
        if told is not None and state.decided_at_s is not None:
            counts = [told, state.last_replicas]
        else:
            status = seen.status_replicas if seen is not None else None
            counts = [tick.listed, state.last_replicas, told or 0, status or 0]
        return RoleDecision(role.role, min(role.max_replicas, max(counts)))

    # --- enough is known ---------------------------------------------------------------------------------------------

    def _decide(
        self,
        spec: ServiceSpec,
        observed: dict[str, RoleObservation],
        ticks: dict[str, Tick],
        outside: Outside,
        now: float,
        tick_s: float,
    ) -> Decision:
        state = self._state
        sized: dict[str, Sized] = {}
        for role in spec.roles:
            sized[role.role] = size(
                state.roles[role.role],
                role,
                spec.objective,
                ticks[role.role],
                held=outside.held if role.role != "decode" else 0.0,
                held_rps=outside.rate_rps,
                came=outside.came,
                now=now,
                lead_prior_s=spec.lead_time_prior_s,
                tick_s=tick_s,
            )
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
        self, spec: ServiceSpec, ticks: dict[str, Tick], outside: Outside, sized: dict[str, Sized], now: float
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
        keep_s = spec.keep_warm_s if spec.keep_warm_s is not None else max(s.lead_time_s for s in sized.values())
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
        outside: Outside,
        active: bool,
        now: float,
    ) -> RoleDecision:
        """The count within every bound; each bound that acts names itself."""
        if not active:
            return RoleDecision(role.role, 0, sized.reasons)
        reasons = list(sized.reasons)
        count = sized.replicas
        count = _raise(count, 1, "active_floor", "an active service has at least one replica", reasons)
        count = _raise(count, outside.woken, "wake", f"{outside.woken} replicas are woken by the API", reasons)
        found = min(tick.listed, self._state.roles[role.role].found)  # what we asked for ourselves since may go
        if self._first_sight(spec, sized, now) and found > count:
            text = f"{found} replicas were found serving and their history is short: none is taken away yet"
            count = _raise(count, found, "first_sight", text, reasons)
        count = _raise(count, role.min_replicas, "min_replicas", f"minReplicas is {role.min_replicas}", reasons)
        most, name = role.max_replicas, "max_replicas"
        if seen is not None and seen.max_replicas_now is not None and seen.max_replicas_now < most:
            most, name = max(0, seen.max_replicas_now), "max_replicas_now"
        if count > most:
            reasons.append(Reason(name, f"{count} are needed, {most} are allowed", (("needed", float(count)),)))
            count = most
        if tick.duplicates:
            reasons.append(Reason("duplicates", f"{tick.duplicates} replicas are listed twice and counted once"))
        discarded = tick.discarded + tick.added.discarded
        if discarded:
            reasons.append(Reason("discarded", f"{discarded} values on pages cannot be true and were left out"))
        return RoleDecision(role.role, count, tuple(reasons))

    def _first_sight(self, spec: ServiceSpec, sized: Sized, now: float) -> bool:
        keep_s = spec.keep_warm_s if spec.keep_warm_s is not None else sized.lead_time_s
        since_s = self._state.watched_since_s
        return since_s is not None and now - since_s < max(keep_s, FIRST_SIGHT_S)


def _without_leaving(state: RoleState, seen: RoleObservation) -> RoleObservation:
    """After a zero, what served and does not answer is being removed, whatever a list that lags still says.

    Read as loading or as blind it woke the service anew: 1 -> 0 -> 1 within 5 s under the real KEDA.
    """
    if seen.replicas is None or state.decided_at_s is None or state.last_replicas > 0:
        return seen
    replicas = tuple(
        replace(one, phase=ReplicaPhase.DRAINING)
        if one.restarts or (one.failure is not None and one.phase is ReplicaPhase.READY)
        else one
        for one in seen.replicas
    )
    return replace(seen, replicas=replicas)


def _why_blind(
    spec: ServiceSpec, observed: dict[str, RoleObservation], ticks: dict[str, Tick], outside: Outside
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


def _busy(ticks: dict[str, Tick], outside: Outside) -> str | None:
    """One sentence on what keeps the service up, None if nothing does."""
    if outside.held > 0:
        return _counted(outside.held, "request is held", "requests are held")
    if outside.woken > 0:
        return "it was woken by the API"
    running = sum(t.running + t.waiting for t in ticks.values())
    if running > 0:
        return _counted(running, "request runs or waits", "requests run or wait")
    coming = sum(len(t.coming) for t in ticks.values())
    if coming:
        return _counted(coming, "replica is loading", "replicas are loading")
    if any(t.blind for t in ticks.values()):
        return "some replicas do not answer"
    return None


def _counted(count: float, one: str, many: str) -> str:
    return f"{count:.0f} {one if round(count) == 1 else many}"


def _raise(count: int, least: int, code: str, text: str, reasons: list[Reason]) -> int:
    if count >= least:
        return count
    reasons.append(Reason(code, text, (("found", float(count)), ("least", float(least)))))
    return least
