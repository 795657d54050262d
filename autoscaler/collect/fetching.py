"""One bounded GET: access rules, size limit, no redirects, and errors that say who is at fault."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from autoscaler.config.records import Access
from autoscaler.core.errors import TargetError

# A normal page has 50 to 350 kB; pages of gateways with a series per key and user reach tens of MB.
BODY_LIMIT_BYTES = 8 * 1024 * 1024
# Uvicorn, in front of vLLM and SGLang, ends a connection that was idle for 5 s: asked then, it answers nothing.
KEEP_ALIVE_S = 4.0
# Asking for OpenMetrics changes counter names and breaks some exporters; a plain text page is what we can read fast.
ACCEPT = "text/plain;version=0.0.4;q=1,*/*;q=0.1"


class Refused(TargetError):  # noqa: N818 -- a state of the server, not a fault
    """Nothing listens, or it says 503: what a server looks like while it loads its model."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a GET brought."""

    text: str
    content_type: str


@dataclass(frozen=True, slots=True)
class _Sessions:
    """Connections for what is asked again soon, and for what is not: an open one costs 46 KiB, with nothing to do.

    Asked every 15 s, 3,000 replicas had a thousand open for their last four seconds: 260 MiB resident, 214 without.
    """

    kept: aiohttp.ClientSession
    closed: aiohttp.ClientSession


class Fetcher:
    """GETs pages with the access entries of the operator's file."""

    def __init__(self, access: Iterable[Access] = ()) -> None:
        self._access = {entry.name: entry for entry in access}
        self._contexts: dict[str, tuple[tuple[int, ...], ssl.SSLContext]] = {}  # by access entry, with its files' age
        self._sessions: _Sessions | None = None

    async def __aenter__(self) -> Fetcher:
        self._sessions = _Sessions(
            kept=_session(aiohttp.TCPConnector(limit=0, ttl_dns_cache=10, keepalive_timeout=KEEP_ALIVE_S)),
            closed=_session(aiohttp.TCPConnector(limit=0, ttl_dns_cache=10, force_close=True)),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._sessions is not None:
            await self._sessions.kept.close()
            await self._sessions.closed.close()

    async def get(self, url: str, access: str, timeout_s: float, again_in_s: float = 0.0) -> Body:
        """The body at a URL, within `timeout_s` wall seconds.

        The connection is kept where the next GET, in `again_in_s` wall seconds, may use it.

        Raises Refused (nothing listens, or 503) or TargetError (everything else), each with cause and remedy.
        """
        entry = self._access.get(access)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._get(url, entry, again_in_s)
        except TimeoutError:
            raise TargetError(f"{url}: no answer within {timeout_s:.1f} s") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ConnectionRefusedError):
                raise Refused(f"{url}: nothing listens there (yet)") from None
            raise TargetError(f"{url}: cannot be reached: {error.os_error}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TargetError(f"{url}: the answer broke off or is not HTTP: {error}") from None

    async def _get(self, url: str, entry: Access | None, again_in_s: float) -> Body:
        assert self._sessions is not None, "use `async with`"  # noqa: S101
        session = self._sessions.kept if again_in_s < KEEP_ALIVE_S else self._sessions.closed
        async with session.get(url, headers=_headers(entry), ssl=self._tls(entry), allow_redirects=False) as response:
            _check(url, response)
            raw = await _bounded(url, response)
        return Body(raw.decode("utf-8", "replace"), response.headers.get("Content-Type", ""))

    def _tls(self, entry: Access | None) -> ssl.SSLContext | bool:
        if entry is None or not (entry.ca_file or entry.cert_file or entry.skip_verify):
            return True
        try:
            stamp = tuple(Path(file).stat().st_mtime_ns for file in _files(entry))
            known = self._contexts.get(entry.name)
            if known is None or known[0] != stamp:
                known = self._contexts[entry.name] = (stamp, _context(entry))
        except OSError as error:  # also ssl.SSLError: a file that is no certificate
            raise TargetError(f"access {entry.name!r}: its TLS files cannot be used: {error}") from None
        return known[1]


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    headers = {"Accept": ACCEPT, "Accept-Encoding": "identity"}
    return aiohttp.ClientSession(connector=connector, headers=headers, auto_decompress=True)


def _files(entry: Access) -> list[str]:
    return [file for file in (entry.ca_file, entry.cert_file, entry.key_file) if file]


def _context(entry: Access) -> ssl.SSLContext:
    """The TLS context of an access entry; made anew when its files change, as rotated certificates do."""
    context = ssl.create_default_context(cafile=entry.ca_file)
    if entry.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if entry.cert_file:
        context.load_cert_chain(entry.cert_file, entry.key_file)
    return context


def _headers(entry: Access | None) -> dict[str, str]:
    if entry is None:
        return {}
    headers = dict(entry.headers)
    if entry.token_file:
        # Read anew each time: projected tokens are rotated, and the file is a page-cache read of a kilobyte.
        try:
            headers["Authorization"] = f"Bearer {Path(entry.token_file).read_text().strip()}"
        except OSError as error:
            raise TargetError(
                f"access {entry.name!r}: tokenFile {entry.token_file} cannot be read: {error.strerror}"
            ) from None
    return headers


def _check(url: str, response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status == 200:
        return
    if status in (401, 403):
        raise TargetError(f"{url}: answers {status}: set `access` with a header or token for it (operator's setting)")
    if 300 <= status < 400:
        location = response.headers.get("Location", "nowhere")
        raise TargetError(f"{url}: redirects to {location}, which is not followed: name the final URL")
    if status == 503:
        raise Refused(f"{url}: answers 503, not ready (yet)")
    raise TargetError(f"{url}: answers {status}, expected 200")


async def _bounded(url: str, response: aiohttp.ClientResponse) -> bytes:
    """The body, which auto-decompression may have made larger than what was sent."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > BODY_LIMIT_BYTES:
            raise TargetError(f"{url}: its page is larger than {BODY_LIMIT_BYTES // 2**20} MiB, which is not read")
        parts.append(part)
    return b"".join(parts)
