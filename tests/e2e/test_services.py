"""How the real KEDA finds our replicas behind a Service: what high availability stands on."""

from __future__ import annotations

from tests.e2e.services import ClusterIp, Headless
from tests.e2e.waiting import until
from tests.e2e.world import World

HOSTS = ("127.0.1.1", "127.0.1.2")


async def test_behind_a_headless_service_keda_calls_every_replica_and_behind_a_cluster_ip_one(one: World) -> None:
    settings = [one.settings(name, minReplicas=2) for name in ("headless", "clusterip")]
    first = await one.serve(*settings, host=HOSTS[0])
    second = await one.serve(*settings, host=HOSTS[1], port=first.grpc)
    async with Headless("scaler.e2e.svc", first.grpc, list(HOSTS)) as headless, ClusterIp(first.grpc, HOSTS) as single:
        chat = await one.deploy("clusterip", 1)
        await one.attach("clusterip", first, address=single.address)
        await chat.until(2, 60 + 3 * one.hpa_sync_s)
        asked = [await serve.calls("GetMetrics") for serve in (first, second)]
        assert min(asked) == 0 < max(asked), "one connection, so one replica"
        chat = await one.deploy("headless", 1)
        await one.attach("headless", first, address=headless.address)
        await chat.until(2, 60 + 3 * one.hpa_sync_s)

        async def both() -> bool:
            return all([await serve.calls("GetMetrics") > 0 for serve in (first, second)])

        await until("both replicas were asked", both, 30 + 3 * one.hpa_sync_s)
        # Scaled objects leave before the names they are found by.
        await one.detach()
