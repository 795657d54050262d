"""`autoscaler explain` against a running HTTP face."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rich.console import Console

from autoscaler.core.errors import ClusterError, ConfigError
from autoscaler.core.records import Decision, Mode, Reason, RoleDecision, ServiceId
from autoscaler.web.explain import explain, sentences
from tests.service.test_serve import free_port
from tests.web.test_web import face


async def test_a_decision_is_told_with_its_reasons(tmp_path: Path) -> None:
    async with face(tmp_path) as (one, _):
        console = Console(record=True, width=200)
        root = f"http://127.0.0.1:{one.port}"
        await asyncio.to_thread(explain, root, "default/chat", console)
        said = console.export_text()
        assert "default/chat: active, mode normal" in said
        assert "replicas: 3" in said
        assert "three [floor]" in said
        with pytest.raises(ConfigError, match="default/chat"):
            await asyncio.to_thread(explain, root, "default/chatt", console)
        one.decided = None
        await asyncio.to_thread(explain, root, None, console)
        assert "nothing was decided yet" in console.export_text()


def test_nobody_there_is_an_error_that_names_the_address() -> None:
    with pytest.raises(ClusterError, match="cannot be read"):
        explain(f"http://127.0.0.1:{free_port()}", None, Console())


def test_a_shadow_decision_says_that_it_is_not_acted_on() -> None:
    decision = Decision(
        ServiceId("default", "chat"), 90.0, Mode.SHADOW, True, (RoleDecision("decode", 4),), (Reason("busy", "4 run"),)
    )
    lines = sentences("default/chat", decision, 100.0)
    assert lines[0] == "default/chat: active, mode shadow, shadow: not acted on, 10 s ago"
    assert lines[1:] == ["  4 run [busy]", "  decode: 4"]
