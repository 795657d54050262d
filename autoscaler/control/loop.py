"""One task per service: observe, decide, publish, keep the learned state."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autoscaler.control.board import Board, Standing
from autoscaler.control.handover import not_below, take_up
from autoscaler.control.relay import Relay
from autoscaler.core import Planner
from autoscaler.core.errors import AutoscalerError
from autoscaler.core.records import Decision, Observation, ServiceId, ServiceSpec, Wake
from autoscaler.ports import (
    Clock,
    DecisionSink,
    HeldSource,
    Ownership,
    Past,
    RoleSource,
    SampleSource,
    Saved,
    StateStore,
    WakeSource,
)

# How often a sleeping service looks at its wake sources: a held request waits at most this long for its edge.
WAKE_CHECK_S = 0.5
# Learned state changes slowly (forgetting about an hour); half a minute of it is what a kill -9 may cost.
SAVE_EVERY_S = 30.0
# A first decision waits until every listed replica was asked once: without pages a fleet reads as one that starts.
# A scrape may take 2 s; who does not answer by then is down.
LOOK_S = 3.0
LOOK_STEP_S = 0.05
# What is watched meanwhile is worth more than a past that comes later than this.
WARM_WITHIN_S = 900.0


@dataclass(frozen=True, slots=True)
class Sources:
    """Where one service's observations come from."""

    roles: Mapping[str, RoleSource]  # by role
    samples: SampleSource
    held: HeldSource
    wakes: WakeSource


@dataclass(frozen=True, slots=True)
class Place:
    """Where a loop stands among our replicas: whether it may decide, what stands already, who is told."""

    ownership: Ownership
    board: Board
    relay: Relay


class ServiceLoop:
    """Owns the planner of one service, for as long as this replica owns."""

    def __init__(
        self,
        service: ServiceId,
        spec: Callable[[], ServiceSpec],
        sources: Sources,
        sink: DecisionSink,
        store: StateStore,
        place: Place,
        clock: Clock,
        warn: Callable[[str], None] = lambda _: None,
        past: Past | None = None,
        begins: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self._service = service
        self._spec = spec
        self._sources = sources
        self._sink = sink
        self._store = store
        self._place = place
        self._clock = clock
        self._warn = warn
        self._past = past  # None: no use for one, or asked already
        self._begins = begins  # told of a state that is taken up on the way
        self.planner = Planner()
        self._before: Standing | None = None  # what stood when this replica began to own
        self._wakes: tuple[Wake, ...] = ()  # those that the last decision knew
        self._saved_at_s = 0.0
        self._saved_leads_s: list[float | None] = []

    async def restore(self) -> bytes | None:
        """Take up the newest of what was saved here and what the last owner told; gives the state begun with.

        A state that cannot be read is reported and left aside.
        """
        log, began = self._place.relay.log(self._service), None
        try:
            saved = await self._store.load(self._service)
            if log is not None and (saved is None or saved.at_s <= log.at_s):
                observation = take_up(self.planner, log)
                for role in observation.roles if observation else ():
                    if role.role in self._sources.roles:
                        self._sources.roles[role.role].resume(role)
                began = self.planner.snapshot()
            elif saved is not None:
                self.planner.restore(saved.snapshot)
                began = saved.snapshot
        except AutoscalerError as error:
            self._warn(f"learned state of {self._service} is not used: {error}")
        if began is not None:
            self._past = None
        return began

    async def run(self) -> None:
        """Decide while this replica owns; keeps the learned state at the end, cancelled or not."""
        self._saved_at_s = self._clock.now()
        self._before = self._place.board.standing(self._service)
        await self._look()
        # Nobody waits for it: the first decisions are made without, and take nothing away.
        learning = asyncio.create_task(self._learn()) if self._past is not None else None
        try:
            while self._place.ownership.is_owner():
                if learning is not None and learning.done():
                    self._take_up(learning.result())
                    learning = None
                decision = self.decide()
                await self._save_if_due(decision)
                await self.wait(decision)
        finally:
            if learning is not None:
                learning.cancel()
                await asyncio.gather(learning, return_exceptions=True)
            await self._store.save(self._service, self.planner.snapshot(), self._clock.now())

    async def _learn(self) -> bytes | None:
        past, self._past = self._past, None
        if past is None:
            return None
        roles, began_s = self._sources.roles, self._clock.now()
        listed = {role: len(source.endpoints() or ()) for role, source in roles.items()}
        snapshot = await past.learn(self._service, self._spec(), listed)
        return snapshot if self._clock.now() - began_s <= WARM_WITHIN_S else None

    def _take_up(self, snapshot: bytes | None) -> None:
        """Go on with what was learned from the past; it is saved, and told, after the next decision."""
        if snapshot is None:
            return
        planner = Planner()
        try:
            planner.restore(snapshot)
        except AutoscalerError as error:
            self._warn(f"the past of {self._service} is not used: {error}")
            return
        self.planner, self._before = planner, self._place.board.standing(self._service)
        self._saved_at_s = 0.0
        self._begins(snapshot)

    async def _look(self) -> None:
        """Until every listed replica was asked once and every gateway read, for a bounded time."""
        until_s = self._clock.now() + LOOK_S
        while self._clock.now() < until_s and not self._looked():
            await self._clock.sleep(LOOK_STEP_S)

    def _looked(self) -> bool:
        samples = self._sources.samples
        for role, source in self._sources.roles.items():
            endpoints = source.endpoints()
            samples.watch(f"{self._service}/{role}", endpoints or ())
            if endpoints is None or any(samples.state(one.replica_id).attempts == 0 for one in endpoints):
                return False
        return not self._spec().has_wake_source or bool(self._sources.held.readings(self._service))

    def decide(self) -> Decision:
        """Observe once, decide once, publish."""
        now = self._clock.now()
        observation = self._observe(now)
        before = time.perf_counter()
        decision = self.planner.observe(observation, now)
        told = not_below(decision, self._before, now)
        if told is not None:
            self._sink.publish(observation, told, time.perf_counter() - before)
        return decision

    def _observe(self, now: float) -> Observation:
        roles = []
        for role, source in self._sources.roles.items():
            self._sources.samples.watch(f"{self._service}/{role}", source.endpoints() or ())
            roles.append(source.observe(self._sources.samples, now))
        self._wakes = self._sources.wakes.wakes(self._service, now)
        return Observation(
            self._spec(),
            tuple(roles),
            self._sources.held.readings(self._service),
            self._wakes,
        )

    async def wait(self, decision: Decision) -> None:
        """Until the next decision is due, a wake asks for more than it knew, or, at zero, somebody waits."""
        until_s = self._clock.now() + decision.next_in_s
        with self._sources.wakes.watch(self._service) as woken:
            # A remainder below a microsecond is rounding, which a virtual clock would never get past.
            while (left_s := until_s - self._clock.now()) > 1e-6:
                woken.clear()
                if self._woken():
                    return
                # Only gateways must be looked at: a wake tells of itself.
                step_s = left_s if decision.active else min(left_s, WAKE_CHECK_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._clock.wall_s(step_s)):
                        await woken.wait()
                if not decision.active and self._somebody_waits():
                    return

    def _woken(self) -> bool:
        """Whether wakes ask for more than the last decision knew: a caller who repeats itself makes no decisions."""
        live = self._sources.wakes.wakes(self._service, self._clock.now())
        return max((one.replicas for one in live), default=0) > max((one.replicas for one in self._wakes), default=0)

    def _somebody_waits(self) -> bool:
        return any(reading.held for reading in self._sources.held.readings(self._service))

    async def _save_if_due(self, decision: Decision) -> None:
        """Save now and then, and at once when a start-up was measured: those are rare, and dear to see again."""
        now = self._clock.now()
        leads_s = [estimates.lead_time_s for estimates in decision.estimates]
        due = now - self._saved_at_s >= SAVE_EVERY_S or leads_s != self._saved_leads_s
        if not due and not self._place.relay.wants_snapshot(self._service):
            return
        snapshot = self.planner.snapshot()
        if self._place.relay.listeners():
            self._place.relay.keep(self._service, Saved(decision.at_s, snapshot))
        if due:
            self._saved_at_s, self._saved_leads_s = now, leads_s
            await self._store.save(self._service, snapshot, now)
