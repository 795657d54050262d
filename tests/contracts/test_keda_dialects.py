"""The whole life of a ScaledObject in the dialects of three KEDA generations, over real gRPC.

2.16 and older know the int fields only, and no StreamMetricSpec; 2.20 reads the float fields; main first asks for
the spec as a stream and falls back when that is UNIMPLEMENTED. The old messages are built from a descriptor without the
newer fields, so that its parser meets them as unknown ones, as KEDA's does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from autoscaler.core.records import Mode
from scaler_proto import externalscaler_pb2 as pb
from tests.contracts.test_keda_conformance import Loop, ref, scaler

SERVICE = "/externalscaler.ExternalScaler/"
NEWER = {"MetricSpec": {"targetSizeFloat"}, "MetricValue": {"metricValueFloat"}}


def old_messages() -> dict[str, Any]:
    """The messages as KEDA 2.16 knows them."""
    file = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    file.ClearField("service")
    for message in file.message_type:
        kept = [field for field in message.field if field.name not in NEWER.get(message.name, set())]
        del message.field[:]
        message.field.extend(kept)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [f"{file.package}.{message.name}" for message in file.message_type]
    return {n.split(".")[-1]: message_factory.GetMessageClass(pool.FindMessageTypeByName(n)) for n in names}


class Keda:
    """One trigger's calls in one dialect."""

    def __init__(self, channel: grpc.aio.Channel, dialect: str) -> None:
        self._channel = channel
        self._dialect = dialect
        self.messages: dict[str, Any] = old_messages() if dialect == "2.16" else {n: getattr(pb, n) for n in _NAMES}

    def _ref(self) -> Any:
        return self.messages["ScaledObjectRef"].FromString(ref().SerializeToString())

    def _unary(self, method: str, answer: str) -> Callable[[Any], Any]:
        # KEDA sets no deadline of its own on these calls.
        return self._channel.unary_unary(  # type: ignore[no-any-return]
            SERVICE + method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=self.messages[answer].FromString,
        )

    async def target(self) -> float:
        """The metric's target, asked for as this generation does."""
        if self._dialect == "main":
            stream = self._channel.unary_stream(
                f"{SERVICE}StreamMetricSpec",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=self.messages["GetMetricSpecResponse"].FromString,
            )(self._ref())
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stream.read()
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        (spec,) = (await self._unary("GetMetricSpec", "GetMetricSpecResponse")(self._ref())).metricSpecs
        assert spec.metricName == "replicas"
        return float(spec.targetSize if self._dialect == "2.16" else spec.targetSizeFloat)

    async def value(self) -> float:
        """The metric's value."""
        request = self.messages["GetMetricsRequest"](scaledObjectRef=self._ref(), metricName="replicas")
        (value,) = (await self._unary("GetMetrics", "GetMetricsResponse")(request)).metricValues
        if self._dialect == "2.16":
            assert not hasattr(value, "metricValueFloat")
            return float(value.metricValue)
        return float(value.metricValueFloat)

    async def active(self) -> bool:
        """What a poll asks last."""
        return bool((await self._unary("IsActive", "IsActiveResponse")(self._ref())).result)

    def push(self) -> Any:
        """The push stream."""
        return self._channel.unary_stream(
            f"{SERVICE}StreamIsActive",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=self.messages["IsActiveResponse"].FromString,
        )(self._ref())


_NAMES = (
    "ScaledObjectRef",
    "GetMetricSpecResponse",
    "GetMetricsRequest",
    "GetMetricsResponse",
    "IsActiveResponse",
)


async def _pushed(stream: Any) -> bool:
    return bool((await asyncio.wait_for(stream.read(), 5)).result)


async def _decided(loop: Loop, keda: Keda, replicas: int, *, active: bool = True) -> tuple[float, bool]:
    loop.decide(replicas, active=active)
    return await keda.value() / await keda.target(), await keda.active()


@pytest.mark.parametrize("dialect", ["2.16", "2.20", "main"])
async def test_a_scaled_object_lives_through_unknown_zero_n_and_zero_in_every_dialect(dialect: str) -> None:
    async with scaler() as (loop, _, channel):
        keda = Keda(channel, dialect)
        assert await keda.target() == 1.0  # also while nothing is known: KEDA's fallback hangs off it
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await keda.active()
        assert unknown.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await _decided(loop, keda, 0, active=False) == (0.0, False)
        stream = keda.push()
        reading = asyncio.create_task(_pushed(stream))
        await asyncio.sleep(0.05)
        assert await _decided(loop, keda, 13) == (13.0, True)
        assert await reading
        loop.decide(13, mode=Mode.HOLD)
        assert (await keda.value(), await keda.active()) == (13.0, True)
        # Deleted and created again: the stream ends, and the next one is told the state on open.
        stream.cancel()
        assert await _pushed(keda.push())
        assert await _decided(loop, keda, 0, active=False) == (0.0, False)


async def test_the_pull_only_trigger_needs_no_stream() -> None:
    async with scaler() as (loop, _, channel):
        keda = Keda(channel, "2.20")
        assert await _decided(loop, keda, 0, active=False) == (0.0, False)
        assert await _decided(loop, keda, 2) == (2.0, True)
