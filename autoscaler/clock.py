"""The one clock every part takes: wall time, or wall time times a factor for the demo."""

from __future__ import annotations

import asyncio
import time


class LoopClock:
    """Unix time that only moves forward, driven by the event loop's clock and faster by `factor`.

    The anchor is read once, so a stepped system clock never makes time jump; under a virtual-time loop it is virtual.
    """

    def __init__(self, factor: float = 1.0, epoch_s: float | None = None) -> None:
        if not factor > 0:
            raise ValueError(f"clock factor: found {factor}, expected a positive number")
        self.factor = factor
        self._anchor_loop_s = asyncio.get_running_loop().time()
        self._anchor_s = time.time() if epoch_s is None else epoch_s

    def now(self) -> float:
        """Seconds since the Unix epoch, on this clock."""
        return self._anchor_s + (asyncio.get_running_loop().time() - self._anchor_loop_s) * self.factor

    async def sleep(self, delay_s: float) -> None:
        """Sleep for `delay_s` seconds of this clock."""
        await asyncio.sleep(max(0.0, delay_s) / self.factor)

    def wall_s(self, delay_s: float) -> float:
        """Seconds of the event loop that `delay_s` seconds of this clock take, for timeouts."""
        return delay_s / self.factor
