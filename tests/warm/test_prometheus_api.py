"""What a server answers that is no Prometheus, or a Prometheus in trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from autoscaler.core.errors import TargetError
from autoscaler.warm.prometheus_api import Prometheus


@asynccontextmanager
async def serving(status: int, body: str) -> AsyncIterator[str]:
    """A server that answers everything alike."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, '{"status":"success","data":null}', "expected series of times and numbers"),
        (200, '{"status":"success","data":{"result":[{"metric":{},"values":[[1,"many"]]}]}}', "could not convert"),
        (200, '{"status":"success","data":{"result":[1]}}', "expected series of times and numbers"),
        (500, "out of memory", "the server is at fault or busy: try again"),
        (503, "starting up", "the server is at fault or busy: try again"),
        (422, '{"errorType":"execution","error":"too many samples"}', "a longer step"),
        (401, "", "give --token-file"),
        (404, "page not found", "expected the root of a Prometheus-compatible API"),
        (400, '{"errorType":"bad_data","error":"parse error"}', "parse error"),
    ],
)
async def test_an_answer_that_cannot_be_used_says_who_is_at_fault_and_what_to_do(
    status: int, body: str, told: str
) -> None:
    async with serving(status, body) as url, Prometheus(url) as api:
        with pytest.raises(TargetError, match=told) as caught:
            await api.range("up", 0.0, 60.0, 15.0)
    assert url in str(caught.value)
