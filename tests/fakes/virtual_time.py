"""Stories of coroutines alone, without sockets and threads, on a loop whose sleeps take no time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import looptime
from structlog.testing import capture_logs

T = TypeVar("T")


def _loop() -> asyncio.AbstractEventLoop:
    # Where sockets or threads might wake it, looptime idles 42 times before each step of time: five times the work.
    return looptime.new_event_loop(noop_cycles=0)


def in_virtual_time(story: Coroutine[object, object, T]) -> T:
    """Run a story to its end; what it logs is swallowed."""
    with capture_logs(), asyncio.Runner(loop_factory=_loop) as runner:
        return runner.run(story)
