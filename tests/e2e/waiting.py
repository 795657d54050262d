"""Bounded waits: the only way a test here lets time pass."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

EVERY_S = 0.1


async def until(what: str, true: Callable[[], Any | Awaitable[Any]], within_s: float, every_s: float = EVERY_S) -> Any:
    """The first truthy answer of `true`; its exceptions count as no, but for an AssertionError, which ends the wait.

    Raises AssertionError after `within_s` seconds.
    """
    deadline_s, last = time.monotonic() + within_s, None
    while time.monotonic() < deadline_s:
        try:
            answer = true()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return answer
            last = answer
        except AssertionError:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever it was, it is told when the time is over
            last = f"{type(error).__name__}: {error}"
        await asyncio.sleep(every_s)
    raise AssertionError(f"not within {within_s:.0f} s: {what} (last: {last})")


async def throughout(what: str, true: Callable[[], Any], for_s: float, every_s: float = EVERY_S) -> None:
    """Holds `true` true for `for_s` seconds. Raises AssertionError at the first moment it is not."""
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        assert true(), what
        await asyncio.sleep(every_s)
