"""Our HTTP face: health, readiness, decisions, and the wake API, over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from autoscaler.clock import LoopClock
from autoscaler.core.errors import ConfigError
from autoscaler.core.records import Decision, Mode, Reason, RoleDecision, ServiceId, Wake
from autoscaler.web.server import Views, WebServer
from autoscaler.web.wakes import MOST_PER_SERVICE, Wakes

CHAT = ServiceId("default", "chat")
DECISION = Decision(CHAT, 5.0, Mode.NORMAL, True, (RoleDecision("", 3, (Reason("floor", "three"),)),))
TOKEN = {"Authorization": "Bearer secret"}


class Face:
    """A web server whose views the test sets."""

    def __init__(self, token_file: Path | None) -> None:
        self.unready: list[str] = []
        self.decided: Decision | None = DECISION
        self.wakes = Wakes()
        self.clock = LoopClock(epoch_s=1000.0)
        views = Views(lambda: b"x 1\n", lambda: self.unready, lambda: (CHAT,), lambda _: self.decided)
        self.server = WebServer("127.0.0.1", 0, views, self.wakes, self.clock, token_file)
        self.port = 0


@asynccontextmanager
async def face(
    folder: Path,
    *,
    token: str | None = "secret\n",  # noqa: S107
) -> AsyncIterator[tuple[Face, aiohttp.ClientSession]]:
    file = folder / "token"
    if token is not None:
        file.write_text(token)
    one = Face(file)
    one.port = await one.server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{one.port}") as session:
        yield one, session
    await one.server.stop()


async def test_ready_only_when_every_service_was_decided_and_healthy_meanwhile(tmp_path: Path) -> None:
    async with face(tmp_path) as (one, session):
        one.unready = ["first decision of default/chat"]
        async with session.get("/readyz") as answer:
            assert (answer.status, (await answer.json())["waiting_for"]) == (503, one.unready)
        async with session.get("/healthz") as answer:
            assert answer.status == 200
        one.unready = []
        async with session.get("/readyz") as answer:
            assert answer.status == 200


async def test_a_decision_is_shown_with_its_reasons(tmp_path: Path) -> None:
    async with face(tmp_path) as (one, session):
        async with session.get("/v1/services/default/chat") as answer:
            shown = await answer.json()
        assert shown["roles"][0]["replicas"] == 3
        assert shown["roles"][0]["reasons"][0]["text"] == "three"
        async with session.get("/v1/services") as answer:
            assert list(await answer.json()) == ["default/chat"]
        one.decided = None
        async with session.get("/v1/services/default/chat") as answer:
            assert (answer.status, await answer.json()) == (200, None)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "expected {"),
        (b'{"replicas": 0}', "expected 1 to 1000"),
        (b'{"replicas": 1.5}', "expected 1 to 1000"),
        (b'{"replicas": true}', "expected 1 to 1000"),
        (b'{"replicas": 1001}', "expected 1 to 1000"),
        (b'{"ttl_s": 0}', "ttl_s"),
        (b'{"ttl_s": 1e999}', "ttl_s"),
        (b'{"ttl_s": NaN}', "ttl_s"),
        (b'{"ttl": 5}', "unknown keys"),
    ],
)
async def test_a_bad_wish_is_told_what_was_expected_and_wakes_nothing(tmp_path: Path, body: bytes, words: str) -> None:
    async with face(tmp_path) as (one, session):
        async with session.post("/v1/wake/default/chat", data=body, headers=TOKEN) as answer:
            assert answer.status == 400
            assert words in (await answer.json())["error"]
        assert one.wakes.wakes(CHAT, 0.0) == ()


async def test_a_wish_without_a_body_is_one_replica_for_five_minutes(tmp_path: Path) -> None:
    async with face(tmp_path) as (one, session):
        async with session.post("/v1/wake/default/chat", headers=TOKEN) as answer:
            assert answer.status == 202
        (wake,) = one.wakes.wakes(CHAT, 1000.0)
        assert wake.replicas == 1
        assert 1299.0 < wake.expires_at_s < 1360.0


async def test_the_wake_api_is_shut_to_those_without_its_token(tmp_path: Path) -> None:
    async with face(tmp_path) as (one, session):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
            async with session.post("/v1/wake/default/chat", headers=headers) as answer:
                assert answer.status == 401
        assert one.wakes.wakes(CHAT, 0.0) == ()


@pytest.mark.parametrize("token", ["", "\n"])
async def test_an_empty_token_file_lets_nobody_in(tmp_path: Path, token: str) -> None:
    async with (
        face(tmp_path, token=token) as (_, session),
        session.post("/v1/wake/default/chat", headers={"Authorization": "Bearer "}) as answer,
    ):
        assert answer.status == 401


async def test_a_token_file_that_is_gone_is_our_fault_not_the_callers(tmp_path: Path) -> None:
    async with (
        face(tmp_path, token=None) as (_, session),
        session.post("/v1/wake/default/chat", headers=TOKEN) as answer,
    ):
        assert answer.status == 503


async def test_a_rotated_token_counts_at_once(tmp_path: Path) -> None:
    async with face(tmp_path) as (_, session):
        (tmp_path / "token").write_text("fresh")
        async with session.post("/v1/wake/default/chat", headers=TOKEN) as answer:
            assert answer.status == 401
        async with session.post("/v1/wake/default/chat", headers={"Authorization": "Bearer fresh"}) as answer:
            assert answer.status == 202


async def test_an_unknown_service_is_not_found(tmp_path: Path) -> None:
    async with face(tmp_path) as (_, session):
        async with session.post("/v1/wake/default/nobody", headers=TOKEN) as answer:
            assert answer.status == 404
        async with session.get("/v1/services/default/nobody") as answer:
            assert answer.status == 404


async def test_a_taken_address_is_an_error_that_names_the_option(tmp_path: Path) -> None:
    async with face(tmp_path) as (one, _):
        other = Face(None)
        taken = WebServer("127.0.0.1", one.port, Views(bytes, list, tuple, lambda _: None), Wakes(), other.clock, None)
        with pytest.raises(ConfigError, match="--http"):
            await taken.start()


def test_wakes_expire_by_themselves_and_their_number_is_bounded() -> None:
    wakes = Wakes()
    for i in range(MOST_PER_SERVICE + 50):
        wakes.add(CHAT, Wake(1, 100.0 + i))
    assert len(wakes.wakes(CHAT, 0.0)) == MOST_PER_SERVICE
    assert len(wakes.wakes(CHAT, 200.0)) == 49
    assert wakes.wakes(CHAT, 1000.0) == ()
