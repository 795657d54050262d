"""What a Service is to KEDA, without a network: a name that resolves to every replica, or one address in front of them.

Both give an address for a trigger's `scalerAddress`. Replicas share a port and differ in their loopback address.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

A, IN = 1, 1
TTL_S = 1


@dataclass(slots=True)
class Headless(asyncio.DatagramProtocol):
    """A headless Service: a DNS server that answers one name with the address of every replica."""

    name: str
    port: int
    hosts: list[str]
    _transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Headless:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._transport is not None
        self._transport.close()

    @property
    def address(self) -> str:
        """For a trigger; grpc's own `dns` scheme may name the server to ask."""
        assert self._transport is not None
        port = self._transport.get_extra_info("sockname")[1]
        return f"dns://127.0.0.1:{port}/{self.name}:{self.port}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question; every other kind of record has none (RFC 1035, section 4)."""
        assert self._transport is not None
        end = data.index(b"\0", 12) + 1
        kind = struct.unpack("!H", data[end : end + 2])[0]
        question = data[12 : end + 4]
        ours = kind == A and _name(data[12:end]) == self.name
        addresses = [bytes(map(int, host.split("."))) for host in self.hosts] if ours else []
        header = data[:2] + struct.pack("!HHHHH", 0x8580, 1, len(addresses), 0, 0)
        records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", A, IN, TTL_S, 4) + one for one in addresses)
        self._transport.sendto(header + question + records, addr)


def _name(labels: bytes) -> str:
    parts, at = [], 0
    while labels[at]:
        parts.append(labels[at + 1 : at + 1 + labels[at]].decode().lower())
        at += 1 + labels[at]
    return ".".join(parts)


@dataclass(slots=True)
class ClusterIp:
    """A ClusterIP Service: each new connection goes to the next replica that accepts it, and stays there."""

    port: int
    hosts: Sequence[str]
    _turns: itertools.count[int] = field(default_factory=itertools.count)
    _server: asyncio.Server | None = None
    _pipes: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def __aenter__(self) -> ClusterIp:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    @property
    def address(self) -> str:
        """For a trigger."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        turn = next(self._turns)
        for i in range(len(self.hosts)):
            host = self.hosts[(turn + i) % len(self.hosts)]
            with suppress(OSError):
                up, down = await asyncio.open_connection(host, self.port)
                self._writers.add(down)
                for source, sink in ((reader, down), (up, writer)):
                    pipe = asyncio.create_task(_pipe(source, sink))
                    self._pipes.add(pipe)
                    pipe.add_done_callback(self._pipes.discard)
                return
        writer.close()


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(2**16):
            sink.write(data)
            await sink.drain()
    sink.close()
