"""The fast path beside the real KEDA and HPA: N at once, kept, upwards only, and never against anybody."""

from __future__ import annotations

import asyncio
from functools import partial

from tests.e2e.api import Object
from tests.e2e.replicas import Replicas, Step
from tests.e2e.scaler import Serve
from tests.e2e.waiting import throughout, until
from tests.e2e.world import World

US = "llm-autoscaler"
NAMES = ("m0", "m1", "m2")
LONG_S = 900.0


def trigger(serve: Serve) -> list[Object]:
    """The README's, for a service that is found and that nothing but a wake wakes."""
    said = {
        "scalerAddress": serve.address,
        "wakeSource": "none",
        "keepWarmSeconds": "5",
        "prior": "llama-3.1-70b/a100x4",
    }
    return [{"type": "external-push", "metricType": "AverageValue", "metadata": said}]


async def fast(one: World) -> Serve:
    """Ours, finding its services here, with the fast path on."""
    return await one.serve(cluster=one.cluster(writers=("--fast-path",)))


def ours(chat: Replicas) -> list[Step]:
    """What we wrote."""
    return [step for step in chat.steps if step.by == US]


def upwards(chat: Replicas) -> bool:
    """Whether we never wrote a decrease, and never zero."""
    return all(step.after > step.before for step in ours(chat))


async def landed(one: World, serve: Serve, chat: Replicas, count: int, since_s: float) -> float:
    """Seconds from our decision to the count."""
    at_s = next(step.at_s for step in chat.steps if step.at_s >= since_s and step.after == count)
    asked = partial(serve.asked_at_s, one.namespace, chat.name, count, since_s)
    return at_s - float(await until(f"{count} is on record", asked, 15))


async def all_ask(one: World, serve: Serve, count: int) -> None:
    for name in NAMES:
        await serve.wake(one.namespace, name, count, ttl_s=LONG_S)


async def test_with_the_default_hpa_zero_to_twelve_and_twelve_to_thirteen_land_within_a_second_and_stay(
    one: World,
) -> None:
    """KEDA and the HPA alone: 0, 1, 4, 8, 12 in 46 s, and 13 never (test_default_hpa)."""
    serve = await fast(one)
    followed = []
    for name in NAMES:
        followed.append(await one.deploy(name, 0))
        await one.attach(name, serve, advanced=None, triggers=trigger(serve))
    await until("KEDA listens for pushes", lambda: serve.is_listened_to(len(NAMES)), 60)
    took_s: dict[int, list[float]] = {}
    for count in (12, 13):
        since_s = one.clock.now()
        for name in NAMES:
            await serve.wake(one.namespace, name, count, ttl_s=LONG_S)
            await asyncio.sleep(0.7)
        for each in followed:
            await each.until(count, 30)
        # Past the syncs in which the HPA meets what we wrote: it asks for the same, and takes nothing back.
        still = partial(all, (each.count == count for each in followed))
        await until("all serve", lambda: all(each.ready == count for each in followed), 60)
        await throughout("it was taken back", still, 2.5 * one.hpa_sync_s + 1)
        assert not [step for each in followed for step in each.below(count, each_landed(each, count))]
        took_s[count] = [round(await landed(one, serve, each, count, since_s), 2) for each in followed]
    one.note("fast path, default HPA: our decision to 12 at zero, s", took_s[12])
    one.note("fast path, default HPA: our decision to 13 at twelve, s", took_s[13])
    one.note("every write, and whose", [[(step.after, step.by) for step in each.steps] for each in followed])
    assert all(upwards(each) for each in followed)
    assert all(each.steps[-1].by == US for each in followed)
    assert max(took_s[12] + took_s[13]) < 1.0


def each_landed(chat: Replicas, count: int) -> float:
    """When the count was there."""
    return next(step.at_s for step in chat.steps if step.after == count)
