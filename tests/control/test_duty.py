"""One life at a time: how a replica changes from following to owning, and how either ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from autoscaler.control.duty import Alone, Duty
from tests.fakes.virtual_time import in_virtual_time

SAVES_S = 0.5  # what a follower's last save takes


class Given(Alone):
    """An ownership that the test gives."""

    def __init__(self, owner: bool = False) -> None:
        self.given = owner

    def is_owner(self) -> bool:
        return self.given


class Lives:
    """Notes what is begun and what is ended, in order."""

    def __init__(self, ownership: Given, *, save: Exception | None = None) -> None:
        self.notes: list[str] = []
        self._save = save
        self.task = asyncio.ensure_future(Duty(ownership, self._own, self._follow).run())

    @contextlib.asynccontextmanager
    async def _own(self) -> AsyncIterator[None]:
        self.notes.append("owns")
        try:
            yield
        finally:
            self.notes.append("owned")

    async def _follow(self) -> None:
        self.notes.append("follows")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(SAVES_S)
            if self._save is not None:
                raise self._save
            self.notes.append("saved")


def test_a_follower_keeps_what_it_was_told_before_it_owns() -> None:
    async def story() -> list[str]:
        ownership = Given()
        lives = Lives(ownership)
        await asyncio.sleep(1.0)
        ownership.given = True
        await asyncio.sleep(1.0)
        ownership.given = False
        await asyncio.sleep(1.0)
        return list(lives.notes)

    assert in_virtual_time(story()) == ["follows", "saved", "owns", "owned", "follows"]


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.59, 0.61, 0.8])
def test_a_replica_stopped_while_it_takes_over_ends_and_does_not_plan_for_ever(after_s: float) -> None:
    """The former owner lets go, and this one is told to stop before it has left its follower's life."""

    async def story() -> list[str]:
        ownership = Given()
        lives = Lives(ownership)
        await asyncio.sleep(1.0)
        ownership.given = True
        await asyncio.sleep(after_s)
        lives.task.cancel()
        async with asyncio.timeout(5.0):
            await asyncio.gather(lives.task, return_exceptions=True)
        assert lives.task.cancelled()
        return lives.notes

    notes = in_virtual_time(story())
    assert notes.count("owns") == notes.count("owned")


def test_what_a_follower_could_not_save_is_not_kept_quiet() -> None:
    async def story() -> None:
        ownership = Given()
        lives = Lives(ownership, save=OSError("disk full"))
        await asyncio.sleep(1.0)
        ownership.given = True
        await lives.task

    with pytest.raises(OSError, match="disk full"):
        in_virtual_time(story())
