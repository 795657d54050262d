"""The follower's side: find the owner, take what it tells, pass on what reached this replica instead."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterable

import grpc
import structlog

from autoscaler import __version__
from autoscaler.control.relay import Kind, Observed
from autoscaler.core.errors import ClusterError
from autoscaler.core.records import ServiceId, Wake
from autoscaler.ports import Saved
from autoscaler.scaler import wire
from autoscaler.scaler.replicas import ALIVE_S, OWNER_KEY, TOKEN_KEY, Shared
from scaler_proto import replicas_pb2 as pb
from scaler_proto import replicas_pb2_grpc as rpc

SILENT_S = 3 * ALIVE_S
FORWARD_S = 2.0  # what the caller of the wake API may wait for the owner
# Between attempts to reach an owner: a fail-over is short, and a hundred attempts a minute cost nothing.
RETRY_S = (0.2, 0.6)

Dial = Callable[[str], grpc.aio.Channel]

_log = structlog.get_logger(__name__)


class Following:
    """Follows whoever owns; `run` for as long as this replica does not."""

    def __init__(
        self,
        shared: Shared,
        dial: Dial,
        rng: random.Random,
        address: str = "",
        token: Callable[[], str] = str,
        peers: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._shared = shared
        self._dial = dial
        self._rng = rng
        self._address = address  # our own server's, for whom we follow
        self._token = token
        self._peers = peers
        self._hint: str | None = None  # who owns, as another replica said
        self._last: str | None = None  # whom we followed last
        self._stub: rpc.ReplicasAsyncStub | None = None
        self.heard_s = -math.inf  # when an owner last said anything
        self._ahead_s = 0.0  # of our clock, the owner's: as the message that came fastest shows

    async def run(self) -> None:
        """For ever: an owner that ends, is silent or refuses is looked for anew."""
        while True:
            for address in self._candidates():
                try:
                    await self._follow(address)
                except grpc.aio.AioRpcError as error:
                    self._refused(error)
                except TimeoutError:
                    _log.warning("the owner is silent", owner=address, after_s=SILENT_S)
            await asyncio.sleep(self._shared.clock.wall_s(self._rng.uniform(*RETRY_S)))

    async def wake(self, service: ServiceId, wake: Wake) -> None:
        """Hand a wish to the owner. Raises ClusterError if no owner took it: the caller should ask again."""
        stub, now = self._stub, self._shared.clock.now()
        if stub is None:
            raise ClusterError("no replica of ours plans at the moment; ask again in a second")
        request = pb.WakeRequest(service=wire.service_to(service), wish=wire.wish_to(wake, now))
        metadata = ((TOKEN_KEY, f"Bearer {self._token()}"),)
        try:
            await stub.Wake(request, metadata=metadata, timeout=self._shared.clock.wall_s(FORWARD_S))
        except grpc.aio.AioRpcError as error:
            text = f"the replica that plans did not take the wish ({error.code().name}: {error.details()})"
            raise ClusterError(f"{text}; ask again in a second") from None

    def _candidates(self) -> list[str]:
        """Who may own: whom the cluster names, whom a replica named, and, when cut off from both, whom we know."""
        hint, self._hint = self._hint, None
        known = [self._shared.ownership.owner(), hint, self._last, *self._peers()]
        return [address for address in dict.fromkeys(known) if address and address != self._address]

    def _refused(self, error: grpc.aio.AioRpcError) -> None:
        for key, value in error.trailing_metadata() or ():
            if key == OWNER_KEY:
                self._hint = value.decode() if isinstance(value, bytes) else value

    async def _follow(self, address: str) -> None:
        """One stream, to its end. Raises AioRpcError, and TimeoutError when nothing comes."""
        silent_s = self._shared.clock.wall_s(SILENT_S)
        async with self._dial(address) as channel:
            stub: rpc.ReplicasAsyncStub = rpc.ReplicasStub(channel)  # type: ignore[assignment]
            call = stub.Follow(pb.FollowRequest(address=self._address, software=__version__))
            passing: asyncio.Task[None] | None = None
            try:
                while True:
                    async with asyncio.timeout(silent_s):
                        told = await call.read()
                    if not isinstance(told, pb.Told):
                        return
                    if passing is None:
                        _log.info("following", owner=address)
                        self._stub, self._last, self._ahead_s = stub, address, told.now_s - self._shared.clock.now()
                        passing = asyncio.create_task(self._pass_on(stub))
                    self._take(told)
            finally:
                self._stub = None
                if passing is not None:
                    self._shared.ownership.look()
                    passing.cancel()
                    await asyncio.gather(passing, return_exceptions=True)

    def _take(self, told: pb.Told) -> None:
        shared, now = self._shared, self._shared.clock.now()
        self.heard_s = now
        self._ahead_s = max(self._ahead_s, told.now_s - now)
        what = told.WhichOneof("what")
        if what == "standing":
            shared.board.take(wire.standing_from(told.standing, self._ahead_s), now)
        elif what == "snapshot":
            one = told.snapshot
            shared.relay.keep(wire.service_from(one.service), Saved(one.at_s, one.state))
        elif what == "observed":
            seen = told.observed
            shared.relay.append(wire.service_from(seen.service), Observed(seen.at_s, seen.observation))
        elif what == "trigger":
            shared.triggers.take(wire.trigger_from(told.trigger, now))
        elif what == "wakes":
            wishes = [wire.wish_from(wish, now) for wish in told.wakes.wishes]
            shared.wakes.replace(wire.service_from(told.wakes.service), wishes)

    async def _pass_on(self, stub: rpc.ReplicasAsyncStub) -> None:
        """Hand the owner every trigger that KEDA showed here, at once and when one changes."""
        shared = self._shared
        with shared.relay.listen() as subscription:
            while True:
                now, keys = shared.clock.now(), [key for kind, key in subscription.take() if kind is Kind.TRIGGER]
                heard = [shared.triggers.get(key) for key in keys if isinstance(key, tuple)]
                messages = [wire.trigger_to(one, now) for one in heard if one is not None]
                try:
                    if messages:
                        await stub.Hear(pb.Heard(triggers=messages), timeout=shared.clock.wall_s(FORWARD_S))
                except grpc.aio.AioRpcError:  # an owner that is gone ends the stream too, and the next is told all
                    for key in keys:
                        subscription.mark((Kind.TRIGGER, key))
                    await asyncio.sleep(shared.clock.wall_s(self._rng.uniform(*RETRY_S)))
                await subscription.changed.wait()
