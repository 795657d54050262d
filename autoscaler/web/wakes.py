"""Wakes: wishes for replicas that expire by themselves."""

from __future__ import annotations

from autoscaler.core.records import ServiceId, Wake

MOST_REPLICAS = 1000
MOST_TTL_S = 86_400.0
MOST_PER_SERVICE = 100  # beyond it the earliest to expire goes


class Wakes:
    """Live wakes of every service (a `WakeSource`)."""

    def __init__(self) -> None:
        self._wakes: dict[ServiceId, tuple[Wake, ...]] = {}

    def add(self, service: ServiceId, wake: Wake) -> None:
        """Take a wish."""
        kept = sorted((*self._wakes.get(service, ()), wake), key=lambda one: one.expires_at_s)
        self._wakes[service] = tuple(kept[-MOST_PER_SERVICE:])

    def wakes(self, service: ServiceId, now: float) -> tuple[Wake, ...]:
        """Live wakes of the service; expired ones are dropped."""
        live = tuple(wake for wake in self._wakes.get(service, ()) if wake.expires_at_s > now)
        if live:
            self._wakes[service] = live
        else:
            self._wakes.pop(service, None)
        return live
