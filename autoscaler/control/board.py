"""The board: the newest decision of every target, read by gRPC handlers without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from autoscaler.core.records import Decision, Mode, Observation, Reason, RoleObservation, ServiceId, TargetId
from autoscaler.watching import Watchers

# A decision older than this many periods is not trusted as it stands: its number is held instead.
STALE_AFTER_PERIODS = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What KEDA may be told of one target right now."""

    target: TargetId
    at_s: float  # when it was decided
    mode: Mode
    active: bool
    replicas: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest decision of one service, and what it takes to hold it honestly."""

    decision: Decision
    # role -> replicas that the cluster was told to run; where that cannot be read those listed, answering or not
    present: Mapping[str, int]
    period_s: float
    hold_limit_s: float


class Board:
    """Takes decisions from the control loop (a `DecisionSink`), gives answers, wakes push streams on change.

    On a replica that does not plan, the owner's standings come in by `take`, and answers follow the same rules.
    """

    def __init__(self) -> None:
        self._entries: dict[ServiceId, Standing] = {}
        self._watchers = Watchers()

    def publish(self, observation: Observation, decision: Decision, took_s: float) -> None:  # noqa: ARG002
        """Take one decision and wake those who watch its service."""
        spec = observation.spec
        former = self._entries.get(decision.service)
        present = {one.role: _present(one, former) for one in observation.roles}
        self._stand(Standing(decision, present, spec.period_s, spec.hold_limit_s))

    def take(self, standing: Standing, now: float) -> bool:
        """Take what the owner says, times on our clock; False if what stands here is newer, and not from the future."""
        former = self._entries.get(standing.decision.service)
        if former is not None and standing.decision.at_s < former.decision.at_s <= now:
            return False
        self._stand(standing)
        return True

    def _stand(self, standing: Standing) -> None:
        service = standing.decision.service
        self._entries[service] = standing
        self._watchers.tell(service)

    def standing(self, service: ServiceId) -> Standing | None:
        """What stands for a service, None before the first decision."""
        return self._entries.get(service)

    def services(self) -> tuple[ServiceId, ...]:
        """Every service that something stands for."""
        return tuple(self._entries)

    def decision(self, service: ServiceId) -> Decision | None:
        """The newest decision of a service as it was made, None before the first."""
        entry = self._entries.get(service)
        return entry.decision if entry else None

    def answer(self, target: TargetId, now: float) -> Answer | None:
        """The answer for one target; None if nothing was ever decided for it.

        A decision older than three periods is held: active, at the larger of its number and what is present; past the
        hold limit it is unknown.
        """
        entry = self._entries.get(target.service)
        role = entry.decision.role(target.role) if entry else None
        if entry is None or role is None:
            return None
        decision = entry.decision
        reasons = role.reasons + decision.reasons
        age_s = now - decision.at_s
        if decision.mode is Mode.UNKNOWN or age_s <= STALE_AFTER_PERIODS * entry.period_s:
            return Answer(target, decision.at_s, decision.mode, decision.active, role.replicas, reasons)
        stale = Reason("stale_decision", "The decision loop is late; its last number is held.", (("age_s", age_s),))
        mode = Mode.HOLD if age_s <= entry.hold_limit_s else Mode.UNKNOWN
        held = max(role.replicas, entry.present.get(target.role, 0), 0 if not decision.active else 1)
        # A confident zero stays a zero: nothing was there and nothing was asked for when the loop stopped.
        return Answer(target, decision.at_s, mode, decision.active or held > 0, held, (stale, *reasons))

    def watch(self, service: ServiceId) -> AbstractContextManager[asyncio.Event]:
        """An event that is set at every new decision of the service; the watcher clears it."""
        return self._watchers.watch(service)


def _present(role: RoleObservation, former: Standing | None) -> int:
    """What a hold must not fall below. Replicas beyond what the cluster was told are leaving, for minutes where they
    finish what they have: kept, they would take back a decrease that was carried out."""
    if role.spec_replicas is not None:
        return role.spec_replicas
    if role.replicas is not None:
        return len(role.replicas)
    return former.present.get(role.role, 0) if former else 0
