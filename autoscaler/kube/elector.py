"""One owner among our replicas, by a Lease: client-go's semantics on a clock that only moves forward, less patient.

The law: a replica that cannot renew stops owning before another may begin. `is_owner` is worked out from the clock
whenever it is asked, so an event loop that was held up cannot make it a lie. (A Lease object deleted by hand lets a
replica that never saw whose it was, because it starts at that moment or looked last when it was nobody's, begin while
the old owner still has up to `renew_deadline_s`; so does one deleted again before a candidate saw it made anew.)

Where the API server itself says that we may not use the Lease (403, and only then: one that does not answer may let
others use it), a replica that hears no owner for a whole term plans alone: a missing rule must not stop scaling.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Callable
from typing import Protocol

import structlog

from autoscaler.core.errors import ClusterError
from autoscaler.kube.decoding import Json
from autoscaler.kube.errors import Conflict, Forbidden, MissingKind, NotFound
from autoscaler.kube.lease import LeaseRecord, LeaseTerms, Observed, observe, released, taken, vanished
from autoscaler.kube.resources import LEASES, Resource
from autoscaler.ports import Clock

_log = structlog.get_logger(__name__)

# client-go's JitterFactor: candidates do not ask in step.
JITTER = 1.2
# Within so much (times JITTER - 1) after the Lease is free its candidates ask: 0.2 s, where an attempt takes 0.01 s.
SPREAD_S = 1.0
# Where a rule is missing, asking more often does not bring it.
FORBIDDEN_RETRY_S = 30.0
# Giving back is a courtesy, and a pod that ends has 30 s for everything.
RELEASE_TIMEOUT_S = 2.0


class LeaseApi(Protocol):
    """What the elector needs of a client; `KubeClient` has it."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Json:
        """The Lease; NotFound."""
        ...

    async def create(self, resource: Resource, namespace: str | None, document: Json) -> Json:
        """Make it; Conflict if it exists."""
        ...

    async def replace(self, resource: Resource, namespace: str | None, name: str, document: Json) -> Json:
        """Write it whole; Conflict if its version is not the newest."""
        ...


def owner_identity(pod: str, rng: random.Random) -> str:
    """A name no other process has, also the one after a restart in the same pod."""
    return f"{pod}_{rng.getrandbits(64):016x}"


def _nothing(*_: object) -> None:
    return None


class LeaseElector:
    """Takes part in the election of one Lease while `run` runs; gives it back when that is cancelled.

    Callbacks come on the event loop, in order, and must be quick; `on_stopped` comes before the Lease is given back.
    """

    def __init__(
        self,
        api: LeaseApi,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        *,
        rng: random.Random,
        terms: LeaseTerms | None = None,
        on_started: Callable[[], None] = _nothing,
        on_stopped: Callable[[], None] = _nothing,
        on_owner: Callable[[str], None] = _nothing,  # the identity of a new owner, ours too; "": nobody
        fit: Callable[[], bool] = lambda: True,  # whether it should be taken by us if nobody has it
        heard_s: Callable[[], float] = lambda: -math.inf,  # when an owner was last heard, by another way than the Lease
    ) -> None:
        self.identity = identity
        self.terms = terms or LeaseTerms()
        self.problem: ClusterError | None = None  # why the last attempt failed; None: it did not
        self._api = api
        self._namespace = namespace
        self._name = name
        self._clock = clock
        self._rng = rng
        self._on_started = on_started
        self._on_stopped = on_stopped
        self._on_owner = on_owner
        self._fit = fit
        self._heard_s = heard_s
        self._observed: Observed | None = None
        self._renewed_s: float | None = None  # when the last renewal that succeeded was sent
        self._forbidden_s: float | None = None  # since when every answer was 403
        self._alone_until_s = -math.inf
        self._started = False  # what the callbacks were last told
        self._owner = ""
        self._asked = asyncio.Event()

    @property
    def is_owner(self) -> bool:
        """Whether we own the Lease now, or plan without one; ask at each use, never keep the answer."""
        return self._holds or self.is_alone

    @property
    def is_alone(self) -> bool:
        """Whether we plan without the Lease, because nobody of us may use it."""
        return self._clock.now() < self._alone_until_s

    @property
    def _holds(self) -> bool:
        return self._renewed_s is not None and self._clock.now() < self._renewed_s + self.terms.renew_deadline_s

    @property
    def owner(self) -> str:
        """The identity in the Lease as last seen; "" if nobody's, or if its term ended."""
        return "" if self._observed is None or self._observed.free(self._clock.now()) else self._observed.record.holder

    def look(self) -> None:
        """Look at the Lease now: its owner may just have died, and its term counts from when its record was seen."""
        self._asked.set()

    async def run(self) -> None:
        """Take part until cancelled; then stop owning and give the Lease back."""
        try:
            while True:
                self._asked.clear()
                await self._attempt()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._clock.wall_s(self._pause_s())):
                        await self._asked.wait()
        finally:
            await self._leave()

    async def _attempt(self) -> None:
        """One bounded try to renew or take the Lease; never raises."""
        limit_s = self.terms.renew_deadline_s / 2  # as client-go: one answer that hangs leaves time for another try
        if self._renewed_s is not None and self._holds:
            limit_s = min(limit_s, self._renewed_s + self.terms.renew_deadline_s - self._clock.now())
        try:
            async with asyncio.timeout(self._clock.wall_s(limit_s)):
                await self._renew_or_take()
            self._succeeded()
        except Forbidden as error:
            self._forbidden(error)
        except TimeoutError:
            self._failed(ClusterError(f"lease {self._namespace}/{self._name}: no answer within {limit_s:.1f} s"))
        except ClusterError as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 -- whatever it was, the election must go on
            self._failed(ClusterError(f"lease {self._namespace}/{self._name}: {type(error).__name__}: {error}"))
        self._tell()

    async def _renew_or_take(self) -> None:
        seen = self._observed
        if seen is not None and seen.version is not None and seen.record.holder == self.identity:
            try:
                await self._write()
            except (Conflict, NotFound):
                pass  # someone touched it: look
            else:
                return
        await self._read()
        if self._observed is not None and self._observed.record.holder == self.identity:
            await self._take()
        elif self._observed is None:
            if self._fit():
                await self._take()
        else:
            self._renewed_s = None  # another's name is in it, whatever we believed
            if self._observed.free(self._clock.now()) and self._fit():
                await self._take()

    async def _take(self) -> None:
        try:
            await self._write()
        except Conflict:
            await self._read()  # another was faster, which is how it should be

    async def _read(self) -> None:
        try:
            document = await self._api.get(LEASES, self._namespace, self._name)
        except NotFound:
            self._observed = vanished(self._observed, self._clock.now())
            return
        record = LeaseRecord.read(document, self.terms.lease_s)
        self._observed = observe(self._observed, record, document["metadata"]["resourceVersion"], self._clock.now())

    async def _write(self) -> None:
        seen = self._observed
        sent_s = self._clock.now()
        record = taken(seen, self.identity, self.terms, sent_s)
        version = None if seen is None else seen.version
        document = record.document(self._name, self._namespace, version)
        if version is None:
            answer = await self._api.create(LEASES, self._namespace, document)
        else:
            answer = await self._api.replace(LEASES, self._namespace, self._name, document)
        self._observed = Observed(record, answer["metadata"]["resourceVersion"], self._clock.now())
        # Counted from before it was sent: others count from after they saw it.
        self._renewed_s = sent_s

    def _pause_s(self) -> float:
        now, jitter = self._clock.now(), self._rng.uniform(1.0, JITTER)
        if isinstance(self.problem, (Forbidden, MissingKind)):
            waits = self._forbidden_s is not None and not self.is_alone and now < self._forbidden_s + self.terms.lease_s
            return (self.terms.retry_s if waits else FORBIDDEN_RETRY_S) * jitter
        if self._renewed_s is None or not self._holds:
            pause_s, seen = self.terms.retry_s * jitter, self._observed
            if seen is None or seen.free(now):
                return pause_s
            # Not beyond the moment it is free, plus what keeps candidates out of step.
            return min(pause_s, seen.ends_s - now + SPREAD_S * (jitter - 1.0))
        # Not beyond the deadline, so that `on_stopped` comes in time also when nothing answers.
        ends_s = self._renewed_s + self.terms.renew_deadline_s - self._clock.now()
        return max(0.01, min(self.terms.retry_s, ends_s))

    def _tell(self) -> None:
        owns = self.is_owner
        if owns != self._started:
            self._started = owns
            _log.info("owns the lease" if owns else "owns the lease no more", lease=self._name, identity=self.identity)
            self._call(self._on_started if owns else self._on_stopped)
        if self.owner != self._owner:
            self._owner = self.owner
            _log.info(
                "the lease has an owner" if self._owner else "nobody's lease", lease=self._name, owner=self._owner
            )
            self._call(self._on_owner, self._owner)

    def _call(self, callback: Callable[..., None], *values: str) -> None:
        try:
            callback(*values)
        except Exception:  # noqa: BLE001 -- a reader's fault must not end the election
            _log.exception("a callback of the election failed", lease=self._name)

    def _succeeded(self) -> None:
        if self.problem is not None:
            _log.info("the lease can be used again", lease=self._name)
        self.problem = self._forbidden_s = None
        self._alone_until_s = -math.inf

    def _forbidden(self, error: Forbidden) -> None:
        """Plan alone once nobody was heard for a whole term; not for ever on the word of one answer."""
        self._failed(error)
        now, alone = self._clock.now(), self.is_alone
        if self._forbidden_s is None:
            self._forbidden_s = now
        if alone or (now >= max(self._forbidden_s, self._heard_s()) + self.terms.lease_s and self._fit()):
            self._alone_until_s = now + JITTER * FORBIDDEN_RETRY_S + self.terms.renew_deadline_s
        if self.is_alone and not alone:
            _log.error(
                "PLANNING WITHOUT THE LEASE: nobody may use it and no other owner is heard; with several replicas "
                "each plans for itself. Add the rule, or leave --lease away with a single replica",
                lease=self._name,
                reason=str(error),
            )

    def _failed(self, error: ClusterError) -> None:
        if type(error) is not type(self.problem):
            _log.warning("the lease cannot be used, tried again", lease=self._name, reason=str(error))
        self.problem = error

    async def _leave(self) -> None:
        """Stop owning, say so, and only then let others begin."""
        owned, seen = self._holds, self._observed
        self._renewed_s, self._alone_until_s = None, -math.inf
        self._tell()
        if not owned or seen is None or seen.version is None:
            return
        record = released(seen, self._clock.now())
        document = record.document(self._name, self._namespace, seen.version)
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await self._api.replace(LEASES, self._namespace, self._name, document)
        except (TimeoutError, ClusterError) as error:
            _log.info("the lease was not given back, it ends by itself", lease=self._name, reason=str(error))
