"""Two of our replicas with one Lease, found by KEDA behind a headless Service and behind a ClusterIP at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from autoscaler.kube.lease import LeaseTerms
from tests.e2e.api import Object
from tests.e2e.cable import Cable
from tests.e2e.processes import free_port
from tests.e2e.replicas import Replicas
from tests.e2e.scaler import Serve
from tests.e2e.services import ClusterIp, Headless
from tests.e2e.waiting import until
from tests.e2e.world import World

HOSTS = ("127.0.1.1", "127.0.1.2")
LEASE = "llm-autoscaler"
TERM_S = LeaseTerms().lease_s
NAMES = ("headless", "clusterip")  # Deployments, after the Service that their trigger names


@dataclass(slots=True)
class Two:
    """Both, the cables between them and to the API server, and a Deployment for each kind of Service."""

    one: World
    both: tuple[Serve, Serve]
    to_api: tuple[Cable, Cable]
    to_peer: tuple[Cable, Cable]  # to the first, to the second
    kept: dict[str, Replicas] = field(default_factory=dict)

    def apart(self, serve: Serve) -> tuple[Cable, ...]:
        """Every cable of a replica but KEDA's and those to model servers."""
        return (self.to_api[self.both.index(serve)], *self.to_peer)

    async def owner_and_other(self) -> tuple[Serve, Serve]:
        """Whose name stands in the Lease, and the other."""
        lease = await self.one.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{self.one.namespace}/leases/{LEASE}")
        holder = str(lease["spec"]["holderIdentity"])
        first, second = self.both
        return (first, second) if f"_{first.advertised}_" in holder else (second, first)

    async def taken_over(self, by: Serve, since_s: float) -> float:
        """Waits until a replica's name stands in the Lease, at most one term; gives how long that took."""

        async def owns() -> bool:
            return (await self.owner_and_other())[0] is by

        await until("the other owns", owns, since_s + TERM_S - self.one.clock.now())
        return round(self.one.clock.now() - since_s, 1)

    async def ask(self, by: Serve, replicas: int, *names: str) -> None:
        """A wish, given to one replica, which passes it on if it does not plan."""
        for name in names or NAMES:
            await until("a wish is taken", lambda name=name: self._wish(by, name, replicas), 30)  # type: ignore[misc]

    async def _wish(self, by: Serve, name: str, replicas: int) -> bool:
        try:
            await by.wake(self.one.namespace, name, replicas, ttl_s=3600)
        except AssertionError:  # 503 while nobody owns: ask again in a second
            return False
        return True

    async def land(self, replicas: int, *names: str) -> float:
        """Waits until the counts are those asked for; gives how long the last took."""
        since_s = self.one.clock.now()
        for name in names or NAMES:
            await self.kept[name].until(replicas, 60 + 4 * self.one.hpa_sync_s)
        return round(self.one.clock.now() - since_s, 1)

    def counts(self) -> dict[str, list[int]]:
        """Every count there was."""
        return {name: kept.counts() for name, kept in self.kept.items()}

    def below(self, least: int) -> bool:
        """Whether a count is below."""
        return any(kept.count < least for kept in self.kept.values())


@asynccontextmanager
async def two(one: World, count: int, wake_sources: list[Object]) -> AsyncIterator[Two]:
    """Both ready, both Deployments at `count`, and KEDA's calls have reached both."""
    async with AsyncExitStack() as stack:
        port = free_port(HOSTS[0])
        to_api = [await stack.enter_async_context(Cable("127.0.0.1", one.plane.port)) for _ in HOSTS]
        to_peer = [await stack.enter_async_context(Cable(host, port)) for host in HOSTS]
        both = [
            one.prepare(
                wake_sources=wake_sources,
                host=HOSTS[i],
                port=port,
                cluster=one.cluster(
                    kubeconfig=one.plane.write_kubeconfig(
                        f"{one.namespace}/{i}", one.plane.admin.token, f"https://{to_api[i].address}"
                    ),
                    lease=LEASE,
                    advertise=to_peer[i].address,
                ),
            )
            for i in range(2)
        ]
        await asyncio.gather(*(serve.start() for serve in both))
        ours = Two(one, (both[0], both[1]), (to_api[0], to_api[1]), (to_peer[0], to_peer[1]))
        await until("one of them has taken the Lease", ours.owner_and_other, 30)
        # The owner comes first, so that KEDA's one connection through the ClusterIP is to the one that will fail.
        hosts = [serve.host for serve in await ours.owner_and_other()]
        headless = await stack.enter_async_context(Headless("scaler.e2e.svc", port, hosts))
        single = await stack.enter_async_context(ClusterIp(port, hosts))
        try:
            for name, address in zip(NAMES, (headless.address, single.address), strict=True):
                ours.kept[name] = await one.deploy(name, 1)
                said = {"scalerAddress": address, **({"wakeSource": "gateway"} if wake_sources else {})}
                trigger = {"type": "external-push", "metricType": "AverageValue", "metadata": said}
                await one.attach(name, both[0], triggers=[trigger])
            await ours.ask(both[0], count)
            await ours.land(count)
            for kept in ours.kept.values():
                await kept.until_ready(count, 60)

            async def called() -> bool:
                return all([await serve.calls("GetMetrics") > 0 for serve in both])

            await until("KEDA calls both", called, 30 + 4 * one.hpa_sync_s)
            assert [serve.host for serve in await ours.owner_and_other()] == hosts
            yield ours
        finally:
            for cable in (*to_api, *to_peer):
                cable.mend()
            for serve in both:
                serve.thaw() if serve.running else None
            await one.detach()
