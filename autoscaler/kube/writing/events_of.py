"""Which decisions and findings become Events on the ScaledObject: what a person looks for who asks why.

Steps with their first reason, holds longer than a minute, what fights, what we may not do. An Event's text must not
change while its cause stays, or repeats could not be counted: so it holds no running times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from autoscaler.core.errors import ClusterError
from autoscaler.core.records import Decision, Mode, Reason, ServiceId
from autoscaler.kube.errors import Forbidden, MissingKind
from autoscaler.kube.events import ObjectRef
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.findings import Finding, Severity
from autoscaler.kube.meaning.raw import Raw
from autoscaler.kube.resources import SCALED_OBJECTS
from autoscaler.ports import Clock, Ownership

# Twelve decisions: a scrape that fails once or twice is not worth a line in `kubectl describe`.
HOLD_TOLD_S = 60.0
# The API server keeps Events for an hour (--event-ttl): what still holds then is told again.
AGAIN_S = 3600.0


class Recorder(Protocol):
    """What takes Events: see `autoscaler.kube.events.EventRecorder`."""

    def record(
        self, about: ObjectRef, reason: str, note: str, *, action: str = "Scaling", warning: bool = False
    ) -> None:
        """Say that something happened to an object; never waits, never raises."""
        ...


def reference(scaled_object: Raw) -> ObjectRef:
    """A ScaledObject as an Event names it; objects from a list do not carry their own kind."""
    return ObjectRef(
        SCALED_OBJECTS.api_version,
        SCALED_OBJECTS.kind,
        read.namespace(scaled_object) or "default",
        read.name(scaled_object),
        read.text(scaled_object, "metadata", "uid"),
    )


@dataclass(slots=True)
class _Before:
    """What was decided last of one service."""

    counts: dict[str, int]  # by role, as KEDA was told
    held_since_s: float | None = None
    told: Mode = Mode.NORMAL  # the mode that was told last


class EventsOf:
    """Turns decisions and findings into Events; the owner only."""

    def __init__(self, recorder: Recorder, ownership: Ownership, clock: Clock) -> None:
        self._recorder = recorder
        self._ownership = ownership
        self._clock = clock
        self._before: dict[ServiceId, _Before] = {}
        self._told: dict[tuple[ObjectRef, str, str], float] = {}

    def offer(self, decision: Decision, about: Mapping[str, ObjectRef]) -> None:
        """Take a decision; `about` names the ScaledObject of each role."""
        if not self._ownership.is_owner() or decision.mode is Mode.SHADOW:
            self.forget(decision.service)  # what others decided meanwhile is no step of ours
            return
        counts = {one.role: max(1, one.replicas) if decision.active else 0 for one in decision.roles}
        before = self._before.setdefault(decision.service, _Before(counts))
        if decision.mode is Mode.NORMAL:
            self._steps(decision, before.counts, counts, about)
            if before.told is not Mode.NORMAL:
                for ref in about.values():
                    self._recorder.record(ref, "Resumed", "enough is known again: replicas follow the load")
            before.counts, before.held_since_s, before.told = counts, None, Mode.NORMAL
        else:
            self._blind(decision, before, about)

    def found(self, about: ObjectRef, findings: Iterable[Finding]) -> None:
        """Take what is wrong with a configuration, as it is now: told at first, and each hour while it stays."""
        if not self._ownership.is_owner():
            return
        for one in findings:
            if one.severity is not Severity.NOTE:
                note = f"{one.cause} Fix: {one.fix}  Found: {'; '.join(one.evidence)}"  # cut at its end, if at all
                self._once(about, _camel(one.check), note, "Checking")

    def missing(self, about: ObjectRef, feature: str, problem: ClusterError | None) -> None:
        """Take why a feature cannot do its work: a missing rule or CRD is told with what to add, others only logged."""
        if isinstance(problem, (Forbidden, MissingKind)) and self._ownership.is_owner():
            reason = "MissingRule" if isinstance(problem, Forbidden) else "MissingKind"
            self._once(about, reason, f"{feature} is off: {problem}", "Writing")

    def forget(self, service: ServiceId) -> None:
        """The service is no longer there, or no longer ours."""
        self._before.pop(service, None)

    def _steps(
        self, decision: Decision, before: Mapping[str, int], now: Mapping[str, int], about: Mapping[str, ObjectRef]
    ) -> None:
        for role, count in now.items():
            last = before.get(role, count)
            if count != last and role in about:
                asked = decision.role(role)
                why = _first((*(asked.reasons if asked else ()), *decision.reasons))
                reason = "ScaledUp" if count > last else "ScaledDown"
                self._recorder.record(about[role], reason, f"{last} -> {count} replicas asked{why}")

    def _blind(self, decision: Decision, before: _Before, about: Mapping[str, ObjectRef]) -> None:
        if any(one.code == "stopped" for one in decision.reasons):
            return  # its owner stopped it, and knows
        if before.held_since_s is None:
            before.held_since_s = decision.at_s
        long = decision.at_s - before.held_since_s > HOLD_TOLD_S
        if before.told is decision.mode or (decision.mode is Mode.HOLD and not long):
            return
        before.told = decision.mode
        text = decision.reasons[0].text if decision.reasons else "nothing is known of its load"
        for ref in about.values():
            if decision.mode is Mode.HOLD:
                self._recorder.record(ref, "Holding", text, warning=True)
            else:
                note = f"KEDA is answered with an error, and keeps what is there: {text}"
                self._recorder.record(ref, "Unknown", note, warning=True)

    def _once(self, about: ObjectRef, reason: str, note: str, action: str) -> None:
        now = self._clock.now()
        key = about, reason, note
        if now - self._told.get(key, float("-inf")) >= AGAIN_S:
            self._told = {one: at_s for one, at_s in self._told.items() if now - at_s < AGAIN_S}
            self._told[key] = now
            self._recorder.record(about, reason, note, action=action, warning=True)


def _first(reasons: tuple[Reason, ...]) -> str:
    return f": {reasons[0].text}" if reasons else ""


def _camel(check: str) -> str:
    """`second-scaler` as an Event's reason: SecondScaler."""
    return "".join(part.capitalize() for part in check.split("-"))
