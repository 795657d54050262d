"""What KEDA and the HPA do to one ScaledObject, over real gRPC, by their own rules.

The calls are made here (poll: GetMetricSpec, GetMetrics, IsActive; push stream; the HPA's read); what KEDA and the HPA
make of the answers is `simulation.hpa`, the same arithmetic that the simulator runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import grpc

from autoscaler.ports import Clock
from autoscaler.simulation import hpa
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
    """Who calls, and what its spec and the cluster's HPA say."""

    namespace: str
    name: str
    metadata: tuple[tuple[str, str], ...]
    params: hpa.KedaParams


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
        self._params = scaled.params
        self._target = target
        self._clock = clock
        self._on_step = on_step
        self._state = hpa.new_keda(scaled.params, target.spec_replicas, clock.now())
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

    async def _push(self, stub: rpc.ExternalScalerAsyncStub) -> None:
        backoff_s = 2.0
        while True:
            try:
                async for message in stub.StreamIsActive(self._ref):
                    if message.result:
                        self._scale(hpa.push(self._params, self._state, self._clock.now()), "push")
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
            active, known = False, True
            try:
                _, _, active = await self._value(stub)
            except grpc.aio.AioRpcError:
                known = False
            self._scale(hpa.poll(self._params, self._state, self._clock.now(), active, known), "poll")
            await self._clock.sleep(self._params.polling_interval_s)

    async def _hpa(self, stub: rpc.ExternalScalerAsyncStub) -> None:
        while True:
            await self._clock.sleep(self._params.sync_s)
            if self._target.spec_replicas == 0:
                continue
            value, params, known = 0.0, self._params, True
            try:
                value, target, _ = await self._value(stub)
                params = params._replace(target=target)
            except grpc.aio.AioRpcError:
                known = False
            status = self._target.status_replicas()
            self._scale(hpa.sync(params, self._state, self._clock.now(), status, value, known), "hpa")
