"""What only the replica that owns runs: lists, scrapes, wake sources, and one planner a service."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from autoscaler.collect.fetching import Fetcher
from autoscaler.collect.held import HeldReadings, WakePage
from autoscaler.collect.lists import ReplicaListing
from autoscaler.collect.scrape import ScrapeObserver, Scraper
from autoscaler.config.records import ServiceSettings, TargetsFile
from autoscaler.control.directory import Directory
from autoscaler.control.loop import Place, ServiceLoop, Sources
from autoscaler.core.records import Decision, Observation
from autoscaler.ports import Clock, DecisionSink, StateStore, WakeSource
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
    """Builds all of it from the targets file, for one term of ownership."""

    file: TargetsFile
    directory: Directory
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

    @contextlib.asynccontextmanager
    async def term(self) -> AsyncIterator[None]:
        """Everything runs inside; at the end the learned state is saved."""
        file, clock, tasks = self.file, self.clock, Tasks()
        scraper = Scraper(self.fetcher, clock, self.scrapes, self.rng, file.scrape_interval_s, file.scrape_timeout_s)
        _log.info("planning", services=len(file.services))
        self.owns(True)
        try:
            pages = [WakePage(source, file.services, self.fetcher, clock, _warn) for source in file.wake_sources]
            for page in pages:
                tasks.keep(page.run)
            for settings in file.services:
                await self._plan(settings, scraper, HeldReadings(pages), tasks)
            yield
        finally:
            await tasks.end()
            await scraper.close()
            self.owns(False)
            _log.info("planning ended")

    async def _plan(self, settings: ServiceSettings, scraper: Scraper, held: HeldReadings, tasks: Tasks) -> None:
        listings = {target.role: ReplicaListing(target, self.fetcher, self.clock) for target in settings.targets}
        for listing in listings.values():
            tasks.keep(listing.run)
        service = settings.spec.service
        loop = ServiceLoop(
            settings,
            lambda: self.directory.spec(service),
            Sources(listings, scraper, held, self.wakes),
            Fan(self.sinks if self.recorder is None else (*self.sinks, self.recorder)),
            self.store,
            self.place,
            self.clock,
            _warn,
        )
        snapshot = await loop.restore()
        if self.recorder is not None:
            self.recorder.begin(service, snapshot, self.clock.now())
        tasks.keep(loop.run)


def _warn(text: str) -> None:
    _log.warning(text)
