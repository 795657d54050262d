"""Shadow: decided and published, never acted on."""

from __future__ import annotations

import json
from dataclasses import replace

import aiohttp
import grpc
import pytest

from autoscaler.core.records import Mode, ServiceMode
from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc
from tests.service.crew import CHAT, META, SPEC, crew


async def test_a_watched_service_is_decided_and_published_without_any_trigger() -> None:
    async with crew(spec=replace(SPEC, mode=ServiceMode.SHADOW)) as one:
        replica = await one.start("a")
        await one.until(lambda: not replica.service.unready(), "decided")
        decision = replica.service.board.decision(CHAT)
        assert decision is not None
        assert decision.mode in (Mode.SHADOW, Mode.HOLD)
        root = f"http://127.0.0.1:{replica.service.http_port}"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{root}/v1/services/default/chat") as answer:
                assert json.loads(await answer.text())["roles"][0]["replicas"] >= 1
            async with session.get(f"{root}/metrics") as answer:
                page = await answer.text()
        assert 'llm_autoscaler_asked_replicas{namespace="default",role="",service="chat"}' in page


async def test_a_trigger_that_names_a_watched_service_is_refused_with_the_reason_and_changes_nothing() -> None:
    async with crew(spec=replace(SPEC, mode=ServiceMode.SHADOW)) as one:
        replica = await one.start("a")
        await one.until(lambda: not replica.service.unready(), "decided")
        ref = pb.ScaledObjectRef(name="chat", namespace="default", scalerMetadata={**META, "minReplicas": "9"})
        async with grpc.aio.insecure_channel(f"127.0.0.1:{replica.grpc}") as channel:
            stub: rpc.ExternalScalerAsyncStub = rpc.ExternalScalerStub(channel)  # type: ignore[assignment]
            spec = await stub.GetMetricSpec(ref)
            assert spec.metricSpecs[0].metricName == "replicas"  # or KEDA up to 2.19 leaves the HPA without metrics
            for call in (
                stub.GetMetrics(pb.GetMetricsRequest(scaledObjectRef=ref, metricName="replicas")),
                stub.IsActive(ref),
                stub.StreamIsActive(ref).read(),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
                assert "shadow mode" in str(caught.value.details())
        assert replica.service.directory.spec(CHAT).roles[0].min_replicas == 1
