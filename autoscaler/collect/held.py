"""Wake sources: each gateway's page read once an interval, for every service that it speaks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from autoscaler.collect.fetching import Fetcher
from autoscaler.config.records import ServiceSettings, WakeSourceSettings
from autoscaler.core.errors import AutoscalerError
from autoscaler.core.records import HeldReading, ServiceId
from autoscaler.modelservers.gateways import read_held
from autoscaler.ports import Clock

TIMEOUT_S = 2.0


class WakePage:
    """Reads one wake source for the services that name it."""

    def __init__(
        self,
        source: WakeSourceSettings,
        services: Callable[[], Iterable[ServiceSettings]],  # all there are now
        fetcher: Fetcher,
        clock: Clock,
        warn: Callable[[str], None],
    ) -> None:
        self._source = source
        self._services = services
        self._fetcher = fetcher
        self._clock = clock
        self._warn = warn
        self._failing = False
        self.readings: dict[ServiceId, HeldReading] = {}

    async def run(self) -> None:
        """Read for ever, while a service names it; a failure keeps the last readings, which grow old."""
        while True:
            try:
                await self._read()
                self._failing = False
            except AutoscalerError as error:
                if not self._failing:
                    self._warn(f"wake source {self._source.name}: {error}")
                self._failing = True
            await self._clock.sleep(self._source.interval_s)

    async def _read(self) -> None:
        source = self._source
        mine = [settings for settings in self._services() if settings.wake_source == source.name]
        if not mine:
            return
        body = await self._fetcher.get(source.url, source.access, self._clock.wall_s(TIMEOUT_S))
        for settings in mine:
            service = settings.spec.service
            self.readings[service] = read_held(
                body.text,
                body.content_type,
                source.kind,
                namespace=service.namespace,
                service=service.name,
                model=settings.wake_model,
                source=source.name,
                at_s=self._clock.now(),
            )


class HeldReadings:
    """The newest readings of all wake sources (a `HeldSource`)."""

    def __init__(self, pages: Sequence[WakePage]) -> None:
        self._pages = tuple(pages)

    def readings(self, service: ServiceId) -> tuple[HeldReading, ...]:
        """The newest reading of every wake source that speaks for the service."""
        return tuple(page.readings[service] for page in self._pages if service in page.readings)
