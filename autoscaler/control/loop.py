"""One task per service: observe, decide, publish, keep the learned state."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autoscaler.config.records import ServiceSettings
from autoscaler.control.observing import watches
from autoscaler.core import Planner
from autoscaler.core.errors import AutoscalerError
from autoscaler.core.records import Decision, Observation, ServiceSpec
from autoscaler.ports import (
    Clock,
    DecisionSink,
    HeldSource,
    ReplicaSource,
    SampleSource,
    StateStore,
    WakeSource,
)

# How often a sleeping service looks at its wake sources: a held request waits at most this long for its edge.
WAKE_CHECK_S = 0.5
# Learned state changes slowly (forgetting about an hour); half a minute of it is what a kill -9 may cost.
SAVE_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Sources:
    """Where one service's observations come from."""

    replicas: Mapping[str, ReplicaSource]  # by role
    samples: SampleSource
    held: HeldSource
    wakes: WakeSource


class ServiceLoop:
    """Owns the planner of one service."""

    def __init__(
        self,
        settings: ServiceSettings,
        spec: Callable[[], ServiceSpec],
        sources: Sources,
        sink: DecisionSink,
        store: StateStore,
        clock: Clock,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._service = settings.spec.service
        self._spec = spec
        self._sources = sources
        self._sink = sink
        self._store = store
        self._clock = clock
        self._warn = warn
        self._watches = watches(str(self._service), settings.targets)
        self.planner = Planner()
        self._saved_at_s = 0.0
        self._saved_leads_s: list[float | None] = []

    async def restore(self) -> bytes | None:
        """Take up the learned state of the last run; a snapshot that cannot be read is reported and left aside."""
        try:
            snapshot = await self._store.load(self._service)
            if snapshot is not None:
                self.planner.restore(snapshot)
        except AutoscalerError as error:
            self._warn(f"learned state of {self._service} is not used: {error}")
            return None
        return snapshot

    async def run(self) -> None:
        """Decide for ever; ends only by cancellation, and then keeps the learned state."""
        self._saved_at_s = self._clock.now()
        try:
            while True:
                decision = self.decide()
                await self._save_if_due(decision)
                await self._wait(decision)
        finally:
            await self._store.save(self._service, self.planner.snapshot(), self._clock.now())

    def decide(self) -> Decision:
        """Observe once, decide once, publish."""
        now = self._clock.now()
        observation = self._observe(now)
        before = time.perf_counter()
        decision = self.planner.observe(observation, now)
        self._sink.publish(observation, decision, time.perf_counter() - before)
        return decision

    def _observe(self, now: float) -> Observation:
        roles = []
        for role, watch in self._watches.items():
            listing = self._sources.replicas[role].listing()
            self._sources.samples.watch(f"{self._service}/{role}", watch.endpoints(listing))
            roles.append(watch.observe(listing, self._sources.samples, now))
        return Observation(
            self._spec(),
            tuple(roles),
            self._sources.held.readings(self._service),
            self._sources.wakes.wakes(self._service, now),
        )

    async def _wait(self, decision: Decision) -> None:
        """Sleep until the next decision is due, or, when at zero, until somebody waits."""
        until_s = self._clock.now() + decision.next_in_s
        while (left_s := until_s - self._clock.now()) > 0:
            await self._clock.sleep(min(left_s, WAKE_CHECK_S))
            if not decision.active and self._somebody_waits():
                return

    def _somebody_waits(self) -> bool:
        if self._sources.wakes.wakes(self._service, self._clock.now()):
            return True
        return any(reading.held for reading in self._sources.held.readings(self._service))

    async def _save_if_due(self, decision: Decision) -> None:
        """Save now and then, and at once when a start-up was measured: those are rare, and dear to see again."""
        now = self._clock.now()
        leads_s = [estimates.lead_time_s for estimates in decision.estimates]
        if now - self._saved_at_s < SAVE_EVERY_S and leads_s == self._saved_leads_s:
            return
        self._saved_at_s, self._saved_leads_s = now, leads_s
        await self._store.save(self._service, self.planner.snapshot(), now)
