"""Two of ours under the real KEDA, behind both kinds of Service: the owner killed, rolled, frozen, cut off.

Every count the Deployments ever had is compared with those that were asked for: nothing shrinks and nothing jumps.
"""

from __future__ import annotations

import asyncio

from tests.e2e.two_replicas import Two, two
from tests.e2e.waiting import throughout
from tests.e2e.world import World, load

N = 7
LIVENESS_S = 60.0  # the chart's livenessProbe: 6 failures, 10 s apart


async def _watched(ours: Two, least: int, for_s: float) -> None:
    await throughout(f"a replica went: {ours.counts()}", lambda: not ours.below(least), for_s)


async def test_the_owner_is_killed_and_then_both_are_rolled_under_load_and_only_counts_asked_for_are_seen(
    one: World,
) -> None:
    queue, gateway = await one.gateway("headless")
    async with two(one, N, [gateway]) as ours, load(queue, rps=4.0) as requests:
        owner, other = await ours.owner_and_other()
        since_s = one.clock.now()
        owner.kill()
        one.note("kill -9 of the owner to the next owner, s", await ours.taken_over(other, since_s))
        await ours.ask(other, N + 1)
        one.note("and one more asked for to both counts, s", await ours.land(N + 1))
        await owner.start()
        for serve in ours.both:
            await asyncio.to_thread(serve.stop)  # this loop carries its cables
            await _watched(ours, N + 1, 5.0)
            await serve.start()
        await _watched(ours, N + 1, 2.0 * one.hpa_sync_s)
        await ours.ask(ours.both[0], N + 2)
        one.note("after both were rolled, one more asked for to both counts, s", await ours.land(N + 2))
        one.note("counts", ours.counts())
        assert set(map(tuple, ours.counts().values())) == {(N, N + 1, N + 2)}
    assert await requests.finish(60) == len(requests.sent)
    one.note("requests served", f"{len(requests.sent)} of {len(requests.sent)}")


async def test_the_owner_freezes_until_its_liveness_probe_ends_it_and_only_counts_asked_for_are_seen(
    one: World,
) -> None:
    """A ClusterIP keeps KEDA's connection on the frozen one: that count stays, and follows when it is killed."""
    async with two(one, N, []) as ours:
        owner, other = await ours.owner_and_other()
        since_s = one.clock.now()
        owner.freeze()
        one.note("frozen owner to the next owner, s", await ours.taken_over(other, since_s))
        await ours.ask(other, N + 1)
        left_s = LIVENESS_S - (one.clock.now() - since_s)
        await _watched(ours, N, left_s)
        one.note("counts when it is killed", {name: kept.count for name, kept in ours.kept.items()})
        owner.kill()
        await owner.start()
        one.note("killed and started to both counts, s", await ours.land(N + 1))
        await _watched(ours, N + 1, 2.0 * one.hpa_sync_s)
        one.note("counts", ours.counts())
        assert set(map(tuple, ours.counts().values())) == {(N, N + 1)}


async def test_an_owner_cut_off_from_all_but_keda_decides_no_more_and_nothing_shrinks(one: World) -> None:
    """The worst cut: KEDA goes on asking it, and it holds a number that is no longer so."""
    async with two(one, N, []) as ours:
        owner, other = await ours.owner_and_other()
        cables, since_s = ours.apart(owner), one.clock.now()
        for cable in cables:
            cable.cut()
        one.note("cut to the next owner, s", await ours.taken_over(other, since_s))
        await ours.ask(other, N + 4)
        await _watched(ours, N, 6.0 * one.hpa_sync_s)
        one.note("counts while it is cut off", ours.counts())
        for cable in cables:
            cable.mend()
        one.note("mended, to both counts, s", await ours.land(N + 4))
        await _watched(ours, N + 4, 2.0 * one.hpa_sync_s)
        assert (await ours.owner_and_other())[0] is other
        one.note("counts", ours.counts())
        assert {count for counts in ours.counts().values() for count in counts} == {N, N + 4}
