"""`autoscaler serve`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from autoscaler.cli.ending import fail
from autoscaler.core.errors import AutoscalerError


def env(name: str) -> str:
    """The environment variable of an option."""
    return f"LLM_AUTOSCALER_{name}"


def serve(
    targets: Annotated[
        Path | None,
        typer.Option(
            envvar=env("TARGETS"),
            help="YAML file of services, their replicas and objectives; needed where Kubernetes is off.",
        ),
    ] = None,
    grpc: Annotated[
        str, typer.Option(envvar=env("GRPC"), metavar="HOST:PORT", help="Where KEDA calls us.")
    ] = "0.0.0.0:6000",
    http: Annotated[
        str, typer.Option(envvar=env("HTTP"), metavar="HOST:PORT", help="Where /metrics, health and the wake API are.")
    ] = "0.0.0.0:8080",
    state_dir: Annotated[
        Path | None,
        typer.Option(
            envvar=env("STATE_DIR"),
            help="Folder for learned state and the flight record. Default: ~/.local/state/llm-autoscaler.",
        ),
    ] = None,
    flight_record: Annotated[
        bool, typer.Option(envvar=env("FLIGHT_RECORD"), help="Keep observations and decisions for replay.")
    ] = True,
    flight_record_bytes: Annotated[
        int, typer.Option(envvar=env("FLIGHT_RECORD_BYTES"), min=1_000_000, help="Most bytes the record may take.")
    ] = 256 * 1024 * 1024,
    tls_cert: Annotated[
        Path | None,
        typer.Option(envvar=env("TLS_CERT"), help="PEM certificate of the gRPC server; re-read on change."),
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(envvar=env("TLS_KEY"), help="PEM key of that certificate.")] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(envvar=env("TLS_CLIENT_CA"), help="PEM authorities that callers must be signed by (mTLS)."),
    ] = None,
    wake_token_file: Annotated[
        Path | None,
        typer.Option(envvar=env("WAKE_TOKEN_FILE"), help="Bearer token of the wake API; without it the API is off."),
    ] = None,
    log_format: Annotated[
        str, typer.Option(envvar=env("LOG_FORMAT"), metavar="json|console|auto", help="auto: console on a terminal.")
    ] = "auto",
    log_level: Annotated[
        str, typer.Option(envvar=env("LOG_LEVEL"), metavar="debug|info|warning|error", help="Least severity shown.")
    ] = "info",
    grace_s: Annotated[
        float, typer.Option(envvar=env("GRACE_S"), min=0, help="Seconds that calls in flight get at shutdown.")
    ] = 20.0,
    kube: Annotated[
        str,
        typer.Option(
            envvar=env("KUBE"),
            metavar="auto|on|off",
            help="Find targets in Kubernetes by their ScaledObjects. auto: in a pod, or where a kubeconfig is named.",
        ),
    ] = "auto",
    kube_namespaces: Annotated[
        str,
        typer.Option(envvar=env("KUBE_NAMESPACES"), metavar="A,B", help="Namespaces watched; empty: all of them."),
    ] = "",
    kubeconfig: Annotated[
        Path | None, typer.Option(envvar=env("KUBECONFIG"), help="How to get in from outside the cluster.")
    ] = None,
    lease: Annotated[
        str | None,
        typer.Option(
            envvar=env("LEASE"),
            metavar="NAME",
            help="Lease in POD_NAMESPACE that says which replica plans; without it this one does.",
        ),
    ] = None,
    advertise: Annotated[
        str | None,
        typer.Option(
            envvar=env("ADVERTISE"),
            metavar="HOST:PORT",
            help="Where our other replicas reach our gRPC server. Default: POD_IP and the port of --grpc.",
        ),
    ] = None,
    peer_name: Annotated[
        str | None,
        typer.Option(
            envvar=env("PEER_NAME"),
            help="Name in the certificates of our other replicas. Default: the host they are reached at.",
        ),
    ] = None,
    fast_path: Annotated[
        bool, typer.Option(envvar=env("FAST_PATH"), help="Write spec.replicas where KEDA and the HPA are late.")
    ] = False,
    pod_deletion_cost: Annotated[
        bool, typer.Option(envvar=env("POD_DELETION_COST"), help="Have the emptiest pod removed at a decrease.")
    ] = False,
    capacity_buffer: Annotated[
        bool, typer.Option(envvar=env("CAPACITY_BUFFER"), help="Ask for nodes ahead of predicted need.")
    ] = False,
    events: Annotated[bool, typer.Option(envvar=env("EVENTS"), help="Write Events on ScaledObjects.")] = False,
    warm_start_prometheus: Annotated[
        str | None,
        typer.Option(
            envvar=env("WARM_START_PROMETHEUS"),
            help="URL of a Prometheus-compatible server whose last hours a service without state lives through.",
        ),
    ] = None,
    warm_start_token_file: Annotated[
        Path | None, typer.Option(envvar=env("WARM_START_TOKEN_FILE"), help="Bearer token for that server.")
    ] = None,
) -> None:
    """Serve KEDA: read model servers, decide, answer.

    Every option can also be set by the environment variable named beside it; the option wins.
    """
    from autoscaler.config.server import serve_settings
    from autoscaler.service import serve_until_stopped

    try:
        settings = serve_settings(
            targets=targets,
            grpc=grpc,
            http=http,
            state_dir=state_dir,
            flight_record=flight_record,
            flight_record_bytes=flight_record_bytes,
            tls_cert=tls_cert,
            tls_key=tls_key,
            tls_client_ca=tls_client_ca,
            wake_token_file=wake_token_file,
            log_format=log_format,
            log_level=log_level,
            grace_s=grace_s,
            kube=kube,
            kube_namespaces=kube_namespaces,
            kubeconfig=kubeconfig,
            lease=lease,
            advertise=advertise,
            peer_name=peer_name,
            fast_path=fast_path,
            pod_deletion_cost=pod_deletion_cost,
            capacity_buffer=capacity_buffer,
            events=events,
            warm_start_prometheus=warm_start_prometheus,
            warm_start_token_file=warm_start_token_file,
        )
        asyncio.run(serve_until_stopped(settings))
    except AutoscalerError as error:
        fail(error)
