"""The owner's side of what our replicas say to one another: followers listen, and pass on what reached them."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from autoscaler.control.board import Board
from autoscaler.control.relay import Kind, Relay, Subscription, Topic
from autoscaler.control.triggers import HeardTriggers
from autoscaler.core.records import ServiceId
from autoscaler.ports import Clock, Ownership, WakeBook
from autoscaler.scaler import wire
from scaler_proto import replicas_pb2 as pb
from scaler_proto import replicas_pb2_grpc as rpc

# The owner says so often that it is alive; a follower that hears nothing for three of them looks for another.
ALIVE_S = 2.0
OWNER_KEY = "owner"  # trailing metadata of a refusal: who owns
TOKEN_KEY = "authorization"  # noqa: S105 -- a header's name


@dataclass(frozen=True, slots=True)
class Shared:
    """What both sides of the stream read and write."""

    ownership: Ownership
    board: Board
    relay: Relay
    triggers: HeardTriggers
    wakes: WakeBook
    clock: Clock


class ReplicasServicer(rpc.ReplicasServicer):
    """Answers followers while this replica owns."""

    def __init__(
        self, shared: Shared, authorised: Callable[[str], bool], followers: Callable[[int], None] = lambda _: None
    ) -> None:
        self._shared = shared
        self._authorised = authorised  # of an Authorization header
        self._followers = followers
        self._open: set[Subscription] = set()
        self._closing = False
        self.addresses: set[str] = set()  # of those who follow, or did: one of them owns next

    def close(self) -> None:
        """Say what was not said yet and end every stream with OK; new ones are refused."""
        self._closing = True
        for subscription in self._open:
            subscription.changed.set()

    async def drain(self, at_most_s: float) -> None:
        """Close, and wait until every follower has what there is."""
        self.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                while self._open:  # noqa: ASYNC110 -- many streams, once in a life
                    await asyncio.sleep(0.01)

    # The generated base class types contexts for the blocking API; ours are grpc.aio's.
    async def Follow(self, request: pb.FollowRequest, context: Any) -> AsyncIterator[pb.Told]:
        """Everything there is, then what changes, for as long as this replica owns."""
        await self._refuse_unless_owner(context)
        shared = self._shared
        if request.address:
            self.addresses.add(request.address)
        with shared.relay.listen() as subscription, self._counted(subscription):
            yield pb.Told(now_s=shared.clock.now())
            while self._closing or shared.ownership.is_owner():
                closing = self._closing
                for topic in subscription.take():
                    for told in self._told(topic, subscription):
                        yield told
                if closing:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(shared.clock.wall_s(ALIVE_S)):
                        await subscription.changed.wait()
                        continue
                yield pb.Told(now_s=shared.clock.now())

    async def Hear(self, request: pb.Heard, context: Any) -> pb.Taken:
        """Take up triggers that a follower was shown, and pass them on to the others."""
        await self._refuse_unless_owner(context)
        shared = self._shared
        for message in request.triggers:
            heard = wire.trigger_from(message, shared.clock.now())
            if shared.triggers.take(heard):
                shared.relay.tell(Kind.TRIGGER, heard.key)
        return pb.Taken()

    async def Wake(self, request: pb.WakeRequest, context: Any) -> pb.Taken:
        """Take a wish that reached a follower; its caller was checked there, its token is checked here again."""
        await self._refuse_unless_owner(context)
        said = dict(context.invocation_metadata() or ()).get(TOKEN_KEY, "")
        if not self._authorised(str(said)):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "expected the wake API's token as `authorization`")
        wish = request.wish
        if wish.replicas < 1 or not math.isfinite(wish.ttl_s) or wish.ttl_s <= 0:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "expected replicas >= 1 and a positive ttl_s")
        shared, service = self._shared, wire.service_from(request.service)
        shared.wakes.add(service, wire.wish_from(wish, shared.clock.now()))
        shared.relay.tell(Kind.WAKES, service)
        await shared.wakes.keep(service)
        return pb.Taken()

    async def _refuse_unless_owner(self, context: Any) -> None:
        ownership = self._shared.ownership
        if ownership.is_owner() and not self._closing:
            return
        owner = ownership.owner()
        metadata = ((OWNER_KEY, owner),) if owner else ()
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "this replica does not own", metadata)

    @contextlib.contextmanager
    def _counted(self, subscription: Subscription) -> Iterator[None]:
        self._open.add(subscription)
        self._followers(+1)
        try:
            yield
        finally:
            self._open.discard(subscription)
            self._followers(-1)

    def _told(self, topic: Topic, subscription: Subscription) -> Iterator[pb.Told]:
        """The messages that tell of one topic."""
        shared, (kind, key) = self._shared, topic
        now = shared.clock.now()
        if isinstance(key, ServiceId):
            if kind is Kind.STANDING and (standing := shared.board.standing(key)) is not None:
                yield pb.Told(now_s=now, standing=wire.standing_to(standing))
            elif kind is Kind.LEARNED and (log := shared.relay.log(key)) is not None:
                saved, since = subscription.missing(key, log)
                if saved is not None:
                    yield pb.Told(now_s=now, snapshot=wire.snapshot_to(key, saved))
                for observed in since:
                    yield pb.Told(now_s=now, observed=wire.observed_to(key, observed))
            elif kind is Kind.WAKES:
                wishes = [wire.wish_to(wake, now) for wake in shared.wakes.wakes(key, now)]
                yield pb.Told(now_s=now, wakes=pb.Wakes(service=wire.service_to(key), wishes=wishes))
        elif kind is Kind.TRIGGER and isinstance(key, tuple) and (heard := shared.triggers.get(key)) is not None:
            yield pb.Told(now_s=now, trigger=wire.trigger_to(heard, now))
