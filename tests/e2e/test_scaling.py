"""ScaledObject -> our service -> KEDA and HPA -> the Deployment's replica count, on the real control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

from tests.e2e.replicas import Replicas
from tests.e2e.scaler import Serve
from tests.e2e.waiting import until
from tests.e2e.world import World, load

LOAD_S = 45.0
LANDS_S = 60.0
WAKES = 20
# KEDA's operator has 20 calls a second of the API server, and 30 saved (--kube-api-qps, --kube-api-burst), and each
# ScaledObject that it takes up costs some: woken right after five were, the fifth waited 0.1 to 0.3 s for its turn.
KEDA_SAVES_CALLS_S = 10.0


async def test_load_takes_a_deployment_from_zero_to_n_and_its_end_back_to_zero_without_a_lost_request(
    one: World,
) -> None:
    """With the README's ScaledObject as it stands there, but for names, a faster poll and a shorter cooldown."""
    queue, gateway = await one.gateway("chat")
    serve = await one.serve(one.settings("chat", wakeSource="gateway", maxReplicas=6), wake_sources=[gateway])
    chat = await one.deploy("chat", 0)
    await one.attach("chat", serve, most=6)
    await until("KEDA listens for pushes", lambda: serve.is_listened_to(1), 30)
    async with load(queue, rps=6.0) as requests:
        began_s = one.clock.now()
        await until("more than one replica", lambda: chat.count > 1, 60)
        one.note("first replica asked for, s after the first request", round(chat.steps[0].at_s - began_s, 2))
        assert (chat.steps[0].before, chat.steps[0].after, chat.steps[0].by) == (0, 1, "keda-operator")

        async def settled() -> bool:
            asked = await serve.asked(one.namespace, "chat")
            return asked > 1 and asked == chat.count == chat.ready and one.clock.now() > began_s + LOAD_S

        await until("the count is what we ask for, and all serve", settled, LOAD_S + 90)
    assert await requests.finish(60) == len(requests.sent)
    await chat.until(0, 120)
    one.note("replicas for 6 req/s, and after", chat.counts())
    one.note("requests served", f"{len(requests.sent)} of {len(requests.sent)}")


async def test_a_push_wakes_a_deployment_from_zero_without_waiting_for_a_poll(one: World) -> None:
    """KEDA's poll is five minutes away; the push takes its place."""
    names = [f"m{i}" for i in range(WAKES)]
    serve = await one.serve(*(one.settings(name) for name in names))
    followed = []
    for name in names:
        followed.append(await one.deploy(name, 0))
        await one.attach(name, serve, pollingInterval=300)
    await until("KEDA listens for pushes", lambda: serve.is_listened_to(len(names)), 60)
    await asyncio.sleep(KEDA_SAVES_CALLS_S)
    for name, deployment in zip(names, followed, strict=True):
        await asyncio.sleep(1.0)
        await serve.wake(one.namespace, name, 1, ttl_s=120)
        step = await deployment.until(1, within_s=10)
        assert step is not None
        assert (step.before, step.by) == (0, "keda-operator")

    def recorded() -> bool:
        return all(serve.edges(one.namespace, name) for name in names)

    await until("the edges are on record", recorded, 10)
    took_ms = [
        round(1000 * (deployment.steps[0].at_s - serve.edges(one.namespace, name)[0]))
        for name, deployment in zip(names, followed, strict=True)
    ]
    one.note("our edge to spec.replicas 0 -> 1 by push, ms, sorted", sorted(took_ms))


async def test_every_count_asked_for_is_reached_exactly_and_in_one_step(one: World) -> None:
    """Twelve to thirteen and back, thirty to twenty-nine, one to thirty: with tolerance 0 there is no dead band."""
    serve = await one.serve(one.settings("chat"))
    chat = await one.deploy("chat", 1)
    await one.attach("chat", serve)
    asked = [12, 13, 12, 30, 29, 7, 8, 2, 3, 1]
    since_s: list[float] = []
    for n in asked:
        since_s.append(one.clock.now())
        await until(
            f"{n} replicas: {chat.counts()}", partial(_lands, one, serve, chat, n), LANDS_S + 4 * one.hpa_sync_s
        )
    assert chat.counts() == asked, "a count between two that were asked for"
    assert all(step.by == "kube-controller-manager" for step in chat.steps)
    # Read at the end only: it takes seconds, in which the emulated servers of this process would answer nobody.
    decided_s = [
        await until(f"{n} is on record", partial(serve.asked_at_s, one.namespace, "chat", n, s), 10)
        for n, s in zip(asked, since_s, strict=True)
    ]
    one.note("counts asked for and reached exactly", asked)
    took_s = [round(step.at_s - at_s, 1) for step, at_s in zip(chat.steps, decided_s, strict=True)]
    one.note(f"our decision to spec.replicas, s (HPA sync {one.hpa_sync_s:g} s)", took_s)


async def _lands(one: World, serve: Serve, chat: Replicas, n: int) -> bool:
    """Whether the count is `n`; asks for it by wakes, because a smaller one counts only when larger ones ran out."""
    if await serve.asked(one.namespace, chat.name) != n:
        await serve.wake(one.namespace, chat.name, n, ttl_s=one.hpa_sync_s + 15.0)
    return chat.count == n


async def test_every_count_from_one_to_thirty_is_reached_exactly_up_down_and_by_jumps(one: World) -> None:
    """Thirty counts over three Deployments at once: one climbs, one descends, one jumps; the last is 1 again."""
    asked = {
        "climbs": [3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 1],
        "descends": [29, 26, 23, 20, 17, 14, 11, 8, 5, 2],
        "jumps": [13, 28, 4, 25, 7, 22, 10, 19, 16, 1],
    }
    assert sorted({n for counts in asked.values() for n in counts}) == list(range(1, 31))
    serve = await one.serve(*(one.settings(name) for name in asked))
    followed: dict[str, Replicas] = {}
    for name in asked:
        followed[name] = await one.deploy(name, 1)
        await one.attach(name, serve)
    since_s = one.clock.now()

    async def walk(name: str) -> None:
        for n in asked[name]:
            chat = followed[name]
            await until(
                f"{name} at {n}: {chat.counts()}", partial(_lands, one, serve, chat, n), LANDS_S + 4 * one.hpa_sync_s
            )

    async with asyncio.TaskGroup() as group:
        for name in asked:
            group.create_task(walk(name))
    # Who arrives first is idle until the others do: its wishes run out, and it goes to zero.
    reached = {name: chat.counts()[: len(asked[name])] for name, chat in followed.items()}
    one.note("counts asked for and reached exactly", reached)
    assert reached == asked, "a count that was not asked for"
    assert all(set(chat.counts()[len(asked[name]) :]) <= {0} for name, chat in followed.items())
    took_s = [took for name, chat in followed.items() for took in _took(one, serve, chat, since_s)]
    one.note(f"our decision to spec.replicas, s (HPA sync {one.hpa_sync_s:g} s), sorted", sorted(took_s))


def _took(one: World, serve: Serve, chat: Replicas, since_s: float) -> Iterator[float]:
    """For each step the time from our first decision for it, after the step before, to the write."""
    asked = [(decision.at_s, decision.roles[0].replicas) for decision in serve.decisions(one.namespace, chat.name)]
    for step in (step for step in chat.steps if step.after):
        yield round(step.at_s - next(at_s for at_s, n in asked if at_s >= since_s and n == step.after), 1)
        since_s = step.at_s
