"""One job at a time for each target, the newest; nobody's trouble is another's."""

from __future__ import annotations

import asyncio

import structlog.testing

from autoscaler.core.records import ServiceId, TargetId
from autoscaler.kube.errors import Conflict, Forbidden, NotFound, Unreachable
from autoscaler.kube.writing.turns import OFF_S, Job, Turns
from tests.kube.writing.world import Settable, quiet, running

A, B = TargetId(ServiceId("n", "a")), TargetId(ServiceId("other", "b"))


def raising(error: Exception) -> Job:
    async def job() -> None:
        raise error

    return job


async def test_while_one_is_done_only_the_newest_of_those_that_wait_is_kept() -> None:
    turns = Turns("test", Settable())
    gate = asyncio.Event()
    done: list[int] = []
    inside = most = 0

    def job(number: int) -> Job:
        async def work() -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await gate.wait()
            done.append(number)
            inside -= 1

        return work

    async with running(turns):
        for number in range(5):
            turns.offer(A, job(number))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        gate.set()
        await quiet(turns)
    assert (done, most) == ([0, 4], 1)


async def test_a_surprise_in_one_job_ends_neither_its_target_nor_the_others() -> None:
    turns = Turns("test", Settable())
    done: list[TargetId] = []

    def telling(target: TargetId) -> Job:
        async def work() -> None:
            done.append(target)

        return work

    async with running(turns):
        turns.offer(A, raising(KeyError("spec")))
        await quiet(turns)
        assert "KeyError" in str(turns.problem)
        turns.offer(A, telling(A))
        turns.offer(B, telling(B))
        await quiet(turns)
    assert set(done) == {A, B}
    assert (turns.problem, turns.failed) == (None, 1)


async def test_a_missing_rule_in_one_namespace_turns_off_that_one_only_and_is_said_once() -> None:
    clock = Settable()
    turns = Turns("test", clock)
    with structlog.testing.capture_logs() as logs:
        async with running(turns):
            for _ in range(3):
                for target in (A, B):
                    turns.offer(target, raising(Forbidden("the rule") if target is A else Unreachable("no answer")))
                await quiet(turns)
            assert turns.failed == 1 + 3
            clock.ahead_s += OFF_S + 1
            turns.offer(A, raising(Forbidden("the rule")))
            await quiet(turns)
    assert turns.failed == 5
    assert [(one["namespace"], one["reason"]) for one in logs] == [("n", "the rule"), ("other", "no answer")]


async def test_what_others_wrote_first_or_deleted_is_no_failure() -> None:
    turns = Turns("test", Settable())
    with structlog.testing.capture_logs() as logs:
        async with running(turns):
            for error in (Conflict("first", 409), NotFound("gone", 404)):
                turns.offer(A, raising(error))
                await quiet(turns)
    assert (turns.failed, turns.conflicts, turns.problem, logs) == (0, 1, None, [])
