"""Where the API server forbids the Lease a replica plans without it, and nowhere else."""

from __future__ import annotations

import asyncio
import random

from autoscaler.clock import LoopClock
from autoscaler.kube.client import KubeClient
from autoscaler.kube.elector import FORBIDDEN_RETRY_S, JITTER, LeaseElector
from autoscaler.kube.errors import Forbidden
from autoscaler.kube.lease import LeaseTerms
from autoscaler.kube.resources import LEASES
from tests.fakes.kube_api import FakeKubeApi
from tests.fakes.lease_network import LeaseStore
from tests.fakes.virtual_time import in_virtual_time
from tests.kube.cluster import FAST, until
from tests.kube.electors import Replica, owners

TERMS = LeaseTerms()


def test_where_the_lease_is_forbidden_a_replica_plans_alone_after_a_term_and_stops_when_another_has_it() -> None:
    async def story() -> None:
        store = LeaseStore()
        replica, other = Replica("a", store), Replica("b", store)
        replica.link.forbidden = True
        replica.start()
        await asyncio.sleep(14.9)
        assert not replica.owns
        await asyncio.sleep(2.6)
        assert replica.owns
        assert replica.elector.is_alone
        await asyncio.sleep(200.0)
        assert replica.owns, "each 403 prolongs it"
        other.start()
        await asyncio.sleep(5.0)
        assert other.owns
        replica.link.forbidden = False
        await asyncio.sleep(36.1)  # its next try
        assert owners([replica, other]) == ["b"]
        assert not replica.elector.is_alone
        for one in (replica, other):
            await one.stop()

    in_virtual_time(story())


def test_where_the_lease_cannot_be_reached_nobody_plans_however_long() -> None:
    """Others may reach it: only the API server's own word that the Lease is forbidden lets a replica plan without."""

    async def story() -> None:
        replica = Replica("a", LeaseStore())
        replica.link.cut = True
        replica.start()
        for _ in range(600):
            await asyncio.sleep(1.0)
            assert not replica.owns
        await replica.stop()

    in_virtual_time(story())


def test_a_replica_that_was_forbidden_the_lease_and_is_then_cut_off_plans_alone_for_a_retry_and_a_deadline() -> None:
    async def story() -> None:
        replica = Replica("a", LeaseStore())
        replica.link.forbidden = True
        replica.start()
        await asyncio.sleep(30.0)
        assert replica.owns
        replica.link.cut = True
        await asyncio.sleep(JITTER * FORBIDDEN_RETRY_S + TERMS.renew_deadline_s)
        assert not replica.owns
        await replica.stop()

    in_virtual_time(story())


def test_where_the_lease_is_forbidden_a_replica_that_hears_an_owner_goes_on_following_it() -> None:
    async def story() -> None:
        replica, hears = Replica("a", LeaseStore()), True
        replica.elector._heard_s = lambda: replica.elector._clock.now() if hears else heard_s
        heard_s = 0.0
        replica.link.forbidden = True
        replica.start()
        for _ in range(300):
            await asyncio.sleep(1.0)
            assert not replica.owns
        hears, heard_s = False, replica.elector._clock.now()
        await asyncio.sleep(TERMS.lease_s - 0.1)
        assert not replica.owns
        await asyncio.sleep(JITTER * FORBIDDEN_RETRY_S + 0.2)
        assert replica.owns
        await replica.stop()

    in_virtual_time(story())


async def test_without_the_rule_nobody_owns_for_a_term_and_the_problem_names_it() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        denial = api.forbid("get", LEASES)
        elector = LeaseElector(client, "n", "l", "a", LoopClock(FAST), rng=random.Random(1))
        task = asyncio.create_task(elector.run())
        await until(lambda: isinstance(elector.problem, Forbidden))  # the first try of a process may take too long
        assert 'resources: ["leases"], verbs: ["get"]' in str(elector.problem)
        assert not elector.is_owner
        api.permit(denial)
        await until(lambda: elector.is_owner)
        assert elector.problem is None
        task.cancel()
        await asyncio.wait([task])
