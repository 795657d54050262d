"""What KEDA and the HPA do to one ScaledObject, over real gRPC, by their own rules.

KEDA: a poll loop (GetMetricSpec, GetMetrics, IsActive), a push stream that wakes from zero at once, 0 <-> 1 and the
cooldown. HPA: every 15 s, ceil(value / target) unless within tolerance, one step as the shipped `behavior` allows.
Errors hold.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import grpc

from autoscaler.ports import Clock
from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc


class Scalable(Protocol):
    """A `/scale` subresource."""

    spec_replicas: int

    def status_replicas(self) -> int:
        """Replicas that exist."""
        ...

    def scale_to(self, count: int) -> None:
        """Set spec.replicas."""
        ...


@dataclass(frozen=True, slots=True)
class ScaledObject:
    """What its spec says."""

    namespace: str
    name: str
    metadata: tuple[tuple[str, str], ...]
    min_replicas: int = 0
    max_replicas: int = 12
    polling_interval_s: float = 15.0
    cooldown_s: float = 30.0
    tolerance: float = 0.0
    hpa_sync_s: float = 15.0


def hpa_desired(value: float, target: float, status: int, spec: int, tolerance: float) -> int:
    """The HPA's count for an AverageValue metric: kept within tolerance, else ceil(value / target)."""
    if status > 0 and abs(value / (target * status) - 1.0) <= tolerance:
        return spec
    return math.ceil(value / target)


class KedaCaller:
    """One ScaledObject's poll loop, push stream and HPA."""

    def __init__(
        self,
        address: str,
        scaled: ScaledObject,
        target: Scalable,
        clock: Clock,
        on_step: Callable[[int, int, str], None],
    ) -> None:
        self._address = address
        self._scaled = scaled
        self._target = target
        self._clock = clock
        self._on_step = on_step
        self._last_active_s = clock.now()
        self._ref = pb.ScaledObjectRef(
            name=scaled.name, namespace=scaled.namespace, scalerMetadata=dict(scaled.metadata)
        )

    async def run(self) -> None:
        """Call for ever."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            # The generated class serves both kinds of channel; its stubs have a name for the asyncio one.
            stub: rpc.ExternalScalerAsyncStub = rpc.ExternalScalerStub(channel)  # type: ignore[assignment]
            async with asyncio.TaskGroup() as group:
                group.create_task(self._push(stub))
                group.create_task(self._poll(stub))
                group.create_task(self._hpa(stub))

    def _scale(self, count: int, by: str) -> None:
        before = self._target.spec_replicas
        if count != before:
            self._on_step(before, count, by)
            self._target.scale_to(count)

    def _activate(self, by: str) -> None:
        self._last_active_s = self._clock.now()
        if self._target.spec_replicas == 0:
            self._scale(max(1, self._scaled.min_replicas), by)

    async def _push(self, stub: rpc.ExternalScalerAsyncStub) -> None:
        backoff_s = 2.0
        while True:
            try:
                async for message in stub.StreamIsActive(self._ref):
                    if message.result:
                        self._activate("push")
                backoff_s = 2.0
            except grpc.aio.AioRpcError:
                backoff_s = min(60.0, backoff_s * 2)
            await self._clock.sleep(backoff_s)

    async def _value(self, stub: rpc.ExternalScalerAsyncStub) -> tuple[float, float, bool]:
        """(value, target, active), as one poll asks for them."""
        spec = (await stub.GetMetricSpec(self._ref)).metricSpecs[0]
        request = pb.GetMetricsRequest(scaledObjectRef=self._ref, metricName=spec.metricName)
        metrics = await stub.GetMetrics(request)
        active = (await stub.IsActive(self._ref)).result
        return sum(v.metricValueFloat or v.metricValue for v in metrics.metricValues), spec.targetSizeFloat, active

    async def _poll(self, stub: rpc.ExternalScalerAsyncStub) -> None:
        while True:
            try:
                _, _, active = await self._value(stub)
                now = self._clock.now()
                if active:
                    self._activate("poll")
                elif (
                    self._target.spec_replicas > 0
                    and self._scaled.min_replicas == 0
                    and now - self._last_active_s >= self._scaled.cooldown_s
                ):
                    self._scale(0, "poll")
            except grpc.aio.AioRpcError:
                pass  # an error holds; fallback is not modelled
            await self._clock.sleep(self._scaled.polling_interval_s)

    async def _hpa(self, stub: rpc.ExternalScalerAsyncStub) -> None:
        while True:
            await self._clock.sleep(self._scaled.hpa_sync_s)
            if self._target.spec_replicas == 0:
                continue
            try:
                value, target, _ = await self._value(stub)
            except grpc.aio.AioRpcError:
                continue
            spec = self._target.spec_replicas
            if spec == 0:
                continue
            wanted = hpa_desired(value, target, self._target.status_replicas(), spec, self._scaled.tolerance)
            self._scale(min(self._scaled.max_replicas, max(1, self._scaled.min_replicas, wanted)), "hpa")
