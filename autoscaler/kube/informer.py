"""One kind of object, kept current: list, then watch; list again when the server no longer keeps our version.

What fails is tried again with growing, jittered waits, and the view grows stale meanwhile, which readers can see. What
is missing (the CRD) or forbidden (a rule) turns the informer off: one log line, a condition, a metric, rare retries.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from autoscaler.core.errors import ClusterError
from autoscaler.kube.cache import Handlers, Index, Key, ObjectCache, key_of
from autoscaler.kube.client import KubeClient, Selection
from autoscaler.kube.decoding import Json, Trim, without_bookkeeping
from autoscaler.kube.errors import ApiError, Forbidden, Gone, MissingKind, from_answer
from autoscaler.kube.resources import Call
from autoscaler.ports import Clock

_log = structlog.get_logger(__name__)

SETTLE_AFTER = 500  # objects; about 10,000 containers, 1 to 2 ms of the collector's time


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how patiently, in seconds of the clock."""

    page_limit: int = 500  # objects per page, client-go's default (tools/pager)
    # One watch lives 45 to 60 s. Servers send a bookmark about every minute and 2 s before a watch's end, so a short
    # one ends with a fresh version, and a dead connection is found out within 70 s; client-go's live 5 to 10 minutes
    # and rely on HTTP/2 pings for that.
    watch_s: float = 60.0
    resync_s: float = 1800.0  # list anew, whatever the watch said
    backoff_s: float = 1.0  # after the first failure; doubled by each further one
    backoff_limit_s: float = 30.0  # client-go's reflector: 0.8 to 30 s
    off_s: float = 15.0  # a CRD can be "missing" for seconds while an API server starts
    off_limit_s: float = 300.0
    # A watch that ends sooner without a word is a failure, so that one ended at once is not a hammer.
    short_watch_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Condition:
    """How one informer is: for the status page, `explain` and doctor."""

    what: str  # "pods in all namespaces"
    available: bool
    reason: str  # Starting, Watching, Unreachable, Forbidden, MissingKind
    message: str
    since_s: float


class InformerMetrics(Protocol):
    """What an informer reports; telemetry implements it."""

    def available(self, resource: str, namespace: str, available: bool) -> None:
        """The kind can be listed and watched, or it is turned off."""
        ...

    def listed(self, resource: str, namespace: str, reason: str) -> None:
        """It was listed: first, gone, resync."""
        ...

    def failed(self, resource: str, namespace: str, reason: str) -> None:
        """A list or watch failed."""
        ...


class NoMetrics:
    """Reports nothing."""

    def available(self, resource: str, namespace: str, available: bool) -> None:
        """Nothing."""

    def listed(self, resource: str, namespace: str, reason: str) -> None:
        """Nothing."""

    def failed(self, resource: str, namespace: str, reason: str) -> None:
        """Nothing."""


class Informer:
    """Objects of one selection, kept current by `run`."""

    def __init__(
        self,
        client: KubeClient,
        selection: Selection,
        clock: Clock,
        *,
        rng: random.Random,
        pace: Pace | None = None,
        trim: Trim = without_bookkeeping,
        indexes: Mapping[str, Index] | None = None,
        metrics: InformerMetrics | None = None,
    ) -> None:
        self.selection = selection
        self.cache = ObjectCache(indexes)
        self._client = client
        self._clock = clock
        self._rng = rng
        self._pace = pace or Pace()
        self._trim = trim
        self._metrics = metrics or NoMetrics()
        self._version: str | None = None  # where the next watch begins; None: list first
        self._why = "first"  # the reason of the next list
        self._heard_s: float | None = None  # when the server last proved that the view is current
        self._resync_at_s = 0.0
        self._failures = 0
        self._offs = 0
        self._fresh = SETTLE_AFTER  # objects taken since memory was last settled; at first: what was loaded with us
        self._complete = False
        self._settled = asyncio.Event()
        self._condition = Condition(str(selection), False, "Starting", "not listed yet", clock.now())

    @property
    def condition(self) -> Condition:
        """How it is, and since when."""
        return self._condition

    def conditions(self) -> tuple[Condition, ...]:
        """The same, in the shape of many."""
        return (self._condition,)

    @property
    def synced(self) -> bool:
        """The view is complete and kept; how fresh it is says `staleness_s`. Never true again while turned off."""
        return self._complete and self._offs == 0

    def staleness_s(self, now: float) -> float:
        """Seconds since the server last proved that the view is current; inf before the first list.

        Up to the length of one watch (60 s) is normal where nothing happens: a silent watch proves nothing.
        """
        return float("inf") if self._heard_s is None else max(0.0, now - self._heard_s)

    async def settled(self) -> None:
        """Wait until it is synced or turned off, whichever comes first."""
        await self._settled.wait()

    def subscribe(self, handlers: Handlers) -> None:
        """Tell of changes from now on, and of what is known already as added."""
        self.cache.subscribe(handlers)

    def get(self, namespace: str, name: str) -> Json | None:
        """One object, None if it is not known."""
        return self.cache.get(namespace, name)

    def all(self) -> list[Json]:
        """Every object known."""
        return self.cache.all()

    def by_index(self, index: str, value: str) -> list[Json]:
        """Objects of which the index function named this value."""
        return self.cache.by_index(index, value)

    async def run(self) -> None:
        """Keep the view current; ends by cancellation only."""
        while True:
            await self._clock.sleep(await self._round())

    async def _round(self) -> float:
        """List if need be, then watch until the watch ends; returns how long to wait then."""
        began_s = self._clock.now()
        try:
            if self._version is None or self._clock.now() >= self._resync_at_s:
                await self._list()
            began_s = self._clock.now()
            await self._watch(self._version or "")
        except (Forbidden, MissingKind) as error:
            other = isinstance(error, MissingKind) and await self._other_version()
            return 0.0 if other else self._turn_off(error)
        except Gone:
            self._version, self._why = None, "gone"
            self._count(began_s)
            return 0.0 if self._failures == 1 else self._backoff_s()
        except ClusterError as error:
            self._count(began_s)
            self._report(error)
            return max(self._backoff_s(), getattr(error, "retry_after_s", None) or 0.0)
        except Exception as error:  # noqa: BLE001 -- whatever it was, others must go on and this must come back
            self._count(began_s)
            _log.warning("an informer failed", what=str(self.selection), exc_info=True)
            self._set(False, "Failed", f"{type(error).__name__}: {error}")
            return self._backoff_s()
        if self._clock.now() - began_s < self._pace.short_watch_s:
            self._failures += 1
            return self._backoff_s()
        self._failures = 0
        return 0.0

    # List and watch ---------------------------------------------------------------------------------------------------

    async def _other_version(self) -> bool:
        """Whether the server has the kind in another version than the one asked for, which is asked for then.

        What is read of a kind did not change between versions, and servers drop old ones and lack new ones.
        """
        resource = self.selection.resource
        try:
            found = await self._client.served(resource.group, resource.kind) if resource.group else None
        except ClusterError:
            return False
        if found is None or found == resource:
            return False
        _log.info("read in another version", what=str(self.selection), version=found.version, asked=resource.version)
        self.selection = replace(self.selection, resource=found)
        self._version, self._why = None, "first"
        return True

    async def _list(self) -> None:
        seen: set[Key] = set()
        self._settle_memory()
        try:
            version = await self._pages(seen, self._pace.page_limit)
        except Gone:  # the pages took longer than the server keeps a version: all in one answer, which cannot expire
            seen.clear()
            version = await self._pages(seen, 0)
        for key in self.cache.keys() - seen:
            self.cache.remove(key)
        self._metrics.listed(*self._labels(), self._why)
        self._version, self._why, self._complete = version, "resync", True
        self._heard_s = self._clock.now()
        self._resync_at_s = self._heard_s + self._pace.resync_s * self._rng.uniform(0.8, 1.0)

    async def _pages(self, seen: set[Key], limit: int) -> str:
        def take(item: Json) -> None:
            seen.add(key_of(item))
            self._take(item)

        page = ""
        while True:
            end = await self._client.list_page(self.selection, take, limit=limit, page=page)
            page = end.next_page
            self._settle_memory()
            if not page:
                return end.resource_version

    async def _watch(self, version: str) -> None:
        self._settle_memory()
        now = self._clock.now()
        lives_s = self._pace.watch_s * self._rng.uniform(0.75, 1.0)
        lives_s = min(lives_s, max(self._pace.short_watch_s, self._resync_at_s - now))
        async with self._client.watch(self.selection, version, self._clock.wall_s(lives_s)) as events:
            self._turn_on()
            async for event in events:
                self._step(event)
                self._heard_s = self._clock.now()
                if self._heard_s >= self._resync_at_s:
                    return

    def _step(self, event: Json) -> None:
        kind, item = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            call = Call("watch", self.selection.resource, self.selection.namespace)
            raise from_answer(call, int(item.get("code") or 500), json.dumps(item).encode())
        if kind in ("ADDED", "MODIFIED"):
            version = item["metadata"]["resourceVersion"]  # before the trim, which may do as it likes
            self._take(item)
        elif kind == "DELETED":
            version = item["metadata"]["resourceVersion"]
            self.cache.remove(key_of(item))
        elif kind == "BOOKMARK":
            version = item["metadata"]["resourceVersion"]
        else:
            return
        self._version = version

    def _take(self, item: Json) -> None:
        try:
            trimmed = self._trim(item)
        except Exception:  # noqa: BLE001 -- one odd object must not hide the others
            _log.warning("an object cannot be read", what=str(self.selection), key=key_of(item), exc_info=True)
            return
        self._fresh += self.cache.put(trimmed)

    def _settle_memory(self) -> None:
        """Take many new objects out of the garbage collector's full rounds, which go through every one that lives.

        At 10,000 pods such a round held the loop for 70 to 97 ms, and for 48 ms with little more than our own modules
        (measured). Objects of JSON have no cycles, so that they are freed all the same; not done at every event, so
        that what is frozen by chance with them stays small.
        """
        if self._fresh >= SETTLE_AFTER:
            self._fresh = 0
            gc.collect(1)
            gc.freeze()

    # How it is --------------------------------------------------------------------------------------------------------

    def _count(self, began_s: float) -> None:
        """One more failure in a row; a watch that lived a while ends the row."""
        self._failures = 1 if self._clock.now() - began_s >= self._pace.short_watch_s else self._failures + 1

    def _backoff_s(self) -> float:
        whole_s = min(self._pace.backoff_limit_s, self._pace.backoff_s * 2.0 ** min(self._failures - 1, 30))
        return whole_s * self._rng.uniform(0.5, 1.0)

    def _turn_on(self) -> None:
        was, self._offs = self._condition, 0
        self._heard_s = self._clock.now()
        self._settled.set()
        if was.reason == "Watching":
            return
        self._set(True, "Watching", f"{len(self.cache)} objects at first")
        self._metrics.available(*self._labels(), True)
        if was.reason != "Starting":
            _log.info(
                "watched again", what=str(self.selection), was=was.reason, for_s=round(self._heard_s - was.since_s)
            )

    def _turn_off(self, error: ApiError) -> float:
        reason = type(error).__name__
        if self._condition.reason != reason:
            _log.warning("turned off, tried again now and then", what=str(self.selection), reason=str(error))
        self._set(False, reason, str(error))
        self._metrics.available(*self._labels(), False)
        self._metrics.failed(*self._labels(), reason)
        self._offs += 1
        self._version = None
        self._settled.set()
        return min(self._pace.off_limit_s, self._pace.off_s * 2.0 ** min(self._offs - 1, 30)) * self._rng.uniform(
            0.5, 1.0
        )

    def _report(self, error: ClusterError) -> None:
        """Said once until it is watched again: an API server that is away for an hour is one line."""
        reason = type(error).__name__
        if self._offs == 0:  # what is turned off stays so until it can be watched
            if self._condition.reason in ("Starting", "Watching"):
                _log.warning("cannot be watched, tried again", what=str(self.selection), reason=str(error))
            self._set(False, reason, str(error))
        self._metrics.failed(*self._labels(), reason)

    def _set(self, available: bool, reason: str, message: str) -> None:
        same = self._condition.reason == reason
        since_s = self._condition.since_s if same else self._clock.now()
        self._condition = Condition(str(self.selection), available, reason, message, since_s)

    def _labels(self) -> tuple[str, str]:
        return str(self.selection.resource), self.selection.namespace or ""
