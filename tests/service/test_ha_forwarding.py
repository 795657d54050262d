"""What reaches a replica that does not plan: wishes, triggers' metadata, push streams; and TLS between replicas."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import aiohttp
import grpc
import pytest

from autoscaler.core.records import RoleSpec, ServiceSpec
from autoscaler.history.sqlite import SqliteStore
from autoscaler.scaler.server import GrpcSettings
from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc
from scaler_proto import replicas_pb2 as ours
from scaler_proto import replicas_pb2_grpc as ours_rpc
from tests.fakes.certificates import Authority
from tests.service.crew import CHAT, META, SPEC, Crew, One, crew


async def two(one: Crew) -> tuple[One, One]:
    """The owner and its follower, both answering."""
    for name in ("a", "b"):
        await one.until_number(await one.start(name))
    (owner,) = one.owners()
    return one.ones[owner], one.ones["b" if owner == "a" else "a"]


async def wake(one: One, replicas: int) -> tuple[int, str]:
    headers = {"Authorization": "Bearer secret"}
    url = f"http://127.0.0.1:{one.service.http_port}/v1/wake/default/chat"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"replicas": replicas, "ttl_s": 3600}, headers=headers) as answer,
    ):
        return answer.status, await answer.text()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("secret\n")
    return path


async def answers(one: Crew, who: One, count: float, metadata: dict[str, str] | None = None) -> None:
    async with asyncio.timeout(25):
        while await one.ask(who, metadata) != count:
            await one.clock.sleep(0.5)


async def test_a_wish_that_reaches_a_follower_counts_and_outlives_the_owner(token: Path) -> None:
    async with crew(rate_rps=0.5, token_file=token) as one:
        owner, follower = await two(one)
        status, _ = await wake(follower, 17)
        assert status == 202
        await answers(one, owner, 17.0)
        await answers(one, follower, 17.0)
        killed_at_s = one.clock.now()
        await owner.kill()
        await one.until(lambda: one.owners() == [follower.name], "the follower owns")
        await one.poll(40.0)
        assert one.counts(killed_at_s) == {17.0}


async def test_a_wish_without_an_owner_is_refused_so_that_its_caller_asks_again(token: Path) -> None:
    async with crew(token_file=token) as one:
        one.lease.holder, one.lease.renewed_at_s = "127.0.0.1:1", one.clock.now() + 1000.0  # who is not there
        alone = await one.start("a")
        status, text = await wake(alone, 3)
        assert status == 503
        assert "ask again" in text


async def test_a_wish_between_replicas_needs_the_token_of_the_wake_api(token: Path) -> None:
    async with crew(token_file=token) as one:
        owner = await one.start("a")
        await one.until_number(owner)
        request = ours.WakeRequest(
            service=ours.ServiceRef(namespace="default", name="chat"), wish=ours.Wish(replicas=30, ttl_s=300)
        )
        async with grpc.aio.insecure_channel(f"127.0.0.1:{owner.grpc}") as channel:
            for metadata in ((), (("authorization", "Bearer guessed"),)):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await ours_rpc.ReplicasStub(channel).Wake(request, metadata=metadata)
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_what_a_trigger_sets_counts_though_keda_shows_it_to_a_follower_only() -> None:
    async with crew() as one:
        owner, follower = await two(one)
        capped = {"maxReplicas": "6", "minReplicas": "6"}
        await answers(one, follower, 6.0, capped)
        assert owner.service.directory.spec(CHAT).roles[0].max_replicas == 6
        killed_at_s = one.clock.now()
        await owner.kill()
        await one.until(lambda: one.owners() == [follower.name], "the follower owns")
        for _ in range(20):
            assert await one.ask(follower, capped) == 6.0
            await one.clock.sleep(1.0)
        assert one.counts(killed_at_s) == {6.0}


async def test_what_a_trigger_sets_reaches_the_follower_that_plans_next() -> None:
    async with crew() as one:
        owner, follower = await two(one)
        await answers(one, owner, 6.0, {"maxReplicas": "6", "minReplicas": "6"})
        await one.until(lambda: follower.service.directory.spec(CHAT).roles[0].min_replicas == 6, "the follower knows")


async def test_a_push_stream_on_a_follower_says_true_at_the_owners_edge(token: Path) -> None:
    role = RoleSpec("", 0, 40, 4, "llama-3.1-70b/a100x4", 2048)
    spec = ServiceSpec(CHAT, (role,), zero_without_wake_source=True, keep_warm_s=5.0)
    async with crew(count=0, spec=spec, token_file=token) as one:
        owner, follower = await two(one)
        assert await one.ask(follower) == 0.0
        ref = pb.ScaledObjectRef(name="chat", namespace="default", scalerMetadata=META)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{follower.grpc}") as channel:
            stub: rpc.ExternalScalerAsyncStub = rpc.ExternalScalerStub(channel)  # type: ignore[assignment]
            call = stub.StreamIsActive(ref)
            said = asyncio.create_task(call.read())
            await one.clock.sleep(3.0)
            assert not said.done()
            assert (await wake(owner, 1))[0] == 202
            async with asyncio.timeout(20):
                assert isinstance(pushed := await said, pb.IsActiveResponse)
            assert pushed.result
            call.cancel()


async def test_replicas_speak_mutual_tls_when_tls_is_on(tmp_path: Path) -> None:
    ours_ca, stranger = Authority("ours"), Authority("stranger")
    certificate, key = ours_ca.issue("llm-autoscaler").write(tmp_path, "tls")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(ours_ca.pem)
    async with crew() as one:
        one.settings = GrpcSettings("127.0.0.1:0", certificate, key, ca, grace_s=0.2, peer_name="localhost")
        for name in ("a", "b"):
            await one.start(name)
        await one.until(lambda: all(not each.service.unready() for each in one.ones.values()), "both know")
        assert len(one.owners()) == 1
        assert {name for _, name in one.decisions} == set(one.owners())
        # Another's certificate opens nothing.
        pair = stranger.issue("stranger")
        credentials = grpc.ssl_channel_credentials(ours_ca.pem, pair.key, pair.certificate)
        async with grpc.aio.secure_channel(f"localhost:{one.ones['a'].grpc}", credentials) as channel:
            stub: ours_rpc.ReplicasAsyncStub = ours_rpc.ReplicasStub(channel)  # type: ignore[assignment]
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Hear(ours.Heard(), timeout=5)


async def test_without_a_client_authority_the_shared_certificate_itself_is_trusted(tmp_path: Path) -> None:
    certificate, key = Authority("ours").issue("llm-autoscaler").write(tmp_path, "tls")
    async with crew() as one:
        one.settings = GrpcSettings("127.0.0.1:0", certificate, key, grace_s=0.2, peer_name="localhost")
        for name in ("a", "b"):
            await one.start(name)
        await one.until(lambda: all(not each.service.unready() for each in one.ones.values()), "both know")
        assert {name for _, name in one.decisions} == set(one.owners())


async def test_a_followers_own_store_holds_the_owners_snapshot_for_its_next_start(tmp_path: Path) -> None:
    async with crew(spec=replace(SPEC, service=CHAT)) as one:
        store = SqliteStore(tmp_path / "state.sqlite", pytest.fail)
        store.open()
        await one.until_number(await one.start("a"))
        follower = await one.start("b", store=store)
        await one.until(lambda: follower.service._relay.log(CHAT) is not None, "it was told a snapshot")
        await follower.stop()
        saved = await store.load(CHAT)
        assert saved is not None
        assert saved.at_s > 1e9
        assert {name for _, name in one.decisions} == {"a"}
