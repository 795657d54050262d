"""What the HPA makes of our number where its `behavior` is not or cannot be set (KServe's `scaling.keda`)."""

from __future__ import annotations

from tests.e2e.waiting import throughout, until
from tests.e2e.world import World


async def test_the_default_dead_band_keeps_twelve_where_thirteen_is_asked_and_lets_fourteen_pass(one: World) -> None:
    serve = await one.serve(one.settings("chat"))
    chat = await one.deploy("chat", 12)
    await one.attach("chat", serve, advanced=None)
    await serve.wake(one.namespace, "chat", 12, ttl_s=300)
    await until("twelve are asked for", lambda: serve.asks(one.namespace, "chat", 12), 15)
    await serve.wake(one.namespace, "chat", 13, ttl_s=300)
    await until("thirteen are asked for", lambda: serve.asks(one.namespace, "chat", 13), 15)
    before = await serve.calls("GetMetrics")
    await throughout("the count left twelve", lambda: chat.count == 12, 3 * one.hpa_sync_s + 1)
    assert await serve.calls("GetMetrics") > before, "the HPA did not ask meanwhile: nothing was shown"
    await serve.wake(one.namespace, "chat", 14, ttl_s=300)
    await chat.until(14, 30 + 2 * one.hpa_sync_s)
    one.note("default tolerance 10 %, at 12", "13 asked: stays 12; 14 asked: 14")


async def test_without_behavior_the_hpa_climbs_by_doublings_and_waits_five_minutes_on_the_way_down(one: World) -> None:
    serve = await one.serve(one.settings("chat"))
    chat = await one.deploy("chat", 0)
    await one.attach("chat", serve, advanced=None)
    await until("KEDA listens for pushes", lambda: serve.is_listened_to(1), 30)
    began_s = one.clock.now()
    await serve.wake(one.namespace, "chat", 12, ttl_s=20 + 6 * one.hpa_sync_s)
    await chat.until(12, 30 + 6 * one.hpa_sync_s)
    one.note("0 -> 12 without behavior", chat.counts())
    one.note(f"it took, s (HPA sync {one.hpa_sync_s:g} s)", round(chat.steps[-1].at_s - began_s, 1))
    assert chat.counts() == [1, 4, 8, 12]
    await serve.wake(one.namespace, "chat", 3, ttl_s=600)
    await until("three are asked for", lambda: serve.asks(one.namespace, "chat", 3), 60 + 6 * one.hpa_sync_s)
    await throughout("it shrank within the HPA's window", lambda: chat.count == 12, 3 * one.hpa_sync_s + 1)
