"""The gRPC server around the servicer: health, reflection, TLS that follows its files, keepalive, clean shutdown."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from autoscaler.control.board import Board
from autoscaler.core.errors import ConfigError, Problem
from autoscaler.ports import Clock, TargetDirectory
from autoscaler.scaler.replicas import ReplicasServicer
from autoscaler.scaler.servicer import CallObserver, Servicer
from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc
from scaler_proto import replicas_pb2_grpc as replicas_rpc

SERVICE = pb.DESCRIPTOR.services_by_name["ExternalScaler"].full_name
HEALTH_SERVICES = ("", "liveness", "readiness", SERVICE)


@dataclass(frozen=True, slots=True)
class GrpcSettings:
    """Where and how KEDA reaches us."""

    address: str = "0.0.0.0:6000"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None  # with it, callers must show a certificate of these authorities
    max_connection_age_s: float = 3600.0  # headless users find new replicas only when a connection ends
    grace_s: float = 20.0
    peer_name: str | None = None  # what certificates of our other replicas say; None: the host they are reached under


class ScalerServer:
    """The external scaler on one address."""

    def __init__(
        self,
        board: Board,
        directory: TargetDirectory,
        clock: Clock,
        settings: GrpcSettings,
        observer: CallObserver,
        rng: random.Random,
        replicas: ReplicasServicer | None = None,
    ) -> None:
        self._settings = settings
        self._replicas = replicas
        self._servicer = Servicer(board, directory, clock, observer, rng)
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> int:
        """Listen; gives the port bound. Raises ConfigError if the address or the certificates cannot be used."""
        server = grpc.aio.server(options=_options(self._settings))
        rpc.add_ExternalScalerServicer_to_server(self._servicer, server)
        if self._replicas is not None:
            replicas_rpc.add_ReplicasServicer_to_server(self._replicas, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        port = self._bind(server)
        await server.start()
        self._server = server
        await self.set_ready(False)
        return port

    def _bind(self, server: grpc.aio.Server) -> int:
        settings = self._settings
        try:
            if settings.tls_cert is None:
                port = server.add_insecure_port(settings.address)
            else:
                port = server.add_secure_port(settings.address, _credentials(settings))
        except (RuntimeError, ValueError) as error:
            raise ConfigError("--grpc", (Problem("address", settings.address, f"a free address ({error})"),)) from None
        if port == 0:
            raise ConfigError("--grpc", (Problem("address", settings.address, "a free address"),))
        return port

    async def set_ready(self, ready: bool) -> None:
        """Tell health checks whether KEDA's calls can be answered; liveness stays good as long as we run."""
        serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
        for service in HEALTH_SERVICES:
            await self._health.set(service, serving if ready or service == "liveness" else not_serving)

    async def stop(self) -> None:
        """End push streams with OK, let calls in flight finish within the grace period, then close."""
        if self._server is None:
            return
        await self._health.enter_graceful_shutdown()
        self._servicer.close()
        if self._replicas is not None:
            self._replicas.close()
        await self._server.stop(self._settings.grace_s)
        self._server = None


def _options(settings: GrpcSettings) -> list[tuple[str, int]]:
    age_ms = int(settings.max_connection_age_s * 1000)
    return [
        ("grpc.so_reuseport", 0),  # a second server on the port is a mistake, not load balancing
        ("grpc.keepalive_time_ms", 30_000),  # KEDA's client sends none, and half-open streams must be found
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # our followers ping every 20 s
        ("grpc.max_connection_age_ms", age_ms),
        ("grpc.max_connection_age_grace_ms", age_ms),
        ("grpc.max_concurrent_streams", 2**31 - 1),  # KEDA waits without a deadline for a free slot
        # Beyond 1,000 calls not yet taken up gRPC cancels some at random (defaults 1,000 and 3,000): 221 of 2,000 push
        # streams that KEDA opened at once were lost that way.
        ("grpc.server.max_pending_requests", 100_000),
        ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ]


def _credentials(settings: GrpcSettings) -> grpc.ServerCredentials:
    """Credentials that are read anew when a file changes; a broken rotation keeps the former ones."""
    first, stamp = _read(settings), _stamp(settings)
    state = {"stamp": stamp}

    def fetch() -> Any:  # grpc takes None for "unchanged"; its stubs do not know
        try:
            now = _stamp(settings)
            if now == state["stamp"]:
                return None
            fresh = _read(settings)
        except (OSError, ConfigError):
            return None
        state["stamp"] = now
        return fresh

    return grpc.dynamic_ssl_server_credentials(
        first, fetch, require_client_authentication=settings.tls_client_ca is not None
    )


def dial(address: str, settings: GrpcSettings) -> grpc.aio.Channel:
    """A channel to another replica of ours: in the clear where we serve so, else TLS with our own certificate.

    Replicas share one certificate, so it is trusted beside the authorities of `tls_client_ca`; the files are read
    anew for every channel. Raises ConfigError (a file cannot be read).
    """
    options: list[tuple[str, int | str]] = [
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.max_receive_message_length", 64 * 1024 * 1024),  # a snapshot of a long history; 33 KB is usual
    ]
    if settings.tls_cert is None or settings.tls_key is None:
        return grpc.aio.insecure_channel(address, options)
    try:
        certificate, key = settings.tls_cert.read_bytes(), settings.tls_key.read_bytes()
        authorities = settings.tls_client_ca.read_bytes() if settings.tls_client_ca else b""
    except OSError as error:
        raise ConfigError("TLS", (Problem(str(error.filename), str(error.strerror), "a readable PEM file"),)) from None
    if settings.peer_name is not None:
        options.append(("grpc.ssl_target_name_override", settings.peer_name))
    credentials = grpc.ssl_channel_credentials(authorities + b"\n" + certificate, key, certificate)
    return grpc.aio.secure_channel(address, credentials, options)


def _files(settings: GrpcSettings) -> list[Path]:
    return [path for path in (settings.tls_cert, settings.tls_key, settings.tls_client_ca) if path is not None]


def _stamp(settings: GrpcSettings) -> tuple[tuple[int, int], ...]:
    return tuple((status.st_mtime_ns, status.st_size) for status in (path.stat() for path in _files(settings)))


def _read(settings: GrpcSettings) -> grpc.ServerCertificateConfiguration:
    if settings.tls_cert is None or settings.tls_key is None:
        raise ConfigError("TLS", (Problem("--tls-key", "nothing", "the key of --tls-cert"),))
    try:
        pair = (settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())
        roots = settings.tls_client_ca.read_bytes() if settings.tls_client_ca else None
    except OSError as error:
        raise ConfigError("TLS", (Problem(str(error.filename), str(error.strerror), "a readable PEM file"),)) from None
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)
