"""The API server on raw JSON: what is asked, and errors that say who is at fault."""

from __future__ import annotations

import asyncio

import pytest

from autoscaler.core.errors import ClusterError
from autoscaler.kube.client import KubeClient, Selection
from autoscaler.kube.connection import Connection
from autoscaler.kube.errors import ApiError, Conflict, Forbidden, Gone, MissingKind, NotFound, Unreachable
from autoscaler.kube.resources import CONFIG_MAPS, DEPLOYMENTS, LEASES, PODS, SCALED_OBJECTS
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.cluster import pod


async def test_an_object_is_created_read_replaced_and_deleted() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        made = await client.create(CONFIG_MAPS, "n", {"metadata": {"name": "c"}, "data": {"a": "1"}})
        assert (await client.get(CONFIG_MAPS, "n", "c"))["data"] == {"a": "1"}
        made["data"] = {"a": "2"}
        await client.replace(CONFIG_MAPS, "n", "c", made)
        assert api.get(CONFIG_MAPS, "n", "c")["data"] == {"a": "2"}
        await client.delete(CONFIG_MAPS, "n", "c")
        with pytest.raises(NotFound, match=r"configmaps n/c: there is no such object"):
            await client.get(CONFIG_MAPS, "n", "c")
    assert [write.asked.verb for write in api.writes] == ["create", "update", "delete"]


async def test_a_write_on_an_old_version_is_a_conflict() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        old = await client.create(LEASES, "n", {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}})
        await client.replace(LEASES, "n", "l", {**old, "spec": {"holderIdentity": "b"}})
        with pytest.raises(Conflict):
            await client.replace(LEASES, "n", "l", {**old, "spec": {"holderIdentity": "c"}})
        with pytest.raises(Conflict):
            await client.create(LEASES, "n", {"metadata": {"name": "l"}})
        assert api.get(LEASES, "n", "l")["spec"] == {"holderIdentity": "b"}


async def test_a_forbidden_call_names_the_rule_that_is_missing_and_where() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        api.forbid()
        with pytest.raises(Forbidden) as one:
            await client.get(DEPLOYMENTS, "n", "d", "scale")
        with pytest.raises(Forbidden) as every:
            await client.list_page(Selection(PODS), print)
    assert '{apiGroups: ["apps"], resources: ["deployments/scale"], verbs: ["get"]} (Role in n)' in str(one.value)
    assert '{apiGroups: [""], resources: ["pods"], verbs: ["list"]} (ClusterRole)' in str(every.value)


async def test_a_kind_that_is_not_installed_is_not_a_missing_object() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        with pytest.raises(MissingKind, match=r"keda\.sh/v1alpha1/scaledobjects; install its CRDs"):
            await client.list_page(Selection(SCALED_OBJECTS), print)
        with pytest.raises(MissingKind):
            await client.get(SCALED_OBJECTS, "n", "s")
        with pytest.raises(NotFound):
            await client.get(PODS, "n", "p")
        api.put(PODS, pod("p"))
        with pytest.raises(MissingKind, match="pods/scale"):
            await client.get(PODS, "n", "p", "scale")


async def test_a_list_comes_in_pages_and_an_expired_page_is_gone() -> None:
    seen: list[str] = []
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        for k in range(5):
            api.put(PODS, pod(f"p{k}"))
        api.put(PODS, pod("elsewhere", "m"))

        async def page(at: str) -> str:
            end = await client.list_page(
                Selection(PODS, "n"), lambda item: seen.append(item["metadata"]["name"]), limit=2, page=at
            )
            return end.next_page

        second = await page("")
        api.put(PODS, pod("p9"))  # after the list began: not part of it
        third = await page(second)
        assert await page(third) == ""
        assert seen == ["p0", "p1", "p2", "p3", "p4"]
        api.expire_history()
        with pytest.raises(Gone):
            await page(third)


async def test_a_busy_server_says_how_long_to_wait() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        api.fail(1, 429, retry_after_s=7)
        with pytest.raises(ApiError) as error:
            await client.get(PODS, "n", "p")
    assert (error.value.status, error.value.retry_after_s) == (429, 7.0)


async def test_a_server_that_is_away_or_breaks_off_is_unreachable() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        api.cut("scaler")
        with pytest.raises(Unreachable, match="cannot be reached"):
            await client.get(PODS, "n", "p")
        await api.stop()
        with pytest.raises(Unreachable, match="cannot be reached"):
            await client.get(PODS, "n", "p")


async def test_an_answer_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoscaler.kube.client.TIMEOUT_S", 0.05)
    monkeypatch.setattr("autoscaler.kube.client.LIST_TIMEOUT_S", 0.05)
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        api.stalled = True
        with pytest.raises(Unreachable, match="no answer"):
            await client.list_page(Selection(PODS), print)
        api.stalled = False


async def test_a_watch_brings_what_happens_after_its_version_and_ends_with_a_bookmark() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        before = api.put(PODS, pod("old"))["metadata"]["resourceVersion"]
        api.put(PODS, pod("new"))
        async with client.watch(Selection(PODS), before, 1.0) as events:
            said = [(event["type"], event["object"]["metadata"].get("name")) async for event in events]
    assert said == [("ADDED", "new"), ("BOOKMARK", None)]


async def test_an_object_that_leaves_the_selection_reads_as_deleted() -> None:
    async with FakeKubeApi() as api, KubeClient(api.connection()) as client:
        version = api.put(PODS, pod("p", labels={"app": "a"}))["metadata"]["resourceVersion"]
        api.put(PODS, pod("q", labels={"app": "b"}))
        api.put(PODS, pod("p", labels={"app": "b"}))
        async with client.watch(Selection(PODS, labels="app=a"), version, 1.0) as events:
            said = [(event["type"], event["object"]["metadata"].get("name")) async for event in events]
    assert said == [("DELETED", "p"), ("BOOKMARK", None)]


async def test_a_refused_token_is_read_again_and_the_call_succeeds() -> None:
    tokens = iter(["first", "second"])

    async def load(configuration: object) -> None:
        configuration.host = api.url  # type: ignore[attr-defined]
        configuration.api_key["BearerToken"] = f"Bearer {next(tokens)}"  # type: ignore[attr-defined]

    async with FakeKubeApi() as api, KubeClient(Connection("test", load)) as client:
        api.put(PODS, pod("p"))
        api.tokens = {"second"}
        assert (await client.get(PODS, "n", "p"))["metadata"]["name"] == "p"
        api.tokens = {"third"}
        with pytest.raises(ClusterError, match="test: cannot be used"):
            await client.get(PODS, "n", "p")


async def test_of_many_calls_refused_at_once_only_one_reads_the_credentials_again() -> None:
    loaded = 0

    async def load(configuration: object) -> None:
        nonlocal loaded
        loaded += 1
        configuration.host = api.url  # type: ignore[attr-defined]
        configuration.api_key["BearerToken"] = f"Bearer {loaded}"  # type: ignore[attr-defined]

    async with FakeKubeApi() as api, KubeClient(Connection("test", load)) as client:
        api.put(PODS, pod("p"))
        api.tokens = {"2"}
        await asyncio.gather(*(client.get(PODS, "n", "p") for _ in range(10)))
    assert loaded == 2


async def test_we_say_who_we_are() -> None:
    agents: list[str] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        agents.extend(
            line.decode().strip()
            for line in (await reader.readuntil(b"\r\n\r\n")).splitlines()
            if line.lower().startswith(b"user-agent")
        )
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def load(configuration: object) -> None:
        configuration.host = f"http://127.0.0.1:{port}"  # type: ignore[attr-defined]

    async with server, KubeClient(Connection("test", load), "llm-autoscaler/1.2") as client:
        await client.get(PODS, "n", "p")
    assert agents == ["User-Agent: llm-autoscaler/1.2"]
