"""The fast path beside the real KEDA and HPA: N at once, kept, upwards only, and never against anybody."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise
from typing import Any

from tests.e2e.api import Object
from tests.e2e.audit import Scaled, scaled
from tests.e2e.replicas import Replicas
from tests.e2e.scaler import Serve
from tests.e2e.waiting import throughout, until
from tests.e2e.world import World

US = [("ours", 12), ("ours", 13)]
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


def written(one: World, chat: Replicas) -> list[tuple[str, int]]:
    """Every write of the count that the API server took, and whose; checks that ours go upwards only, never to zero."""
    found = scaled(one.plane.audit, one.namespace, chat.name)
    for before, after in pairwise([Scaled("start", chat.steps[0].before if chat.steps else chat.count), *found]):
        assert after.by != "ours" or after.count > before.count, found
    assert {step.by for step in found} <= {"ours", "keda", "hpa"}
    return [(one.by, one.count) for one in found]


async def test_with_the_default_hpa_zero_to_twelve_and_twelve_to_thirteen_land_within_a_second_and_stay(
    one: World,
) -> None:
    """KEDA and the HPA alone: 0, 1, 4, 8, 12 in 46 s, and 13 never (test_default_hpa)."""
    serve = await fast(one)
    followed = [await attached(one, serve, name, 0) for name in NAMES]
    await until("KEDA listens for pushes", lambda: serve.is_listened_to(len(NAMES)), 60)
    twelve = await lands_and_stays(one, serve, followed, 12)
    thirteen = await lands_and_stays(one, serve, followed, 13)
    one.note("fast path, default HPA: our decision to 12 at zero, s", twelve)
    one.note("fast path, default HPA: our decision to 13 at twelve, s", thirteen)
    wrote = [written(one, each) for each in followed]
    one.note("every write, and whose", wrote)
    # KEDA writes its 1 or finds ours; nobody writes anything after it.
    assert all(each in ([("keda", 1), *US], US) for each in wrote)
    assert max(twelve + thirteen) < 1.0


async def test_with_the_default_hpa_one_to_twelve_lands_within_a_second_and_stays(one: World) -> None:
    """The HPA alone goes 4, 8, 12, at a sync each."""
    serve = await fast(one)
    followed = [await attached(one, serve, name, 1) for name in NAMES]
    await until("KEDA and the HPA have read us", serve.was_read, 30)
    took_s = await lands_and_stays(one, serve, followed, 12)
    one.note("fast path, default HPA: our decision to 12 at one, s", took_s)
    assert all(written(one, each) == [("ours", 12)] for each in followed)
    assert max(took_s) < 1.0


async def test_of_every_write_there_is_ours_go_upwards_only_and_what_falls_is_kedas_and_the_hpas(one: World) -> None:
    """Through the edge, the ramp and the dead band, up and down and to zero, with the default behavior and ours."""
    serve = await fast(one)
    default = await attached(one, serve, "default", 0, initialCooldownPeriod=None)
    readme = await one.deploy("readme", 0)
    await one.attach("readme", serve, triggers=trigger(serve), initialCooldownPeriod=None)
    await until("KEDA listens for pushes", lambda: serve.is_listened_to(2), 60)
    for _ in range(2):
        for count, small in ((11, 2), (12, 6), (16, 4), (3, 3)):
            await serve.wake(one.namespace, "default", count, ttl_s=18.0)
            await serve.wake(one.namespace, "readme", small, ttl_s=18.0)
            await asyncio.sleep(12.0)
        for each in (default, readme):
            await each.until(0, 120)
    for each in (default, readme):
        wrote = written(one, each)
        one.note(f"every write, {each.name} behavior", wrote)
        assert ("ours", each.counts()[1]) in wrote
        assert wrote.count(("keda", 0)) == 2


async def test_while_keda_is_paused_nothing_is_written(one: World) -> None:
    serve = await fast(one)
    chat = await attached(one, serve, "m0", 2)
    await serve.wake(one.namespace, "m0", 2, ttl_s=LONG_S)
    await until("KEDA and the HPA have read us", serve.was_read, 30)
    scaled = f"/apis/keda.sh/v1alpha1/namespaces/{one.namespace}/scaledobjects/m0"
    paused = {"autoscaling.keda.sh/paused": "true"}
    await one.api.merge(scaled, {"metadata": {"annotations": paused}})
    await asyncio.sleep(2)  # our watch tells of it
    await serve.wake(one.namespace, "m0", 12, ttl_s=LONG_S)
    await until("twelve are asked for", lambda: serve.asks(one.namespace, "m0", 12), 15)
    await throughout("it was written", lambda: chat.count == 2, one.hpa_sync_s)
    await one.api.merge(scaled, {"metadata": {"annotations": dict.fromkeys(paused)}})
    await chat.until(12, 30)
    assert written(one, chat) == [("ours", 12)]


async def attached(one: World, serve: Serve, name: str, replicas: int, **changes: Any) -> Replicas:
    """A Deployment under a ScaledObject of ours without a word on the HPA's behavior."""
    chat = await one.deploy(name, replicas)
    await one.attach(name, serve, advanced=None, triggers=trigger(serve), **changes)
    return chat


async def lands_and_stays(one: World, serve: Serve, followed: list[Replicas], count: int) -> list[float]:
    """Ask for a count of each in turn; the seconds from our decision to it, each kept past two syncs of the HPA."""
    since_s = one.clock.now()
    for each in followed:
        await serve.wake(one.namespace, each.name, count, ttl_s=LONG_S)
        await asyncio.sleep(0.7)
    for each in followed:
        await each.until(count, 30)
    await until("all serve", lambda: all(each.ready == count for each in followed), 60)
    kept = partial(_kept, followed, count)
    await throughout("it was taken back", kept, 2.5 * one.hpa_sync_s + 1)
    at_s = [next(step.at_s for step in each.steps if step.at_s >= since_s and step.after == count) for each in followed]
    assert not [each.steps for each, s in zip(followed, at_s, strict=True) if each.below(count, s)]
    # Read at the end only: it takes seconds, in which the emulated servers of this process would answer nobody.
    took_s = []
    for each, there_s in zip(followed, at_s, strict=True):
        asked = partial(serve.asked_at_s, one.namespace, each.name, count, since_s)
        took_s.append(round(there_s - await until(f"{count} is on record", asked, 15), 2))
    return took_s


def _kept(followed: list[Replicas], count: int) -> bool:
    return all(each.count == count for each in followed)
