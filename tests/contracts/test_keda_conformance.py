"""What KEDA may rely on, over real gRPC on loopback."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import pytest

from autoscaler.clock import LoopClock
from autoscaler.config.records import ListKind, ReplicaList, ServiceSettings, TargetSettings
from autoscaler.control.board import Board
from autoscaler.control.directory import Directory
from autoscaler.core.records import (
    Decision,
    Mode,
    Observation,
    Reason,
    RoleDecision,
    RoleObservation,
    ServiceId,
    ServiceSpec,
)
from autoscaler.scaler.server import GrpcSettings, ScalerServer
from autoscaler.scaler.servicer import Silent
from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc

CHAT = ServiceId("default", "chat")
SPEC = ServiceSpec(CHAT)
META = {"scalerAddress": "llm-autoscaler:6000"}


class Loop:
    """A scaler with a board that the test writes on."""

    def __init__(self) -> None:
        self.board = Board()
        settings = ServiceSettings(SPEC, (TargetSettings("", ReplicaList(ListKind.STATIC)),))
        self.clock = LoopClock()
        self.server = ScalerServer(
            self.board,
            Directory([settings]),
            self.clock,
            GrpcSettings("127.0.0.1:0", grace_s=2.0),
            Silent(),
            random.Random(1),
        )

    def decide(self, replicas: int, *, active: bool = True, mode: Mode = Mode.NORMAL) -> None:
        decision = Decision(
            CHAT, self.clock.now(), mode, active, (RoleDecision("", replicas),), (Reason("why", "the list is gone"),)
        )
        self.board.publish(Observation(SPEC, (RoleObservation("", ()),)), decision, 0.0)


@asynccontextmanager
async def scaler() -> AsyncIterator[tuple[Loop, rpc.ExternalScalerAsyncStub, grpc.aio.Channel]]:
    loop = Loop()
    port = await loop.server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield loop, rpc.ExternalScalerStub(channel), channel
    await loop.server.stop()


def ref(metadata: Mapping[str, str] = META, name: str = "chat", namespace: str = "default") -> pb.ScaledObjectRef:
    return pb.ScaledObjectRef(name=name, namespace=namespace, scalerMetadata=dict(metadata))


async def metrics(stub: rpc.ExternalScalerAsyncStub, one: pb.ScaledObjectRef | None = None) -> pb.MetricValue:
    request = pb.GetMetricsRequest(scaledObjectRef=one or ref(), metricName="replicas")
    return (await stub.GetMetrics(request)).metricValues[0]


async def refused(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return caught.value


async def test_the_metric_spec_is_one_constant_whatever_the_metadata() -> None:
    async with scaler() as (_, stub, _c):
        for one in (ref(), ref({}), ref({"ttftSeconds": "banana"}), ref(name="nobody"), ref(namespace="elsewhere")):
            spec = (await stub.GetMetricSpec(one)).metricSpecs
            assert [(m.metricName, m.targetSize, m.targetSizeFloat) for m in spec] == [("replicas", 1, 1.0)]


async def test_the_count_stands_in_the_float_field_and_in_the_int_field_of_old_keda() -> None:
    async with scaler() as (loop, stub, _):
        loop.decide(7)
        value = await metrics(stub)
        assert (value.metricValue, value.metricValueFloat) == (7, 7.0)
        assert (await stub.IsActive(ref())).result


async def test_an_active_target_is_never_answered_with_zero() -> None:
    async with scaler() as (loop, stub, _):
        loop.decide(0, active=True)
        assert (await metrics(stub)).metricValueFloat == 1.0


async def test_zero_comes_only_with_a_confident_inactive() -> None:
    async with scaler() as (loop, stub, _):
        loop.decide(0, active=False)
        assert (await metrics(stub)).metricValueFloat == 0.0
        assert not (await stub.IsActive(ref())).result


async def test_unknown_is_unavailable_while_the_spec_still_succeeds() -> None:
    async with scaler() as (loop, stub, _):
        for known in (False, True):
            if known:
                loop.decide(3, mode=Mode.UNKNOWN)
            assert (await refused(stub.IsActive(ref()))).code() is grpc.StatusCode.UNAVAILABLE
            error = await refused(metrics(stub))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert (await stub.GetMetricSpec(ref())).metricSpecs
        assert "the list is gone" in str(error.details())


async def test_a_hold_is_active_with_its_number() -> None:
    async with scaler() as (loop, stub, _):
        loop.decide(4, mode=Mode.HOLD)
        assert (await stub.IsActive(ref())).result
        assert (await metrics(stub)).metricValueFloat == 4.0


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (ref({}), "scalerAddress: found nothing"),
        (ref({**META, "target": "elsewhere/chat"}), "namespace, 'default'"),
        (ref(name="chatt"), "did you mean 'chat'"),
        (ref({**META, "ttftSeconds": "5s"}), "ttftSeconds: found '5s', expected a number"),
        (ref({**META, "ttftSeconds": "nan"}), "ttftSeconds"),
        (ref({**META, "maxReplicas": "1e999"}), "maxReplicas"),
        (ref({**META, "mode": "shadow"}), "shadow trigger"),
        (ref({**META, "urls": "http://evil"}), "operator's targets file"),
        (ref({**META, "minReplicas": "9", "maxReplicas": "2"}), "at most maxReplicas"),
        (ref({**META, "role": "decode"}), "only one"),
    ],
)
async def test_a_bad_trigger_is_told_its_key_and_what_was_expected(one: pb.ScaledObjectRef, words: str) -> None:
    async with scaler() as (loop, stub, _):
        loop.decide(3)
        for call in (stub.IsActive(one), metrics(stub, one)):
            error = await refused(call)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert words in str(error.details())
        assert (await metrics(stub)).metricValueFloat == 3.0


async def test_an_unknown_metric_name_is_refused_and_case_does_not_matter() -> None:
    async with scaler() as (loop, stub, _):
        loop.decide(3)
        wrong = pb.GetMetricsRequest(scaledObjectRef=ref(), metricName="queue")
        error = await refused(stub.GetMetrics(wrong))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "'replicas'" in str(error.details())
        shouted = pb.GetMetricsRequest(scaledObjectRef=ref(), metricName="REPLICAS")
        assert (await stub.GetMetrics(shouted)).metricValues[0].metricValueFloat == 3.0


async def test_metadata_lies_over_the_file_until_it_changes() -> None:
    loop = Loop()
    directory = Directory([ServiceSettings(SPEC, ())])
    directory.resolve("default", "chat", {**META, "ttftSeconds": "1.5"})
    assert directory.spec(CHAT).objective.ttft_s == 1.5
    directory.resolve("default", "chat", META)
    assert directory.spec(CHAT) == replace(SPEC)
    assert loop.board.decision(CHAT) is None


async def test_a_stream_says_true_on_open_and_never_false_and_ends_with_ok() -> None:
    async with scaler() as (loop, stub, _):
        loop.decide(2)
        call = stub.StreamIsActive(ref())
        assert (await asyncio.wait_for(call.read(), 5)).result
        loop.decide(0, active=False)
        stop = asyncio.create_task(loop.server.stop())
        assert await asyncio.wait_for(call.read(), 5) is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        await stop


async def test_two_thousand_streams_opened_at_once_on_one_connection_all_see_the_edge() -> None:
    async with scaler() as (loop, stub, _):
        loop.decide(0, active=False)
        calls = [stub.StreamIsActive(ref()) for _ in range(2000)]
        reads = [asyncio.ensure_future(call.read()) for call in calls]
        await asyncio.wait_for(stub.IsActive(ref()), 10)
        # The edge may come before the last streams have opened: they then say it on open.
        loop.decide(1)
        messages = await asyncio.wait_for(asyncio.gather(*reads), 20)
        assert all(message.result for message in messages)
        for call in calls:
            call.cancel()


async def test_stream_metric_spec_is_unimplemented_which_keda_accepts() -> None:
    async with scaler() as (_, stub, _c):
        call = stub.StreamMetricSpec(ref())
        error = await refused(call.read())
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_keda_2_16_reads_the_int_fields_of_an_old_proto() -> None:
    async with scaler() as (loop, _, channel):
        loop.decide(5)
        # An old client knows fields 1 and 2 only; unknown fields are skipped by its parser.
        raw = channel.unary_unary("/externalscaler.ExternalScaler/GetMetrics")
        request = pb.GetMetricsRequest(scaledObjectRef=ref(), metricName="replicas").SerializeToString()
        answer = await raw(request)
        name, value = b"\x0a\x08replicas", b"\x10\x05"
        assert name + value in answer
