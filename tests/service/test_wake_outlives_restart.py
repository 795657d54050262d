"""A wake was accepted with 202 and a time to live: a kill -9 within that time must not take it back."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import aiohttp

from autoscaler.history.memory import MemoryStore
from tests.fakes.model_server import ScriptedServer, text, vllm_page
from tests.service.crew import CHAT, crew
from tests.service.test_serve import Serve


async def test_a_wake_that_was_accepted_holds_over_a_kill_9(tmp_path: Path) -> None:
    async with ScriptedServer(lambda: text(vllm_page(running=0, first_tokens=9, prompt=9, generated=9))) as server:
        serve = Serve(tmp_path, server.url)
        await serve.start()
        try:
            await serve.value()
            url, headers = f"http://127.0.0.1:{serve.http}/v1/wake/default/chat", {"Authorization": "Bearer secret"}
            wish = {"replicas": 7, "ttl_s": 300}
            async with aiohttp.ClientSession() as session, session.post(url, json=wish, headers=headers) as answer:
                assert answer.status == 202
            async with asyncio.timeout(20):
                while await serve.value() != 7:
                    await asyncio.sleep(0.2)
            serve.process.send_signal(signal.SIGKILL)
            await serve.process.wait()
            await serve.start()
            assert await serve.value() == 7
        finally:
            serve.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(serve.process.wait(), 30)


async def test_a_wish_taken_by_a_follower_is_in_the_owners_store_when_its_caller_is_answered(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    async with crew(token_file=token) as one:
        stores = {name: MemoryStore() for name in ("a", "b")}
        for name, store in stores.items():
            await one.until_number(await one.start(name, store=store))
        (owner,) = one.owners()
        follower = one.ones["b" if owner == "a" else "a"]
        url = f"http://127.0.0.1:{follower.service.http_port}/v1/wake/default/chat"
        headers = {"Authorization": "Bearer secret"}
        async with aiohttp.ClientSession() as session, session.post(url, json={"replicas": 7}, headers=headers) as got:
            assert got.status == 202
        kept = await stores[owner].load_wakes(one.clock.now())
        assert [wake.replicas for wake in kept[CHAT]] == [7]
        # The follower keeps what the owner tells of it, for the day on which it comes back first.
        await one.until(lambda: bool(follower.service._wakes.wakes(CHAT, one.clock.now())), "the follower was told")
        await follower.stop()
        kept = await stores[follower.name].load_wakes(one.clock.now())
        assert [wake.replicas for wake in kept[CHAT]] == [7]
