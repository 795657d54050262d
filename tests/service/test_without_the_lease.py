"""`--lease` where the API server forbids it: a rule that is missing turns the election off, and never scaling."""

from __future__ import annotations

import grpc
from structlog.testing import capture_logs

from autoscaler.config.server import WriterSettings
from autoscaler.core.records import Wake
from autoscaler.kube.resources import EVENTS, LEASES
from tests.service.world import CHAT, Replica, world

PLANS_ALONE = "llm_autoscaler_plans_without_lease 1.0"
PROBLEM = "llm_autoscaler_lease_problem 1.0"


def asked(one: Replica) -> int:
    decision = one.service.board.decision(CHAT)
    return decision.roles[0].replicas if decision is not None and decision.roles else -1


def page(one: Replica) -> str:
    return one.service.metrics.render().decode()


async def test_without_the_rule_for_leases_a_replica_plans_alone_after_a_term_and_says_so_once() -> None:
    async with world() as one:
        one.fill(4)
        denial = one.api.forbid("", LEASES)
        with capture_logs() as logs:
            ours = await one.start("a", lease=True)
            assert await one.ask(ours) is grpc.StatusCode.UNAVAILABLE
            assert await one.number(ours) >= 4
            await one.until(lambda: not ours.service.unready(), "ready")
            assert ours.election is not None
            assert ours.election.elector.is_alone
            await one.until(lambda: PLANS_ALONE in page(ours), "it is a metric")
            assert PROBLEM in page(ours)
            one.api.permit(denial)
            await one.until(lambda: PROBLEM not in page(ours), "the rule is there again")
            assert one.owners() == [ours]
            await one.until(lambda: PLANS_ALONE not in page(ours), "with the Lease")
        said = [log for log in logs if "lease cannot be used" in str(log["event"])]
        assert len([log for log in said if "coordination.k8s.io" in log["reason"]]) == 1
        (loud,) = [log for log in logs if "WITHOUT THE LEASE" in str(log["event"])]
        assert loud["log_level"] == "error"


async def test_a_rule_for_leases_that_goes_while_two_run_leaves_one_that_plans_and_no_answer_falls() -> None:
    """Who hears an owner goes on following it; when that one dies too, it plans."""
    async with world() as one:
        one.fill(4)
        first, second = await one.start("a", lease=True), await one.start("b", lease=True)
        for each in (first, second):
            await one.number(each)
        (owner,) = one.owners()
        other = second if owner is first else first
        await one.poll(owner, 15.0)
        least = min(value for _, value in one.answers[-10:] if isinstance(value, float))
        one.api.forbid("", LEASES)
        for each in (owner, other):
            seen = await one.poll(each, 20.0)
            assert all(isinstance(value, float) and value >= least for value in seen)
        assert one.owners() == [owner]
        await owner.kill(one.api)
        await one.until(lambda: one.owners() == [other], "the other plans alone")
        seen = await one.poll(other, 10.0)
        assert all(isinstance(value, float) and value >= least for value in seen)


async def test_a_replica_that_plans_without_the_lease_writes_nothing_and_with_it_again_it_writes() -> None:
    """Another may plan as well: two fast paths would write their two numbers in turn."""
    on = WriterSettings(fast_path=True, pod_deletion_cost=True, capacity_buffer=True, events=True, instance="pod-a")
    async with world(rate_rps=0.0) as one:
        one.fill(4)
        denial = one.api.forbid("", LEASES)
        ours = await one.start("a", lease=True, writers=on)
        await one.until(lambda: PLANS_ALONE in page(ours), "it plans alone")
        ours.service._wakes.add(CHAT, Wake(7, one.clock.now() + 3000.0))
        await one.until(lambda: asked(ours) == 7, "seven are asked for")
        await one.clock.sleep(30.0)
        assert [write for write in one.api.writes if write.asked.resource != LEASES] == []
        one.api.permit(denial)
        await one.until(lambda: PLANS_ALONE not in page(ours), "with the Lease")
        ours.service._wakes.add(CHAT, Wake(9, one.clock.now() + 3000.0))
        await one.until(lambda: any(write.asked.resource == EVENTS for write in one.api.writes), "told")
