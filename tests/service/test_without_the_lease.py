"""`--lease` where the API server forbids it: a rule that is missing turns the election off, and never scaling."""

from __future__ import annotations

import grpc
from structlog.testing import capture_logs

from autoscaler.kube.resources import LEASES
from tests.service.world import Replica, World, world

PLANS_ALONE = "llm_autoscaler_plans_without_lease 1.0"
PROBLEM = "llm_autoscaler_lease_problem 1.0"


def page(one: Replica) -> str:
    return one.service.metrics.render().decode()


def owners(one: World) -> list[Replica]:
    return [each for each in one.ours if each.alive and each.election is not None and each.election.is_owner()]


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
            assert owners(one) == [ours]
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
        (owner,) = owners(one)
        other = second if owner is first else first
        await one.poll(owner, 15.0)
        least = min(value for _, value in one.answers[-10:] if isinstance(value, float))
        one.api.forbid("", LEASES)
        for each in (owner, other):
            seen = await one.poll(each, 20.0)
            assert all(isinstance(value, float) and value >= least for value in seen)
        assert owners(one) == [owner]
        await owner.kill(one.api)
        await one.until(lambda: owners(one) == [other], "the other plans alone")
        seen = await one.poll(other, 10.0)
        assert all(isinstance(value, float) and value >= least for value in seen)
