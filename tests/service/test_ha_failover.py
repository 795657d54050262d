"""Two and three real services over real gRPC: the owner is killed, cut off, restarted; N never falls for it."""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest

from autoscaler.core.records import Mode
from tests.service.crew import CHAT, SPEC, Crew, One, crew


def fell(one: Crew, since_s: float, least: float) -> list[tuple[float, str, float]]:
    """Answers after a fault that are below the least before it."""
    return [answer for answer in one.answers if answer[0] >= since_s and answer[2] < least]


def normal(one: One) -> bool:
    decision = one.service.board.decision(CHAT)
    return decision is not None and decision.mode is Mode.NORMAL


async def settled(one: Crew, *names: str) -> tuple[One, list[One], float]:
    """The owner, the others, and the least that is answered while nothing is wrong."""
    owner, others = await one.settled(*names)
    return owner, others, min(one.counts(one.clock.now() - 20.0))


async def test_the_owner_is_killed_then_the_next_is_cut_off_and_no_answer_falls() -> None:
    """One story, because to settle takes longer than each of its ends. KEDA asks all, or the one that is left."""
    async with crew() as one:
        owner, (other,), least = await settled(one, "a", "b")
        assert {name for _, name in one.decisions} == {owner.name}
        says_what_the_owner_decided(owner, other)
        killed_at_s = one.clock.now()
        await owner.kill()
        await one.poll(30.0)
        await one.until(lambda: one.owners() == [other.name], "the other owns")
        # It stands where the old one stood: the windows of three minutes came with the state.
        await one.until(lambda: other.decided_at_s() > killed_at_s + 15.0 and normal(other), "it sees")
        standing = other.service.board.standing(CHAT)
        assert standing is not None
        assert standing.decision.estimates[0].arrivals_rps == pytest.approx(12.0, rel=0.25)
        await one.poll(15.0)
        assert not fell(one, killed_at_s, least)
        await is_cut_off_and_follows(one, other, await one.start("c"))


def says_what_the_owner_decided(owner: One, follower: One) -> None:
    mine, theirs = owner.service.board.standing(CHAT), follower.service.board.standing(CHAT)
    assert mine is not None
    assert theirs is not None
    assert theirs.decision.roles[0].replicas >= 5
    assert (theirs.present, theirs.period_s, theirs.hold_limit_s) == ({"": 4}, 5.0, 600.0)
    assert theirs.decision.estimates == mine.decision.estimates or theirs.decision.at_s != mine.decision.at_s


async def is_cut_off_and_follows(one: Crew, owner: One, other: One) -> None:
    """Cut off from the Lease alone it stops before another begins, and then follows that."""
    began_s = one.clock.now()
    await one.until_number(other)
    await one.poll(10.0)
    least, cut_at_s = min(one.counts(began_s)), one.clock.now()
    owner.elector.reaches_api = False
    await one.until(lambda: one.owners() == [other.name], "the other owns")
    await one.poll(25.0)
    last = max(at_s for at_s, name in one.decisions if name == owner.name)
    first = min(at_s for at_s, name in one.decisions if name == other.name)
    assert last < first
    assert not fell(one, cut_at_s, least)
    # It finds the new owner among those who followed it.
    await one.until(lambda: owner.decided_at_s() > first, "the old owner follows the new one")
    owner.elector.reaches_api = True
    await one.poll(10.0)
    assert one.owners() == [other.name]
    assert {name for at_s, name in one.decisions if at_s > first} == {other.name}


async def test_a_rolling_restart_of_three_answers_nothing_wrong() -> None:
    async with crew() as one:
        _, _, least = await settled(one, "a", "b", "c")
        began_s = one.clock.now()
        for name in ("a", "b", "c"):
            await one.ones[name].stop()
            fresh = await one.start(f"{name}2")
            await one.until(lambda ready=fresh: not ready.service.unready(), "the new one is ready")  # type: ignore[misc]
            await one.poll(10.0)
        assert not fell(one, began_s, least)
        assert len(one.owners()) == 1
        assert {name for at_s, name in one.decisions if at_s > one.clock.now() - 10.0} == set(one.owners())


async def test_without_any_owner_the_last_answer_is_held_and_never_below_what_is_listed() -> None:
    async with crew(spec=replace(SPEC, hold_limit_s=80.0)) as one:
        owner, (other,), least = await settled(one, "a", "b")
        other.elector.fit = lambda: False  # it never owns
        killed_at_s = one.clock.now()
        await owner.kill()
        await one.poll(25.0)
        assert not fell(one, killed_at_s, least)
        assert one.owners() == []
        await one.until(lambda: one.clock.now() - other.decided_at_s() > 80.0, "blind for longer than the hold limit")
        assert await one.ask(other) is grpc.StatusCode.UNAVAILABLE
        assert not fell(one, killed_at_s, least)


async def test_a_follower_that_never_saw_anything_says_unavailable_until_it_did() -> None:
    async with crew() as one:
        one.lease.holder, one.lease.renewed_at_s = "127.0.0.1:1", one.clock.now() + 5.0  # who is not there
        alone = await one.start("a")
        assert await one.ask(alone) is grpc.StatusCode.UNAVAILABLE
        assert alone.service.unready() == [f"first decision of {CHAT}"]
        assert await one.until_number(alone) >= 4
        await one.until(lambda: not alone.service.unready(), "ready")
