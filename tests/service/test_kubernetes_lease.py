"""Replicas of ours beside one API server: its Lease says who plans, and no change of that moves the number."""

from __future__ import annotations

import asyncio

from tests.service.world import world


async def test_the_owner_is_killed_and_the_number_does_not_move() -> None:
    async with world() as one:
        one.fill(4)
        first, second = await one.start("a", lease=True), await one.start("b", lease=True)
        await one.until(lambda: one.owners(), "one owns")
        for each in (first, second):
            await one.number(each)
        for _ in range(30):
            await asyncio.gather(one.ask(first), one.ask(second))
            await one.clock.sleep(1.0)
        (owner,) = one.owners()
        other = second if owner is first else first
        assert other.election is not None
        assert other.election.owner() == f"127.0.0.1:{owner.grpc}"
        least = min(value for _, value in one.answers[-20:] if isinstance(value, float))
        await owner.kill(one.api)
        seen = await one.poll(other, 40.0)
        assert one.owners() == [other]
        assert all(isinstance(value, float) and value >= least for value in seen)
        assert {value for value in seen if isinstance(value, float)} <= {least, least + 1}


async def test_two_replicas_rolled_one_after_the_other_answer_nothing_below() -> None:
    async with world() as one:
        one.fill(4)
        first = await one.start("a", lease=True)
        await one.number(first)
        second = await one.start("b", lease=True)
        await one.number(second)
        await one.poll(first, 15.0)
        since = len(one.answers)
        least = min(value for _, value in one.answers[-8:] if isinstance(value, float))
        await first.stop()
        third = await one.start("c", lease=True)
        await one.until(lambda: not third.service.unready(), "the new one is ready")
        await one.poll(third, 5.0)
        await second.stop()
        await one.poll(third, 15.0)
        assert one.owners() == [third]
        numbers = [value for _, value in one.answers[since:] if isinstance(value, float)]
        assert numbers
        assert min(numbers) >= least
