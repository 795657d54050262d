"""Events on an object, as `kubectl describe` shows them: repeats are counted, and no object is ever flooded.

Recording never waits and never raises. What cannot be written is dropped: an Event is a courtesy, the log and
/metrics have the same.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from dataclasses import dataclass

import structlog

from autoscaler.core.errors import ClusterError
from autoscaler.kube.apply import Outcome, WriteMetrics
from autoscaler.kube.client import KubeClient
from autoscaler.kube.decoding import Json
from autoscaler.kube.errors import Forbidden, MissingKind, NotFound, Unreachable
from autoscaler.kube.lease import micro_time
from autoscaler.kube.resources import EVENTS
from autoscaler.ports import Clock

_log = structlog.get_logger(__name__)

# client-go's EventCorrelator: 25 events at once per object, then one in 5 minutes.
BURST = 25
REFILL_S = 300.0
# A repeat within 6 minutes belongs to the same series (client-go's tools/events); the API server is told of a running
# series at most once a minute.
SERIES_S = 360.0
SERIES_WRITE_S = 60.0
# Series and objects remembered, the oldest go first: client-go's cache has 4096 too.
REMEMBERED = 4096
# Waiting to be written while the API server is away; more are dropped.
QUEUE = 256
NOTE_LIMIT = 1024  # characters, by the API's validation
OFF_S = 300.0  # where the rule is missing


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """What an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = ""

    @staticmethod
    def of(item: Json) -> ObjectRef:
        """From an object of the API that carries its own kind; objects from a list do not."""
        metadata = item["metadata"]
        return ObjectRef(
            item["apiVersion"], item["kind"], metadata.get("namespace", ""), metadata["name"], metadata.get("uid", "")
        )

    def document(self) -> Json:
        """As the API's ObjectReference."""
        fields = {"apiVersion": self.api_version, "kind": self.kind, "namespace": self.namespace, "name": self.name}
        return fields | ({"uid": self.uid} if self.uid else {})


@dataclass(frozen=True, slots=True)
class _Event:
    about: ObjectRef
    warning: bool
    reason: str
    action: str
    note: str


@dataclass(slots=True)
class _Series:
    count: int
    seen_s: float
    name: str = ""  # of the written Event; "": not written yet
    written_s: float = 0.0
    first_s: float = 0.0
    queued: bool = False


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


class EventRecorder:
    """Records Events; `run` writes them."""

    def __init__(
        self,
        client: KubeClient,
        clock: Clock,
        *,
        instance: str,
        rng: random.Random,
        controller: str = "llm-autoscaler",
        metrics: WriteMetrics | None = None,
    ) -> None:
        self.dropped = 0  # by the rate limit, a full queue or a failed write
        self.problem: ClusterError | None = None  # why nothing can be written; None: it can
        self._said: set[type[ClusterError]] = set()
        self._client = client
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._instance = instance[:128]
        self._controller = controller
        self._series: OrderedDict[_Event, _Series] = OrderedDict()
        self._buckets: OrderedDict[ObjectRef, _Bucket] = OrderedDict()
        self._queue: asyncio.Queue[_Event] = asyncio.Queue(QUEUE)
        self._off_until_s: dict[str, float] = {}  # by namespace: rules are given in each

    def record(
        self, about: ObjectRef, reason: str, note: str, *, action: str = "Scaling", warning: bool = False
    ) -> None:
        """Say that something happened to an object; the same again is counted, not written anew.

        `reason` and `action` are short UpperCamelCase words of at most 128 characters; `note` is for people.
        """
        now = self._clock.now()
        event = _Event(about, warning, reason, action, note[:NOTE_LIMIT])
        series = self._series.get(event)
        if series is not None and now - series.seen_s <= SERIES_S:
            series.count += 1
            series.seen_s = now
            self._series.move_to_end(event)
            if series.queued or now - series.written_s < SERIES_WRITE_S:
                return  # told with the next write
        else:
            series = self._series[event] = _Series(1, now, first_s=now)
            self._series.move_to_end(event)
            _forget(self._series)
        if not self._allowed(about, now) or self._queue.full():
            self._drop(about, Outcome.LIMITED)
            return
        series.queued = True
        self._queue.put_nowait(event)

    async def run(self) -> None:
        """Write what was recorded; ends by cancellation only."""
        while True:
            event = await self._queue.get()
            series = self._series.get(event)
            if series is not None:
                series.queued = False
                await self._write(event, series)

    def _allowed(self, about: ObjectRef, now: float) -> bool:
        bucket = self._buckets.get(about)
        if bucket is None:
            bucket = self._buckets[about] = _Bucket(BURST, now)
            _forget(self._buckets)
        self._buckets.move_to_end(about)
        bucket.tokens = min(float(BURST), bucket.tokens + (now - bucket.at_s) / REFILL_S)
        bucket.at_s = now
        if bucket.tokens < 1.0:
            return False
        bucket.tokens -= 1.0
        return True

    async def _write(self, event: _Event, series: _Series) -> None:
        now = self._clock.now()
        if now < self._off_until_s.get(event.about.namespace, 0.0):
            self._drop(event.about, Outcome.REFUSED)
            return
        try:
            try:
                await (self._go_on(event, series) if series.name else self._begin(event, series))
            except NotFound:  # the Event ended before its series did (an hour, by default)
                await self._begin(event, series)
        except ClusterError as error:
            self._failed(error, event, now)
        except Exception as error:  # noqa: BLE001 -- an Event is a courtesy and must not end the others
            self._failed(ClusterError(f"events: {type(error).__name__}: {error}"), event, now)
        else:
            self._count(event.about, Outcome.WRITTEN)
            series.written_s = self._clock.now()
            self.problem = None
            self._said -= {Unreachable}  # what was said of a missing rule in one namespace holds while others go on

    async def _begin(self, event: _Event, series: _Series) -> None:
        about = event.about
        namespace = about.namespace or "default"
        name = f"{about.name[:200]}.{self._rng.getrandbits(64):016x}"
        document: Json = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": micro_time(series.first_s),
            "reportingController": self._controller,
            "reportingInstance": self._instance,
            "regarding": about.document(),
            "type": "Warning" if event.warning else "Normal",
            "reason": event.reason,
            "action": event.action,
            "note": event.note,
        }
        if series.count > 1:
            document["series"] = _series_document(series)
        await self._client.create(EVENTS, namespace, document)
        series.name = name

    async def _go_on(self, event: _Event, series: _Series) -> None:
        """Only the series may change: the API takes every other field of a written Event as final."""
        namespace = event.about.namespace or "default"
        await self._client.patch(EVENTS, namespace, series.name, {"series": _series_document(series)})

    def _failed(self, error: ClusterError, event: _Event, now: float) -> None:
        refused = isinstance(error, (Forbidden, MissingKind))
        self._drop(event.about, Outcome.REFUSED if refused else Outcome.FAILED)
        if refused:
            self._off_until_s[event.about.namespace] = now + OFF_S
        if type(error) not in self._said:
            _log.warning("events cannot be written, dropped", reason=str(error))
            self._said.add(type(error))
        self.problem = error

    def _drop(self, about: ObjectRef, outcome: Outcome) -> None:
        self.dropped += 1
        self._count(about, outcome)

    def _count(self, about: ObjectRef, outcome: Outcome) -> None:
        if self._metrics is not None:
            self._metrics.wrote("events", about.namespace, outcome.value)


def _series_document(series: _Series) -> Json:
    return {"count": series.count, "lastObservedTime": micro_time(series.seen_s)}


def _forget(known: OrderedDict[_Event, _Series] | OrderedDict[ObjectRef, _Bucket]) -> None:
    while len(known) > REMEMBERED:
        known.popitem(last=False)
