"""Nothing shrinks: KEDA restarts, our service dies, is away, or freezes, under load and at rest."""

from __future__ import annotations

from typing import Any

from tests.e2e.replicas import Replicas
from tests.e2e.scaler import Serve
from tests.e2e.waiting import throughout, until
from tests.e2e.world import World, load

OUTAGE_S = 60.0
N = 4


async def _held_at(one: World, serve: Serve, name: str, **changes: Any) -> Replicas:
    """A Deployment that our service asks N replicas for (minReplicas: it outlives restarts), and that has them."""
    followed = await one.deploy(name, 1)
    await one.attach(name, serve, **changes)
    await followed.until(N, 60 + 3 * one.hpa_sync_s)
    await followed.until_ready(N, 60)
    return followed


async def _goes_on(one: World, serve: Serve, *followed: Replicas) -> None:
    """Each gets one more, so the way from us to the count is open again."""
    since_s = one.clock.now()
    for one_of_them in followed:
        await serve.wake(one.namespace, one_of_them.name, N + 1, ttl_s=3600)
    for one_of_them in followed:
        await one_of_them.until(N + 1, 150 + 3 * one.hpa_sync_s)
    one.note("back to following, s after the fault", round(one.clock.now() - since_s, 1))


async def test_killing_the_keda_operator_changes_no_count_and_its_restart_goes_on(one: World) -> None:
    serve = await one.serve(one.settings("chat", minReplicas=N))
    chat = await _held_at(one, serve, "chat")
    since_s = one.clock.now()
    one.keda.kill_operator()
    await throughout("a replica went", lambda: not chat.below(N, since_s), 20)
    assert chat.count == N
    one.keda.start_operator()
    await _goes_on(one, serve, chat)
    assert not chat.below(N, since_s), chat.steps


async def test_kill_9_of_our_service_under_load_changes_no_count(one: World) -> None:
    queue, gateway = await one.gateway("chat")
    serve = await one.serve(one.settings("chat", wakeSource="gateway", maxReplicas=3), wake_sources=[gateway])
    chat = await one.deploy("chat", 0)
    await one.attach("chat", serve, most=3)
    async with load(queue, rps=6.0) as requests:
        await chat.until(3, 120)
        await chat.until_ready(3, 60)
        since_s = one.clock.now()
        serve.kill()
        await serve.start()
        calls = await serve.calls("GetMetrics")

        async def read_again() -> bool:
            return await serve.calls("GetMetrics") >= calls + 2

        await until("the HPA reads us again", read_again, 60 + 3 * one.hpa_sync_s)
        await throughout("a replica went", lambda: not chat.below(3, since_s), 3 * one.hpa_sync_s)
    assert not chat.below(3, since_s), chat.steps
    assert await requests.finish(60) == len(requests.sent)
    one.note("counts", chat.counts())


async def _outage(one: World, away: str) -> None:
    """A minute without us: a Deployment of each kind holds; then all follow again."""
    held = [one.settings(name, minReplicas=N) for name in ("fallback", "bare", "default")]
    serve = await one.serve(*held, one.settings("asleep"))
    kept = {
        "fallback": await _held_at(one, serve, "fallback"),
        "bare": await _held_at(one, serve, "bare", fallback=None),
        "default": await _held_at(one, serve, "default", fallback=None, advanced=None),
    }
    asleep = await one.deploy("asleep", 0)
    await one.attach("asleep", serve, fallback=None)
    since_s = one.clock.now()
    serve.freeze() if away == "frozen" else serve.kill()
    await throughout(
        "a replica went", lambda: not any(one_of_them.below(N, since_s) for one_of_them in kept.values()), OUTAGE_S
    )
    one.note(f"counts after a minute {away}", {name: one_of_them.count for name, one_of_them in kept.items()})
    assert [one_of_them.count for one_of_them in kept.values()] == [N, N, N]
    assert asleep.count == 0
    if away == "frozen":
        serve.thaw()
    else:
        await serve.start()
    await _goes_on(one, serve, *kept.values())
    assert not any(one_of_them.below(N, since_s) for one_of_them in kept.values())


async def test_a_minute_without_our_service_shrinks_nothing(one: World) -> None:
    await _outage(one, "gone")


async def test_a_minute_with_our_service_frozen_shrinks_nothing(one: World) -> None:
    """Its sockets stay open and nobody answers: KEDA's calls have no deadline."""
    await _outage(one, "frozen")
