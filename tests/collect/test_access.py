"""Pages behind TLS, client certificates, headers and rotating tokens."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from autoscaler.collect.fetching import Fetcher
from autoscaler.config.records import Access
from autoscaler.core.errors import TargetError
from tests.fakes.certificates import Authority


@asynccontextmanager
async def page(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list[str | None]]]:
    """A page that notes the Authorization header of every request."""
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(text="x 1\n")

    application = web.Application()
    application.router.add_get("/metrics", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"{'https' if context else 'http'}://localhost:{runner.addresses[0][1]}/metrics", seen
    await runner.cleanup()


def server_side(folder: Path, authority: Authority, clients: Path | None = None) -> ssl.SSLContext:
    certificate, key = authority.issue("server").write(folder, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=clients)
    context.load_cert_chain(certificate, key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def get(url: str, access: Access) -> str:
    async with Fetcher([access]) as fetcher:
        return (await fetcher.get(url, access.name, 5.0)).text


async def test_a_page_behind_tls_is_read_with_its_authority_and_refused_without(tmp_path: Path) -> None:
    authority = Authority("servers")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.pem)
    async with page(server_side(tmp_path, authority)) as (url, _):
        assert await get(url, Access("a", ca_file=str(ca))) == "x 1\n"
        assert await get(url, Access("a", skip_verify=True)) == "x 1\n"
        with pytest.raises(TargetError, match=r"cannot be reached|broke off"):
            await get(url, Access("a"))


async def test_a_client_certificate_opens_a_page_that_asks_for_one(tmp_path: Path) -> None:
    authority = Authority("everybody")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.pem)
    certificate, key = authority.issue("autoscaler").write(tmp_path, "client")
    async with page(server_side(tmp_path, authority, ca)) as (url, _):
        ours = Access("a", ca_file=str(ca), cert_file=str(certificate), key_file=str(key))
        assert await get(url, ours) == "x 1\n"
        with pytest.raises(TargetError):
            await get(url, Access("a", ca_file=str(ca)))


async def test_a_rotated_authority_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    before, after = Authority("before"), Authority("after")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(before.pem)
    access = Access("a", ca_file=str(ca))
    async with page(server_side(tmp_path, after)) as (url, _), Fetcher([access]) as fetcher:
        with pytest.raises(TargetError):
            await fetcher.get(url, "a", 5.0)
        ca.write_bytes(after.pem)
        os.utime(ca, (1, 1))
        assert (await fetcher.get(url, "a", 5.0)).text == "x 1\n"


async def test_a_file_that_is_gone_names_its_access_entry(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="access 'a'"):
        await get("https://localhost:1/metrics", Access("a", ca_file=str(tmp_path / "nowhere.crt")))


async def test_a_rotated_token_is_sent_from_the_next_request_on(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    access = Access("a", token_file=str(token))
    async with page() as (url, seen), Fetcher([access]) as fetcher:
        await fetcher.get(url, "a", 5.0)
        token.write_text("second\n")
        await fetcher.get(url, "a", 5.0)
        await fetcher.get(url, "", 5.0)
    assert seen == ["Bearer first", "Bearer second", None]
