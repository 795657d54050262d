"""`serve --kube` on the real control plane: services without a targets file, the chart's own rights, one Lease."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autoscaler.core.records import Mode
from tests.chart.rendering import needs_helm
from tests.e2e.api import Object
from tests.e2e.manifests import POLL_S
from tests.e2e.replicas import Replicas
from tests.e2e.rights import install_rights
from tests.e2e.scaler import Serve
from tests.e2e.services import Headless
from tests.e2e.waiting import throughout, until
from tests.e2e.world import World, load

KIND = "horizontalpodautoscalers"
HOSTS = ("127.0.1.1", "127.0.1.2")
LOAD_S = 45.0
LEASE_S = 15.0  # client-go's


def _trigger(serve: Serve, address: str = "", **metadata: str) -> list[Object]:
    """The README's trigger with nothing in it but where we are."""
    said = {"scalerAddress": address or serve.address, **metadata}
    return [{"type": "external-push", "metricType": "AverageValue", "metadata": said}]


async def _settles(one: World, serve: Serve, chat: Replicas, above: int, since_s: float) -> bool:
    """Whether, after a while under load, the count is the number we ask for, above what was there, and all serve."""
    asked = await serve.asked(one.namespace, chat.name)
    return asked > above and asked == chat.count == chat.ready and one.clock.now() > since_s + LOAD_S


async def test_a_deployment_and_a_trigger_with_an_address_are_enough(one: World) -> None:
    """No targets file, no word on the model or the server: held on first sight, then N, and never zero."""
    chat = await one.deploy("chat", 2)
    queue, _ = await one.gateway("chat")  # it sends requests; we are not told of it
    serve = await one.serve(cluster=one.cluster())
    since_s = one.clock.now()
    await one.attach("chat", serve, initialCooldownPeriod=None, triggers=_trigger(serve), most=30)
    await until("KEDA and the HPA have read us", serve.was_read, 30)
    await throughout("a replica went on first sight", lambda: not chat.below(2, since_s), 10)
    async with load(queue, rps=5.0) as requests:
        began_s = one.clock.now()

        async def settled() -> bool:
            return await _settles(one, serve, chat, 2, began_s)

        await until("the count is what we ask for, and all serve", settled, LOAD_S + 120)
        under_load = chat.count
        seen = next(reversed(list(serve.decisions(one.namespace, "chat"))))
    assert await requests.finish(60) == len(requests.sent)
    one.note("2 at first; replicas for 5 req/s without a prior, and every count", [under_load, chat.counts()])
    # Pages of pods were read, at their addresses and the port of the template.
    assert seen.mode is Mode.NORMAL
    assert seen.estimates[0].arrivals_rps == pytest.approx(5.0, rel=0.5)
    assert under_load < 30, "the bound says nothing of us"
    assert min(chat.counts()) >= 1
    assert {step.by for step in chat.steps} <= {"kube-controller-manager"}


async def test_with_a_gateway_that_the_operator_names_a_deployment_that_was_found_goes_from_zero_to_n_and_back(
    one: World,
) -> None:
    """The operator's file says where the gateway is and nothing of any service."""
    queue, gateway = await one.gateway("chat")
    serve = await one.serve(wake_sources=[gateway], cluster=one.cluster())
    chat = await one.deploy("chat", 0)
    said = {"wakeSource": "gateway", "keepWarmSeconds": "5"}
    await one.attach("chat", serve, most=6, triggers=_trigger(serve, **said))
    await until("KEDA listens for pushes", lambda: serve.is_listened_to(1), 30)
    async with load(queue, rps=6.0) as requests:
        began_s = one.clock.now()
        await until("more than one replica", lambda: chat.count > 1, 90)
        one.note("first replica asked for, s after the first request", round(chat.steps[0].at_s - began_s, 2))
        assert (chat.steps[0].before, chat.steps[0].after, chat.steps[0].by) == (0, 1, "keda-operator")

        async def settled() -> bool:
            return await _settles(one, serve, chat, 1, began_s)

        await until("the count is what we ask for, and all serve", settled, LOAD_S + 90)
    assert await requests.finish(60) == len(requests.sent)
    await chat.until(0, 120)
    one.note("replicas for 6 req/s, and after", chat.counts())
    one.note("requests served", f"{len(requests.sent)} of {len(requests.sent)}")


async def test_an_idle_deployment_goes_to_zero_where_its_owner_says_that_nothing_wakes_it(one: World) -> None:
    """`wakeSource: none` is the word for that; without any word it stays."""
    serve = await one.serve(cluster=one.cluster())
    stays, goes = await one.deploy("stays", 1), await one.deploy("goes", 1)
    said = {"keepWarmSeconds": "5"}
    await one.attach("stays", serve, initialCooldownPeriod=None, triggers=_trigger(serve, **said))
    await one.attach("goes", serve, initialCooldownPeriod=None, triggers=_trigger(serve, **said, wakeSource="none"))
    await goes.until(0, 60)
    await throughout("the other went too", lambda: stays.count == 1, 2.0 * POLL_S)
    await serve.wake(one.namespace, "goes", 2, ttl_s=60)
    await goes.until(2, 60 + 3 * one.hpa_sync_s)
    assert stays.counts() == [1]


@needs_helm
async def test_with_the_charts_own_rights_all_is_read_and_without_one_of_them_scaling_goes_on(one: World) -> None:
    """The account, roles and bindings that helm renders, and a token of the TokenRequest API."""
    role, config = await install_rights(one, leaderElection={"enabled": True})
    serve = await one.serve(cluster=one.cluster(kubeconfig=config, whole=True, lease="llm-autoscaler"))
    chat = await one.deploy("chat", 1)
    await one.attach("chat", serve, triggers=_trigger(serve, wakeSource="none"))
    served = await _served(one)
    watched = await serve.watched()
    assert watched == {kind: kind in served for kind in watched}
    assert f"{KIND}.autoscaling" in watched
    await until("it has taken the Lease", lambda: _owner(one, serve), 30)
    await serve.wake(one.namespace, "chat", 3, ttl_s=300)
    await chat.until(3, 60 + 3 * one.hpa_sync_s)
    assert "orbidden" not in serve.log()
    one.note("kinds watched, kinds not served here", [sum(watched.values()), len(watched) - sum(watched.values())])

    # A rule goes while it runs: the watch that is open lives to its end, at most 60 s.
    rules = [rule for rule in role["rules"] if rule["resources"] != [KIND]]
    assert len(rules) == len(role["rules"]) - 1
    await one.api.apply({**role, "rules": rules})
    since_s = one.clock.now()
    await until("it is told", lambda: KIND in _off(serve), 100)
    one.note("a rule that goes is felt, s", round(one.clock.now() - since_s, 1))
    await serve.wake(one.namespace, "chat", 5, ttl_s=300)
    await chat.until(5, 60 + 3 * one.hpa_sync_s)
    await asyncio.sleep(20)  # it tries again meanwhile
    assert [text for text in _off(serve).splitlines() if KIND in text] == _off(serve).splitlines()
    assert len(_off(serve).splitlines()) == 1
    assert await serve.watched() == {kind: on and not kind.startswith(KIND) for kind, on in watched.items()}
    assert not chat.below(3, since_s)
    # And comes back.
    await one.api.apply(role)


@needs_helm
async def test_when_the_rule_for_the_lease_goes_while_it_runs_it_plans_alone_and_nothing_shrinks(one: World) -> None:
    """The chart's own Role for the Lease, emptied: 403 at the next renewal, and after a term without any owner."""
    _, config = await install_rights(one, leaderElection={"enabled": True})
    serve = await one.serve(cluster=one.cluster(kubeconfig=config, whole=True, lease="llm-autoscaler"))
    chat = await one.deploy("chat", 1)
    await one.attach("chat", serve, triggers=_trigger(serve, wakeSource="none"))
    await until("it has taken the Lease", lambda: _owner(one, serve), 30)
    await serve.wake(one.namespace, "chat", 3, ttl_s=600)
    await chat.until(3, 60 + 3 * one.hpa_sync_s)
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{one.namespace}/roles"
    (role,) = [item for item in (await one.api.get(roles))["items"] if item["metadata"]["name"].endswith("-lease")]
    await one.api.merge(f"{roles}/{role['metadata']['name']}", {"rules": []})
    since_s = one.clock.now()

    async def alone() -> bool:
        return "llm_autoscaler_plans_without_lease 1.0" in await serve.page()

    await until("it plans alone", alone, 60)
    one.note("the rule for the Lease goes, to planning without it, s", round(one.clock.now() - since_s, 1))
    await serve.wake(one.namespace, "chat", 5, ttl_s=600)
    await chat.until(5, 60 + 3 * one.hpa_sync_s)
    assert chat.counts() == [3, 5]
    assert len(serve.said("the lease cannot be used, tried again")) == 1


async def _served(one: World) -> set[str]:
    """Every kind that the API server has, as our metrics name them."""
    groups: list[Any] = (await one.api.get("/apis"))["groups"]
    found = {str(item["name"]) for item in (await one.api.get("/api/v1"))["resources"]}
    for group in groups:
        for version in group["versions"]:
            listed = (await one.api.get(f"/apis/{version['groupVersion']}"))["resources"]
            found |= {f"{item['name']}.{group['name']}" for item in listed}
    return found


def _off(serve: Serve) -> str:
    """Every line on something forbidden."""
    lines = serve.said("turned off, tried again now and then")
    return "\n".join(line["reason"] for line in lines if "orbidden" in line["reason"] or "403" in line["reason"])


async def test_the_owner_of_the_lease_is_killed_under_load_and_nothing_shrinks(one: World) -> None:
    """Two of ours behind a headless Service; nobody brings the dead one back, and its name still resolves."""
    queue, gateway = await one.gateway("chat")
    cluster = one.cluster(lease="llm-autoscaler")
    first = one.prepare(wake_sources=[gateway], host=HOSTS[0], cluster=cluster)
    second = one.prepare(wake_sources=[gateway], host=HOSTS[1], port=first.grpc, cluster=cluster)
    await asyncio.gather(first.start(), second.start())
    async with Headless("scaler.e2e.svc", first.grpc, list(HOSTS)) as headless:
        chat = await one.deploy("chat", 0)
        said = {"wakeSource": "gateway", "keepWarmSeconds": "5"}
        await one.attach("chat", first, most=3, triggers=_trigger(first, headless.address, **said))
        async with load(queue, rps=6.0) as requests:
            await chat.until(3, 150)
            await chat.until_ready(3, 60)

            async def both() -> bool:
                return all([await serve.calls("GetMetrics") > 0 for serve in (first, second)])

            await until("KEDA calls both", both, 60)
            owner = await _owner(one, first, second)
            other = second if owner is first else first
            assert await other.asked(one.namespace, "chat") == 3
            calls, since_s = await other.calls("GetMetrics"), one.clock.now()
            owner.kill()

            async def taken_over() -> bool:
                return await _owner(one, first, second) is other

            await until("the other owns", taken_over, 2.0 * LEASE_S)
            one.note("kill -9 of the owner to the next owner, s", round(one.clock.now() - since_s, 1))

            async def read_since() -> bool:
                return await other.calls("GetMetrics") >= calls + 4

            await until("the HPA reads the new owner", read_since, 60 + 4 * one.hpa_sync_s)
            await throughout("a replica went", lambda: not chat.below(3, since_s), 3 * one.hpa_sync_s)
            assert await other.asked(one.namespace, "chat") == 3
        assert not chat.below(3, since_s), chat.steps
        assert await requests.finish(60) == len(requests.sent)
        one.note("counts, requests served", [chat.counts(), len(requests.sent)])
        await chat.until(0, 120)
        await one.detach()


async def _owner(one: World, *ours: Serve) -> Serve:
    """Whose name stands in the Lease."""
    lease = await one.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{one.namespace}/leases/llm-autoscaler")
    holder = str(lease["spec"]["holderIdentity"])
    return next(serve for serve in ours if f"_{serve.advertised}_" in holder)
