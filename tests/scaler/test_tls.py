"""TLS and mTLS on the gRPC port, and certificates that change under a running server."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from autoscaler.clock import LoopClock
from autoscaler.control.board import Board
from autoscaler.control.directory import Directory
from autoscaler.core.errors import ConfigError
from autoscaler.scaler.server import GrpcSettings, ScalerServer
from autoscaler.scaler.servicer import Silent
from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc
from tests.fakes.certificates import Authority, Pair

REF = pb.ScaledObjectRef(name="chat", namespace="default", scalerMetadata={"scalerAddress": "x:1"})


@asynccontextmanager
async def serving(settings: GrpcSettings) -> AsyncIterator[int]:
    server = ScalerServer(Board(), Directory([]), LoopClock(), settings, Silent(), random.Random(1))
    port = await server.start()
    try:
        yield port
    finally:
        await server.stop()


def files(folder: Path, pair: Pair, client_ca: bytes | None = None) -> GrpcSettings:
    certificate, key = pair.write(folder, "server")
    ca = None
    if client_ca is not None:
        ca = folder / "clients.crt"
        ca.write_bytes(client_ca)
    return GrpcSettings("127.0.0.1:0", certificate, key, ca, grace_s=1.0)


async def spec(port: int, roots: bytes, pair: Pair | None = None) -> str:
    """The metric's name over a fresh connection; raises what grpc raises."""
    chain, key = (pair.certificate, pair.key) if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(roots, key, chain)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        stub: rpc.ExternalScalerAsyncStub = rpc.ExternalScalerStub(channel)  # type: ignore[assignment]
        return str((await stub.GetMetricSpec(REF, timeout=5)).metricSpecs[0].metricName)


async def test_a_caller_that_trusts_the_authority_is_served_and_another_is_not(tmp_path: Path) -> None:
    ours, other = Authority("ours"), Authority("other")
    async with serving(files(tmp_path, ours.issue("server"))) as port:
        assert await spec(port, ours.pem) == "replicas"
        with pytest.raises(grpc.aio.AioRpcError):
            await spec(port, other.pem)


async def test_with_a_client_authority_only_its_certificates_get_in(tmp_path: Path) -> None:
    ours, clients, strangers = Authority("ours"), Authority("clients"), Authority("strangers")
    async with serving(files(tmp_path, ours.issue("server"), clients.pem)) as port:
        assert await spec(port, ours.pem, clients.issue("keda")) == "replicas"
        for pair in (None, strangers.issue("keda")):
            with pytest.raises(grpc.aio.AioRpcError):
                await spec(port, ours.pem, pair)


async def test_a_rotated_certificate_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    before, after = Authority("before"), Authority("after")
    settings = files(tmp_path, before.issue("server"))
    async with serving(settings) as port:
        assert await spec(port, before.pem) == "replicas"
        after.issue("server").write(tmp_path, "server")
        assert await spec(port, after.pem) == "replicas"
        with pytest.raises(grpc.aio.AioRpcError):
            await spec(port, before.pem)


async def test_a_new_client_authority_counts_from_the_next_connection_on(tmp_path: Path) -> None:
    ours, first, second = Authority("ours"), Authority("first"), Authority("second")
    settings = files(tmp_path, ours.issue("server"), first.pem)
    async with serving(settings) as port:
        assert await spec(port, ours.pem, first.issue("keda")) == "replicas"
        assert settings.tls_client_ca is not None
        settings.tls_client_ca.write_bytes(second.pem)
        assert await spec(port, ours.pem, second.issue("keda")) == "replicas"


async def test_a_rotation_caught_half_way_keeps_the_former_certificate(tmp_path: Path) -> None:
    ours = Authority("ours")
    settings = files(tmp_path, ours.issue("server"))
    async with serving(settings) as port:
        assert settings.tls_cert is not None
        settings.tls_cert.unlink()
        assert await spec(port, ours.pem) == "replicas"
        settings.tls_cert.write_bytes(b"half of a certif")
        os.utime(settings.tls_cert, (1, 1))
        assert await spec(port, ours.pem) == "replicas"
        await asyncio.sleep(0)


async def test_a_certificate_without_its_key_is_an_error_that_names_the_option(tmp_path: Path) -> None:
    certificate, _ = Authority("ours").issue("server").write(tmp_path, "server")
    settings = GrpcSettings("127.0.0.1:0", certificate)
    with pytest.raises(ConfigError, match="--tls-key"):
        async with serving(settings):
            pass


async def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    settings = GrpcSettings("127.0.0.1:0", tmp_path / "nowhere.crt", tmp_path / "nowhere.key")
    with pytest.raises(ConfigError, match=r"nowhere\.(crt|key)"):
        async with serving(settings):
            pass
