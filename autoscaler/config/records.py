"""What the operator set, as plain frozen records; `collect` and `service` read these and never the raw text."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from autoscaler.core.records import ServiceSpec


@dataclass(frozen=True, slots=True)
class Access:
    """How to get into a page: headers, a bearer token file, TLS. Only the operator's file names these."""

    name: str
    headers: tuple[tuple[str, str], ...] = ()
    token_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    skip_verify: bool = False


class ListKind(Enum):
    """Where the replica URLs of a target come from."""

    STATIC = "static"
    FILE = "file"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class ReplicaList:
    """The replica URLs of one target: given, or named by a file or an HTTP list that may change."""

    kind: ListKind
    urls: tuple[str, ...] = ()  # STATIC
    path: str = ""  # FILE
    url: str = ""  # HTTP
    access: str = ""  # for the list itself (HTTP)
    refresh_s: float = 5.0


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """How to find and read the replicas of one role."""

    role: str
    replicas: ReplicaList
    server: str = "auto"
    metrics_port: int | None = None  # replaces the port of listed URLs
    metrics_path: str | None = None  # None: the profile's own; a path in a listed URL wins
    access: str = ""
    warm_labels: str = ""  # matchers of its series in the warm start's Prometheus; "": pods named after the service


@dataclass(frozen=True, slots=True)
class WakeSourceSettings:
    """A gateway's or router's page that knows of demand while nothing runs."""

    name: str
    url: str
    kind: str = "auto"
    access: str = ""
    interval_s: float = 1.0


@dataclass(frozen=True, slots=True)
class WarmStartSettings:
    """The Prometheus-compatible server whose records a service without learned state lives through."""

    url: str
    token_file: str | None = None
    hours: float = 4.0


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """One service of the file."""

    spec: ServiceSpec
    targets: tuple[TargetSettings, ...]
    wake_source: str | None = None  # name of a WakeSourceSettings
    wake_model: str | None = None  # picks the service's series on a shared gateway's page; None: all series


@dataclass(frozen=True, slots=True)
class Overrides:
    """What trigger metadata sets on top of the file, for one target; None: not set."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    attainment: float | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None
    keep_warm_s: float | None = None
    gpus_per_replica: int | None = None
    gpu_price_per_hour: float | None = None
    prior: str | None = None
    max_batched_tokens: int | None = None
    max_sequences: int | None = None
    wake_source_none: bool = False  # `wakeSource: none`; a named source must be one of the file's
    wake_source: str | None = None
    server: str | None = None  # these three: of pods found in Kubernetes
    metrics_port: int | None = None
    metrics_path: str | None = None


@dataclass(frozen=True, slots=True)
class TargetsFile:
    """Everything one targets file says."""

    services: tuple[ServiceSettings, ...]
    wake_sources: tuple[WakeSourceSettings, ...] = ()
    access: tuple[Access, ...] = ()
    scrape_interval_s: float = 1.0
    scrape_timeout_s: float = 2.0
    warm_start: WarmStartSettings | None = None
    defaults: Overrides = field(default_factory=Overrides)  # of services found in Kubernetes, below their own words


@dataclass(frozen=True, slots=True)
class Trigger:
    """Trigger metadata, read: the target it names as written (None: use the ScaledObject's name), and its overrides."""

    target: str | None
    role: str
    overrides: Overrides
    warnings: tuple[str, ...] = ()
