"""What only the replica that owns runs: lists, scrapes, wake sources, and one planner a service."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from autoscaler.collect.fetching import Fetcher
from autoscaler.collect.held import HeldReadings, WakePage
from autoscaler.collect.lists import ReplicaListing
from autoscaler.collect.scrape import ScrapeObserver, Scraper
from autoscaler.config.records import ServiceSettings, TargetsFile
from autoscaler.control.directories import Directories
from autoscaler.control.loop import Place, ServiceLoop, Sources
from autoscaler.control.observing import ListedRole
from autoscaler.core.records import Decision, Observation, ServiceId, ServiceSpec
from autoscaler.ports import Clock, DecisionSink, Discovery, Past, RoleSource, StateStore, WakeSource
from autoscaler.telemetry.recorder import Recorder

RESTART_AFTER_S = 1.0

_log = structlog.get_logger(__name__)


class Fan:
    """Gives every decision to several sinks."""

    def __init__(self, sinks: Sequence[DecisionSink]) -> None:
        self._sinks = tuple(sinks)

    def publish(self, observation: Observation, decision: Decision, took_s: float) -> None:
        """Pass it on."""
        for sink in self._sinks:
            sink.publish(observation, decision, took_s)


class Tasks:
    """Eternal tasks: the death of one is loud, and it is started again; the board holds meanwhile."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def keep(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run something for ever."""

        async def eternal() -> None:
            while True:
                try:
                    await run()
                    return
                except Exception:  # noqa: BLE001 -- whatever it was, the others must go on and this one must come back
                    _log.exception("a task died and is started again", task=getattr(run, "__qualname__", str(run)))
                await asyncio.sleep(RESTART_AFTER_S)

        self._tasks.append(asyncio.create_task(eternal()))

    async def end(self) -> None:
        """Cancel every task and wait for it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


@dataclass(frozen=True, slots=True)
class Owning:
    """Builds all of it from the targets file and from what is found, for one term of ownership."""

    file: TargetsFile
    directory: Directories
    found: Discovery | None
    fetcher: Fetcher
    scrapes: ScrapeObserver
    wakes: WakeSource
    sinks: tuple[DecisionSink, ...]  # the board first
    recorder: Recorder | None
    store: StateStore
    place: Place
    clock: Clock
    rng: random.Random
    owns: Callable[[bool], None]  # told when a term begins and ends
    forgets: Callable[[ServiceId], None]  # told when a service is planned no more
    past: Past | None = None

    @contextlib.asynccontextmanager
    async def term(self) -> AsyncIterator[None]:
        """Everything runs inside; at the end the learned state is saved."""
        file, clock, tasks = self.file, self.clock, Tasks()
        scraper = Scraper(self.fetcher, clock, self.scrapes, self.rng, file.scrape_interval_s, file.scrape_timeout_s)
        _log.info("planning", services=len(file.services))
        self.owns(True)
        try:
            pages = [WakePage(source, self._services, self.fetcher, clock, _warn) for source in file.wake_sources]
            for page in pages:
                tasks.keep(page.run)
            held = HeldReadings(pages)
            for settings in file.services:
                await self._plan(settings.spec.service, self._listed(settings, tasks), scraper, held, tasks)
            if self.found is not None:
                found = self.found
                tasks.keep(lambda: self._plan_found(found, scraper, held))
            yield
        finally:
            await tasks.end()
            await scraper.close()
            self.owns(False)
            _log.info("planning ended")

    def _services(self) -> list[ServiceSettings]:
        found = self.found
        return [*self.file.services, *(found.settings(one) for one in self.directory.found() if found is not None)]

    def _listed(self, settings: ServiceSettings, tasks: Tasks) -> Mapping[str, RoleSource]:
        roles = {}
        for target in settings.targets:
            listing = ReplicaListing(target, self.fetcher, self.clock)
            tasks.keep(listing.run)
            roles[target.role] = ListedRole(target, f"{settings.spec.service}/{target.role}", listing)
        return roles

    async def _plan_found(self, found: Discovery, scraper: Scraper, held: HeldReadings) -> None:
        """One loop for each service there is, as services come and go and change their roles."""
        running: dict[ServiceId, tuple[tuple[str, ...], Tasks]] = {}

        async def end(service: ServiceId) -> None:
            roles, tasks = running.pop(service)
            await tasks.end()
            for role in roles:
                scraper.watch(f"{service}/{role}", ())
            if service not in self.directory.services():
                self.forgets(service)
            _log.info("planned no more", service=str(service))

        try:
            while True:
                wanted = {
                    one: tuple(role.role for role in found.settings(one).spec.roles) for one in self.directory.found()
                }
                for service in [one for one, (roles, _) in running.items() if wanted.get(one) != roles]:
                    await end(service)
                for service in wanted.keys() - running.keys():
                    running[service] = wanted[service], Tasks()
                    _log.info("planned", service=str(service), roles=wanted[service])
                    try:
                        await self._plan(service, found.roles(service), scraper, held, running[service][1])
                    except KeyError:  # gone while the store was asked
                        await end(service)
                await found.changed()
        finally:
            # All at once: one after another, a thousand took over a minute while the others went on deciding.
            await asyncio.gather(*(end(service) for service in list(running)))

    async def _plan(
        self, service: ServiceId, roles: Mapping[str, RoleSource], scraper: Scraper, held: HeldReadings, tasks: Tasks
    ) -> None:
        loop = ServiceLoop(
            service,
            self._spec_of(service),
            Sources(roles, scraper, held, self.wakes),
            Fan(self.sinks if self.recorder is None else (*self.sinks, self.recorder)),
            self.store,
            self.place,
            self.clock,
            _warn,
            self.past,
            lambda state: self._begin(service, state),
        )
        snapshot = await loop.restore()
        self._begin(service, snapshot)
        tasks.keep(loop.run)

    def _begin(self, service: ServiceId, snapshot: bytes | None) -> None:
        if self.recorder is not None:
            self.recorder.begin(service, snapshot, self.clock.now())

    def _spec_of(self, service: ServiceId) -> Callable[[], ServiceSpec]:
        """What is set for a service now; the last that was, once it is gone and its loop about to end."""
        last = self.directory.spec(service)

        def spec() -> ServiceSpec:
            nonlocal last
            with contextlib.suppress(KeyError):
                last = self.directory.spec(service)
            return last

        return spec


def _warn(text: str) -> None:
    _log.warning(text)
