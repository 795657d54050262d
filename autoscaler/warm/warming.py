"""Warm start of one service after another: ask, replay, and say in one line what was learned or why nothing was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autoscaler.core.errors import TargetError
from autoscaler.core.records import ServiceSpec
from autoscaler.modelservers.profiles import Profile
from autoscaler.warm.prometheus_api import Prometheus
from autoscaler.warm.replay import STEP_S, Replay, interval_s, samples_of
from autoscaler.warm.series import known, names_of, selector

HOURS = 4.0  # the planner's rehearsal reaches back so far
LIMIT_S = 30.0  # for one service, all told
# An answer of a megabyte takes 10 ms to read, during which nothing else runs.
ANSWER_BYTES = 1_000_000
FIRST_SPAN_S, LEAST_SPAN_S, MOST_SPAN_S = 300.0, 60.0, 1800.0
COARSEST_S = 60.0  # scrapes further apart hide what the planner sizes for
BACK_S = 1800.0  # where nothing was scraped lately, what was is looked for so far apart
LEAST_LOOKS = 40  # ten minutes,
LEAST_REQUESTS = 100.0  # and so many requests: less teaches nothing that minutes of watching do not
ALIKE = 2.0  # times more or fewer replicas in the past's last minute than are listed: those are not the same


@dataclass(frozen=True, slots=True)
class Where:
    """The Prometheus-compatible server, as the operator named it."""

    url: str
    token_file: Path | None = None
    hours: float = HOURS


@dataclass(frozen=True, slots=True)
class Learned:
    """A planner's state, and what it was learned from."""

    snapshot: bytes
    text: str  # one line


class WarmStart:
    """Asks one server, for one service at a time: a thousand at once would be a load test of it."""

    def __init__(self, where: Where, clock: Callable[[], float], limit_s: float = LIMIT_S) -> None:
        self._where = where
        self._clock = clock
        self._limit_s = limit_s  # wall seconds
        self._turn = asyncio.Semaphore(1)

    async def learn(self, spec: ServiceSpec, series: Mapping[str, str], listed: Mapping[str, int]) -> Learned:
        """Live through the past of a service.

        `series` are the label matchers of each role, `listed` the replicas of each role now. Raises TargetError (the
        server, or what it has, is of no use) and ConfigError (the token file).
        """
        async with self._turn:
            began_s = time.perf_counter()
            try:
                async with asyncio.timeout(self._limit_s):
                    replay = await self._replay(spec, series)
            except TimeoutError:
                raise TargetError(f"Prometheus: {self._where.url}: not read within {self._limit_s:.0f} s") from None
            _check(replay, listed)
            snapshot = await asyncio.to_thread(replay.learned, self._clock())
            hours, took_s = replay.looks * STEP_S / 3600.0, time.perf_counter() - began_s
            text = f"{replay.requests:,.0f} requests of {hours:.1f} h, in {took_s:.1f} s; no start-up time is learned"
            return Learned(snapshot, text)

    async def _replay(self, spec: ServiceSpec, series: Mapping[str, str]) -> Replay:
        where, until_s = self._where, self._clock()
        begin_s = until_s - where.hours * 3600.0
        async with Prometheus(where.url, where.token_file, "--warm-start-token-file") as api:
            roles = {role: (await _server(api, labels, begin_s, until_s), labels) for role, labels in series.items()}
            asked = {role: selector(names_of(one), labels) for role, (one, labels) in roles.items()}
            servers = {role: one.name for role, (one, _) in roles.items()}
            replay = Replay(spec, await self._interval(api, asked, servers, until_s))
            at_s, span_s = begin_s, FIRST_SPAN_S
            while at_s + STEP_S <= until_s:
                # Whole steps, so that parts meet where looks are.
                part_s = STEP_S * max(1, min(span_s, until_s - at_s) // STEP_S)
                found, largest = {}, 1
                for role, query in asked.items():
                    rows, size = await api.samples(query, at_s + part_s, part_s)
                    largest = max(largest, size)
                    found[role] = await asyncio.to_thread(samples_of, rows, servers[role])
                await asyncio.to_thread(replay.take, found, at_s, at_s + part_s)
                at_s += part_s
                span_s = min(MOST_SPAN_S, max(LEAST_SPAN_S, part_s * ANSWER_BYTES / largest))
            return replay

    async def _interval(
        self, api: Prometheus, asked: Mapping[str, str], servers: Mapping[str, str], until_s: float
    ) -> float:
        """How far apart scrapes are, by the newest there are: a service at zero has none now. Raises TargetError."""
        for back in range(int(self._where.hours * 3600.0 / BACK_S) + 1):
            for role, query in asked.items():
                rows, _ = await api.samples(query, until_s - back * BACK_S, FIRST_SPAN_S)
                found = interval_s(samples_of(rows, servers[role]))
                if found is None:
                    continue
                if found > COARSEST_S:
                    expected = f"every {COARSEST_S:.0f} s or less"
                    raise TargetError(f"replicas are scraped every {found:.0f} s, expected {expected}")
                return found
        raise TargetError(f"nothing was scraped in the last {self._where.hours:g} h")


async def _server(api: Prometheus, labels: str, from_s: float, until_s: float) -> Profile:
    names = await api.names(f"{{{labels}}}", from_s, until_s)
    there = known(names)
    if len(there) != 1:
        found = " and ".join(one.name for one in there) or f"{len(names)} metric names, none of a known model server"
        raise TargetError(f"found {found} under {{{labels}}}, expected one model server's: set warmStartLabels")
    return there[0]


def _check(replay: Replay, listed: Mapping[str, int]) -> None:
    """Too little is worse than nothing, and so is another service's past."""
    if replay.looks < LEAST_LOOKS or replay.requests < LEAST_REQUESTS:
        found = f"{replay.requests:.0f} requests in {replay.looks * STEP_S / 60.0:.0f} minutes"
        raise TargetError(f"found {found}, expected {LEAST_REQUESTS:.0f} in {LEAST_LOOKS * STEP_S / 60.0:.0f}")
    for role, count in replay.counts().items():
        now = listed.get(role, 0)
        if now and count and not now / ALIKE <= count <= now * ALIKE:
            name = f" of {role}" if role else ""
            raise TargetError(f"found series of {count} replicas{name} where {now} are listed: set warmStartLabels")
