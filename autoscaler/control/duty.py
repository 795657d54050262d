"""Own or follow: one of two lives at a time, as ownership says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from autoscaler.ports import Ownership

# How often ownership is looked at. An owner looks before every decision besides, so this is not what keeps two
# planners apart; it is how fast the next one begins.
LOOK_EVERY_S = 0.1


class Alone:
    """The ownership of the only replica there is."""

    def is_owner(self) -> bool:
        """Always."""
        return True

    def owner(self) -> str | None:
        """Nobody else."""
        return None

    def look(self) -> None:
        """There is nothing to find out."""

    def others_may_own(self) -> bool:
        """Nobody else."""
        return False


class Duty:
    """Holds `own` open while this replica owns, and runs `follow` while it does not; never both."""

    def __init__(
        self,
        ownership: Ownership,
        own: Callable[[], AbstractAsyncContextManager[None]],
        follow: Callable[[], Awaitable[None]],
    ) -> None:
        self._ownership = ownership
        self._own = own
        self._follow = follow

    async def run(self) -> None:
        """For ever, until cancelled; leaves either life before it returns."""
        while True:
            if self._ownership.is_owner():
                async with self._own():
                    await self._until(False)
            else:
                following = asyncio.ensure_future(self._follow())
                try:
                    await self._until(True, following)
                finally:
                    await self._leave(following)

    async def _leave(self, following: asyncio.Future[None]) -> None:
        """End following. Raises what it died of; and CancelledError, where we ourselves are told to end meanwhile.

        `suppress(CancelledError)` around `await following` took both for one: a replica that was stopped just as the
        owner handed over to it planned on until it was killed.
        """
        following.cancel()
        (ended,) = await asyncio.gather(following, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended

    async def _until(self, owner: bool, watched: asyncio.Future[None] | None = None) -> None:
        """Until this replica owns, or does not; or until what is watched died, which is raised."""
        while self._ownership.is_owner() is not owner:
            if watched is not None and watched.done():
                watched.result()
            await asyncio.sleep(LOOK_EVERY_S)
