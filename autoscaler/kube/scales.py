"""Scale targets of kinds that nobody watches: read through `/scale`, which every scalable kind has alike.

There are few of them, each named by a ScaledObject that concerns us, so each is asked for again and again: its scale
for counts and the pods' selector, and now and then the object itself, for who owns it and its pod template. Only the
first needs to be allowed; what is missing is a condition and one log line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import structlog

from autoscaler.core.errors import ClusterError
from autoscaler.kube.client import KubeClient
from autoscaler.kube.decoding import Json, without_bookkeeping
from autoscaler.kube.errors import ApiError, Forbidden, MissingKind, NotFound
from autoscaler.kube.informer import Condition
from autoscaler.kube.meaning.objects import Kind, Reading
from autoscaler.kube.resources import Resource
from autoscaler.ports import Clock

READ_EVERY_S = 5.0  # the decision period
WHOLE_EVERY_S = 60.0  # the object itself: owners and templates hardly change
AGAIN_S = 60.0  # a kind that was not known may be installed by then

_REASONS = {
    Reading.READ: "Watching",
    Reading.FORBIDDEN: "Forbidden",
    Reading.ABSENT: "MissingKind",
    Reading.STALE: "Unreachable",
}

Place = tuple[Kind, str, str]  # kind, namespace, name

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Read:
    """What was read of one target."""

    reading: Reading = Reading.STALE
    raw: Json | None = None
    whole: Json = field(default_factory=dict)  # the object itself, without counts
    whole_at_s: float | None = None
    next_s: float = 0.0
    said: str = ""


class Scales:
    """Reads every target that is wanted, by `run`."""

    def __init__(self, client: KubeClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._wanted: dict[Hashable, Place] = {}  # by who wants it
        self._read: dict[Place, _Read] = {}
        self._resources: dict[Kind, Resource] = {}
        self._new = asyncio.Event()
        self.changed: Callable[[Json], None] = lambda _: None  # told when a target reads otherwise than before

    def want(self, who: Hashable, place: Place | None) -> None:
        """Keep a target read from now on; None: `who` wants none any more."""
        former = self._wanted.pop(who, None)
        if place is not None:
            self._wanted[who] = place
            if place not in self._read:
                self._read[place] = _Read()
                self._new.set()
        if former is not None and former not in self._wanted.values():
            self._read.pop(former, None)

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """One target as last read; `spec.replicas`, `status.replicas` and `status.selector` are its scale's."""
        found = self._read.get((kind, namespace, name))
        return found.raw if found is not None else None

    def reading(self, kind: Kind, namespace: str | None) -> Reading:
        """How well targets of a kind are known in a namespace (None: anywhere); the worst of them counts."""
        found = {
            one.reading for (which, where, _), one in self._read.items() if which == kind and namespace in (None, where)
        }
        worst = (Reading.FORBIDDEN, Reading.STALE, Reading.ABSENT, Reading.READ)
        return next((one for one in worst if one in found), Reading.UNWATCHED)

    def conditions(self) -> tuple[Condition, ...]:
        """How each target is."""
        return tuple(
            Condition(f"scale of {place[0]} {place[1]}/{place[2]}", reason == "Watching", reason, one.said, 0.0)
            for place, one in self._read.items()
            for reason in (_REASONS[one.reading],)
        )

    async def run(self) -> None:
        """For ever, until cancelled."""
        while True:
            self._new.clear()
            now = self._clock.now()
            for place in [place for place, one in self._read.items() if one.next_s <= now]:
                await self._look(place)
            with_s = self._clock.wall_s(READ_EVERY_S if self._read else AGAIN_S)
            try:
                async with asyncio.timeout(with_s):
                    await self._new.wait()
            except TimeoutError:
                continue

    async def _look(self, place: Place) -> None:
        one, now = self._read.get(place), self._clock.now()
        if one is None:
            return
        before = one.reading, one.raw
        one.next_s = now + READ_EVERY_S * 0.5
        try:
            await self._ask(place, one, now)
        except NotFound:
            one.reading, one.raw, one.said = Reading.READ, None, ""
        except (Forbidden, MissingKind) as error:
            self._off(place, one, error)
            one.next_s = now + AGAIN_S
        except ClusterError as error:
            if one.reading is not Reading.FORBIDDEN:
                one.reading = Reading.STALE
            self._say(place, one, error)
        if (one.reading, one.raw) != before and place in self._read:
            _, namespace, name = place
            self.changed(one.raw or {"metadata": {"namespace": namespace, "name": name}})

    async def _ask(self, place: Place, one: _Read, now: float) -> None:
        kind, namespace, name = place
        resource = self._resources.get(kind) or await self._client.served(kind.group, kind.kind)
        if resource is None:
            one.reading, one.raw, one.next_s = Reading.ABSENT, None, now + AGAIN_S
            return
        try:
            scale = await self._client.get(resource, namespace, name, "scale")
        except MissingKind:
            self._resources.pop(kind, None)  # its version may be served no more
            raise
        self._resources[kind] = resource
        if one.whole_at_s is None or now - one.whole_at_s >= WHOLE_EVERY_S:
            one.whole_at_s = now
            try:
                one.whole = without_bookkeeping(await self._client.get(resource, namespace, name))
            except Forbidden:  # the scale alone is enough to scale
                one.whole = {}
        one.reading, one.raw, one.said = Reading.READ, _joined(resource, one.whole, scale), ""

    def _off(self, place: Place, one: _Read, error: ApiError) -> None:
        one.reading = Reading.FORBIDDEN if isinstance(error, Forbidden) else Reading.ABSENT
        one.raw = one.raw if isinstance(error, Forbidden) else None
        self._say(place, one, error)

    def _say(self, place: Place, one: _Read, error: ClusterError) -> None:
        if one.said != str(error):
            one.said = str(error)
            _log.warning("a scale target cannot be read", what=f"{place[0]} {place[1]}/{place[2]}", reason=str(error))


def _joined(resource: Resource, whole: Json, scale: Json) -> Json:
    """The object with the counts and the selector of its scale, wherever it keeps them itself."""
    counts, status = scale.get("spec") or {}, scale.get("status") or {}
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": whole.get("metadata") or scale.get("metadata") or {},
        "spec": {**(whole.get("spec") or {}), "replicas": counts.get("replicas", 0)},
        "status": {"replicas": status.get("replicas", 0), "selector": status.get("selector", "")},
    }
