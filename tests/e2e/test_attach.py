"""The moment a ScaledObject meets a Deployment that serves already."""

from __future__ import annotations

import pytest

from tests.e2e.waiting import throughout, until
from tests.e2e.world import World

KEEP_WARM_S = 20


@pytest.mark.parametrize("initial_cooldown_s", [None, 300], ids=["no initial cooldown", "the README's"])
async def test_attaching_to_a_serving_deployment_takes_no_replica_before_its_keep_warm_time(
    one: World, initial_cooldown_s: int | None
) -> None:
    """Idle, so that only our holding keeps it: an inactive answer takes it to zero at once, without a cooldown."""
    chat = await one.deploy("chat", 3)
    serve = await one.serve(one.settings("chat", keepWarmSeconds=KEEP_WARM_S))
    since_s = one.clock.now()
    await one.attach("chat", serve, initialCooldownPeriod=initial_cooldown_s)
    await until("KEDA and the HPA have read us", serve.was_read, 30)
    await throughout("a replica went before its time", lambda: not chat.below(3, since_s), KEEP_WARM_S / 2)
    if initial_cooldown_s is None:
        await chat.until(0, 90)
        one.note("idle and kept, s (keep-warm 20 s)", round(chat.steps[0].at_s - since_s, 1))


async def test_a_scaled_object_attached_before_our_service_runs_takes_no_replica_either(one: World) -> None:
    """KEDA finds nobody, then a service that knows nothing yet, then one that holds."""
    chat = await one.deploy("chat", 3)
    serve = one.prepare(one.settings("chat", keepWarmSeconds=KEEP_WARM_S))
    since_s = one.clock.now()
    await one.attach_without_waiting("chat", serve, initialCooldownPeriod=None)
    await throughout("a replica went while nobody answered", lambda: not chat.below(3, since_s), 15)
    await serve.start()
    since_ready_s = one.clock.now()
    await chat.until(0, KEEP_WARM_S + 90)
    watched_s = chat.steps[0].at_s - since_ready_s
    one.note("idle and kept, s after our first decision (keep-warm 20 s)", round(watched_s, 1))
    assert watched_s > KEEP_WARM_S - 5.0, "the first decision may be a period old when the service is seen to be ready"
