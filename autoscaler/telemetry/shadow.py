"""What shadow decisions would have done, in the log: one line whenever the count or the activity changes."""

from __future__ import annotations

import structlog

from autoscaler.core.records import Decision, Observation, ServiceId, ServiceMode

_log = structlog.get_logger(__name__)


class ShadowLog:
    """Takes every decision (a `DecisionSink`) and tells of those of watched services."""

    def __init__(self) -> None:
        self._last: dict[ServiceId, tuple[object, ...]] = {}

    def publish(self, observation: Observation, decision: Decision, took_s: float) -> None:  # noqa: ARG002
        """Log a change."""
        if observation.spec.mode is not ServiceMode.SHADOW:
            return
        counts = {role.role or "replicas": role.replicas for role in decision.roles}
        told = (decision.mode, decision.active, *counts.items())
        if self._last.get(decision.service) == told:
            return
        self._last[decision.service] = told
        listed = {seen.role or "replicas": len(seen.replicas or ()) for seen in observation.roles}
        why = [reason.text for role in decision.roles for reason in role.reasons] + [r.text for r in decision.reasons]
        _log.info(
            "shadow decision",
            service=str(decision.service),
            mode=decision.mode.value,
            active=decision.active,
            would_ask=counts,
            listed=listed,
            why="; ".join(why),
        )
