"""The fast path and whoever writes at the same moment: KEDA, a person, another decision, the next owner."""

from __future__ import annotations

import asyncio

from autoscaler.core.records import Mode
from autoscaler.kube.resources import DEPLOYMENTS
from autoscaler.kube.writing.fast_path import EDGE_S, TRIES, aim_of
from tests.kube.cluster import until
from tests.kube.writing.test_fast_path import world
from tests.kube.writing.world import TARGET, Owner, behavior, decided, deployment, quiet, resolved, scales


async def test_kedas_one_that_comes_after_ours_is_repaired_by_the_next_decision() -> None:
    async with world(0, **behavior(scaleUp={"policies": [{"type": "Percent", "value": 2000}]})) as here:
        await here.decide(12)
        here.set(1)  # KEDA read zero, then wrote: 12 -> 1
        await here.decide(12)
        assert scales(here.api) == [12, 12]
        here.set(1)
        here.clock.ahead_s += EDGE_S + 1
        await here.decide(12)  # two syncs later it is the HPA's alone
        assert scales(here.api) == [12, 12]


async def test_what_is_read_before_the_write_counts_not_what_was_observed() -> None:
    async with world(20) as here:
        await here.decide(13, present=12)
        assert here.api.count("get", DEPLOYMENTS) == 1
        assert scales(here.api) == []


async def test_after_a_conflict_the_scale_is_looked_at_anew_at_once_and_four_are_left_to_the_next_decision() -> None:
    async with world(12) as here:
        here.api.fail(1, 409, verbs="patch")
        await here.decide(13)
        assert (here.path.turns.conflicts, here.path.turns.failed, here.there) == (1, 0, 13)
        here.set(13)
        here.api.fail(TRIES, 409, verbs="patch")
        await here.decide(14)
        assert (here.path.turns.conflicts, here.path.turns.failed, here.there) == (1 + TRIES, 0, 13)
        await here.decide(14)  # conflicts cost none of the three writes at once
        assert here.there == 14


async def test_who_wrote_meanwhile_is_judged_as_if_it_had_been_there_before() -> None:
    async with world(12) as here:
        here.api.fail(1, 409, verbs="patch")
        here.api.latency_s = 0.05
        deciding = asyncio.create_task(here.decide(13))
        await until(lambda: here.api.count("patch", DEPLOYMENTS))
        here.set(9)  # somebody's decrease: 13 is no longer within the tolerance
        await deciding
        assert (here.there, here.path.turns.conflicts) == (9, 1)


async def test_at_the_edge_kedas_own_one_is_waited_for_so_that_it_does_not_come_over_ours() -> None:
    async with world(0) as here:
        deciding = asyncio.create_task(here.decide(12))
        await until(lambda: here.api.count("get", DEPLOYMENTS) >= 2)
        assert here.api.writes == []
        here.set(1)
        await deciding
        assert (scales(here.api), here.path.turns.conflicts) == ([12], 0)


async def test_who_loses_the_lease_between_reading_and_writing_does_not_write() -> None:
    async with world(12, Owner(limit=1)) as here:
        await here.decide(13)
        assert here.api.count("get", DEPLOYMENTS) == 1
        assert here.api.writes == []
    async with world(12, Owner(owns=False)) as here:
        await here.decide(13)
        assert here.api.requests == []


async def test_never_two_writes_in_flight_and_the_newest_decision_is_the_one_written() -> None:
    async with world(20) as here:
        here.api.latency_s = 0.1
        objects, target = resolved(deployment(20), here.raw)
        for asked in (21, 22, 24, 21):
            here.path.offer(decided(asked), aim_of(objects, target), TARGET, 20)
            await asyncio.sleep(0.02)
        await until(lambda: here.api.writes)
        here.api.latency_s = 0.0
        await quiet(here.path.turns)
        assert scales(here.api) == [21]


async def test_a_hold_that_comes_while_the_scale_is_read_stops_the_write() -> None:
    async with world(12) as here:
        here.api.latency_s = 0.1
        objects, target = resolved(deployment(12), here.raw)
        here.path.offer(decided(13), aim_of(objects, target), TARGET, 12)
        await until(lambda: here.api.requests)
        here.path.offer(decided(13, mode=Mode.HOLD), aim_of(objects, target), TARGET, 12)
        await quiet(here.path.turns)
        assert scales(here.api) == []
