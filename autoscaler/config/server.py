"""Settings of the process itself, from the command line and its environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from autoscaler.config.records import WarmStartSettings
from autoscaler.core.errors import ConfigError, Problem

TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")  # of a pod's ServiceAccount


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class KubeSettings:
    """Whether and where targets are found in Kubernetes."""

    on: bool = False
    namespaces: tuple[str, ...] = ()  # none: the whole cluster
    kubeconfig: str | None = None  # None: the pod's own account, or what kubectl would use


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """The Lease by which one replica of ours plans."""

    name: str
    namespace: str
    pod: str  # ours, for people who read the Lease
    advertise: Address  # where the others reach our gRPC server


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """Which writers into the cluster are on: none, unless the operator says so (docs/writers.md)."""

    fast_path: bool = False
    pod_deletion_cost: bool = False
    capacity_buffer: bool = False
    events: bool = False
    instance: str = "llm-autoscaler"  # who reports an Event: the pod


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Everything `autoscaler serve` was told."""

    targets: Path | None
    grpc: Address
    http: Address
    state_dir: Path
    flight_record_bytes: int  # 0: no flight record
    tls_cert: Path | None
    tls_key: Path | None
    tls_client_ca: Path | None
    wake_token_file: Path | None
    log_format: str
    log_level: str
    grace_s: float
    kube: KubeSettings = KubeSettings()
    lease: LeaseSettings | None = None
    peer_name: str | None = None  # in the certificates of our other replicas; None: the host they are reached under
    writers: WriterSettings = WriterSettings()
    warm_start: WarmStartSettings | None = None  # wins over the file's


def read_address(option: str, text: str) -> Address | Problem:
    """HOST:PORT, with brackets around an IPv6 host."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or int(port) > 65_535 or not host:
        return Problem(option, repr(text), "HOST:PORT, such as 0.0.0.0:6000 or [::]:6000")
    return Address(host, int(port))


def serve_settings(
    *,
    targets: Path | None,
    grpc: str,
    http: str,
    state_dir: Path | None,
    flight_record: bool,
    flight_record_bytes: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    wake_token_file: Path | None,
    log_format: str,
    log_level: str,
    grace_s: float,
    kube: str = "auto",
    kube_namespaces: str = "",
    kubeconfig: Path | None = None,
    lease: str | None = None,
    advertise: str | None = None,
    peer_name: str | None = None,
    fast_path: bool = False,
    pod_deletion_cost: bool = False,
    capacity_buffer: bool = False,
    events: bool = False,
    warm_start_prometheus: str | None = None,
    warm_start_token_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> ServeSettings:
    """Check the options together. Raises ConfigError with every problem at once."""
    found: list[Problem] = []
    grpc_address, http_address = read_address("--grpc", grpc), read_address("--http", http)
    found += [address for address in (grpc_address, http_address) if isinstance(address, Problem)]
    if (tls_cert is None) != (tls_key is None):
        found.append(Problem("--tls-cert, --tls-key", "one of them", "both or neither"))
    if tls_client_ca is not None and tls_cert is None:
        found.append(Problem("--tls-client-ca", str(tls_client_ca), "--tls-cert and --tls-key with it"))
    if log_format not in ("json", "console", "auto"):
        found.append(Problem("--log-format", repr(log_format), "json, console or auto"))
    if log_level not in ("debug", "info", "warning", "error"):
        found.append(Problem("--log-level", repr(log_level), "debug, info, warning or error"))
    kube_settings = _kube(kube, kube_namespaces, kubeconfig, environ, found)
    if targets is None and not kube_settings.on:
        found.append(Problem("--targets", "nothing, and Kubernetes is off", "a targets file, or --kube on"))
    lease_settings = _lease(lease, advertise, grpc_address, environ, found)
    pod = environ.get("POD_NAME") or WriterSettings().instance
    writers = WriterSettings(fast_path, pod_deletion_cost, capacity_buffer, events, pod)
    found += _without_kubernetes(writers, kube_settings)
    warm_start = _warm_start(warm_start_prometheus, warm_start_token_file, found)
    if found or isinstance(grpc_address, Problem) or isinstance(http_address, Problem):
        raise ConfigError("command line", tuple(found))
    return ServeSettings(
        targets,
        grpc_address,
        http_address,
        state_dir or _default_state_dir(),
        flight_record_bytes if flight_record else 0,
        tls_cert,
        tls_key,
        tls_client_ca,
        wake_token_file,
        log_format,
        log_level,
        grace_s,
        kube_settings,
        lease_settings,
        peer_name or None,
        writers,
        warm_start,
    )


def _kube(
    kube: str, namespaces: str, kubeconfig: Path | None, environ: Mapping[str, str], found: list[Problem]
) -> KubeSettings:
    if kube not in ("auto", "on", "off"):
        found.append(Problem("--kube", repr(kube), "auto, on or off"))
    # A pod without a token has no way in, and is meant to have none.
    there = kubeconfig is not None or (bool(environ.get("KUBERNETES_SERVICE_HOST")) and TOKEN.is_file())
    names = tuple(dict.fromkeys(name.strip() for name in namespaces.split(",") if name.strip()))
    return KubeSettings(kube == "on" or (kube == "auto" and there), names, str(kubeconfig) if kubeconfig else None)


def _without_kubernetes(writers: WriterSettings, kube: KubeSettings) -> list[Problem]:
    """Switches that can do nothing."""
    on = {
        "--fast-path": writers.fast_path,
        "--pod-deletion-cost": writers.pod_deletion_cost,
        "--capacity-buffer": writers.capacity_buffer,
        "--events": writers.events,
    }
    wanted = [option for option, is_on in on.items() if is_on and not kube.on]
    return [Problem(option, "Kubernetes is off", "--kube on: it is written through its API") for option in wanted]


def _warm_start(url: str | None, token_file: Path | None, found: list[Problem]) -> WarmStartSettings | None:
    if not url:
        if token_file is not None:
            found.append(Problem("--warm-start-token-file", str(token_file), "--warm-start-prometheus with it"))
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        found.append(Problem("--warm-start-prometheus", repr(url), "http(s)://host[:port]"))
    return WarmStartSettings(url, str(token_file) if token_file is not None else None)


def _lease(
    name: str | None,
    advertise: str | None,
    grpc: Address | Problem,
    environ: Mapping[str, str],
    found: list[Problem],
) -> LeaseSettings | None:
    if not name:
        return None
    namespace, pod, ip = (environ.get(key, "") for key in ("POD_NAMESPACE", "POD_NAME", "POD_IP"))
    if not namespace:
        found.append(Problem("--lease", "no POD_NAMESPACE", "the environment variable with the pod's namespace"))
    if advertise:
        address = read_address("--advertise", advertise)
    elif ip and isinstance(grpc, Address):
        address = Address(ip, grpc.port)
    else:
        address = Problem("--advertise", "nothing, and no POD_IP", "HOST:PORT at which our other replicas reach us")
    if isinstance(address, Problem):
        found.append(address)
        return None
    return LeaseSettings(name, namespace, pod or "llm-autoscaler", address)


def _default_state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "llm-autoscaler"
