"""A network cable: TCP to one place through here, until it is cut; a cut says nothing to either end, as a partition."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Cable:
    """Listens on loopback and leads to a host and port; use as an async context manager."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Cable:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def address(self) -> str:
        """This end of it."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Nothing passes from now on, neither bytes nor the end of a connection."""
        self._whole.clear()

    def mend(self) -> None:
        """What was sent meanwhile arrives, as TCP repeats it."""
        self._whole.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        try:
            await self._whole.wait()
            up, down = await asyncio.open_connection(*self._to)
            ends.append(down)
            await asyncio.gather(self._lead(reader, down), self._lead(up, writer))
        except OSError:
            pass
        finally:
            self._tasks.discard(task)
            for end in ends:
                end.close()

    async def _lead(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(2**16):
                await self._whole.wait()
                sink.write(data)
                await sink.drain()
        await self._whole.wait()
        sink.close()
