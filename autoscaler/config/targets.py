"""The targets file: YAML to records, every error at once with its path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError

from autoscaler.config.records import (
    Access,
    ListKind,
    Overrides,
    ReplicaList,
    ServiceSettings,
    TargetSettings,
    TargetsFile,
    WakeSourceSettings,
    WarmStartSettings,
)
from autoscaler.config.vocabulary import Aims, Seconds, Sizing, Strict, keys, problems
from autoscaler.core.errors import ConfigError, Problem
from autoscaler.core.priors import PRIORS
from autoscaler.core.records import Objective, RoleSpec, ServiceId, ServiceMode, ServiceSpec
from autoscaler.modelservers import profile_names
from autoscaler.modelservers.gateways import gateway_kinds

Port = Annotated[int, Field(ge=1, le=65_535)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]


class AccessModel(Strict):
    """How to get into a page."""

    name: str = Field(description="what others call it by")
    headers: dict[str, str] = Field(default_factory=dict, description="headers sent with every request")
    token_file: str | None = Field(None, description="file of a bearer token, read anew for every request")
    ca_file: str | None = Field(None, description="PEM authorities the server's certificate must be signed by")
    cert_file: str | None = Field(None, description="PEM client certificate")
    key_file: str | None = Field(None, description="PEM key of the client certificate")
    insecure_skip_verify: bool = Field(False, description="accept any certificate")


class WakeSourceModel(Strict):
    """A gateway's page."""

    name: str = Field(description="what services call it by")
    url: str = Field(description="its metrics page")
    kind: str = Field("auto", description="what gateway it is")
    access: str = Field("", description="name of an access entry")
    interval_seconds: Seconds = Field(1.0, description="how often it is read")


class WarmStartModel(Strict):
    """Where the past of services is recorded."""

    prometheus: str = Field(description="root of a Prometheus-compatible API; `--warm-start-prometheus` wins")
    token_file: str | None = Field(None, description="file of a bearer token")
    hours: Annotated[float, Field(gt=0, le=24)] = Field(4.0, description="how far back it is read")


class ReplicasModel(Strict):
    """Where the replica URLs come from: exactly one of urls, file, http."""

    urls: list[str] | None = Field(None, description="fixed list of metrics pages or host:port")
    file: str | None = Field(None, description="file with the list; re-read when it changes")
    http: str | None = Field(None, description="URL of the list")
    access: str = Field("", description="name of an access entry, for the list itself")
    refresh_seconds: Seconds = Field(5.0, description="how often the list is looked at")


class Reading(Strict):
    """How replicas are read."""

    server: str = Field("auto", description="model server; auto: told by its page")
    metrics_port: Port | None = Field(None, description="replaces the port of listed places")
    metrics_path: str | None = Field(None, description="metrics path where the list names none")
    access: str = Field("", description="name of an access entry, for the replicas' pages")
    replicas: ReplicasModel | None = Field(None, description="where the replicas are listed")
    warm_start_labels: str | None = Field(
        None, description="matchers of its series for the warm start, as in a query; default: pods named after it"
    )


class RoleModel(Sizing, Reading):
    """One role of a service that has several."""

    role: Literal["prefill", "decode"] = Field(description="which")


class ServiceModel(Aims, Reading):
    """One service."""

    namespace: Name = Field("default", description="namespace of the ScaledObject")
    name: Name = Field(description="name that triggers and the wake API use")
    lead_time_seconds: Seconds | None = Field(None, description="start-up time until one was measured")
    wake_model: str | None = Field(None, description="picks the service's series on a shared gateway's page")
    mode: Literal["act", "shadow"] = Field("act", description="shadow: decide and publish, never act")
    roles: list[RoleModel] = Field(default_factory=list, description="prefill and decode, each with its replicas")


class FileModel(Strict):
    """The whole file."""

    version: Literal[1] = Field(1, description="version of this format")
    scrape_interval_seconds: Seconds = Field(1.0, description="how often each replica is read")
    scrape_timeout_seconds: Seconds = Field(2.0, description="how long one read may take")
    defaults: Aims = Field(Aims(), description="any key of a service's aims, below its own")
    access: list[AccessModel] = Field(default_factory=list, description="access entries")
    wake_sources: list[WakeSourceModel] = Field(default_factory=list, description="gateways")
    warm_start: WarmStartModel | None = Field(None, description="where services have their past from")
    services: list[ServiceModel] = Field(default_factory=list, description="services; none: those found in Kubernetes")


MODELS = (FileModel, AccessModel, WakeSourceModel, WarmStartModel, ServiceModel, RoleModel, ReplicasModel)
_VALID = {model.__name__: keys(model) for model in MODELS}
ENVIRONMENT = "LLM_AUTOSCALER_DEFAULT_"  # + TTFT_SECONDS and so on: below the file, above our defaults


def load_targets(path: Path, environ: Mapping[str, str] = os.environ) -> TargetsFile:
    """Read a targets file. Raises ConfigError with every problem of the file at once."""
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(str(path), (Problem("the file", str(error.strerror), "a readable YAML file"),)) from None
    return parse_targets(text, str(path), path.parent, environ)


def parse_targets(text: str, source: str, folder: Path, environ: Mapping[str, str]) -> TargetsFile:
    """Read the text of a targets file; relative paths in it start at `folder`."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(source, (Problem("the file", f"broken YAML: {error}", "YAML"),)) from None
    try:
        read = FileModel.model_validate(document)
        below = Aims.model_validate(_from_environment(environ))
    except ValidationError as error:
        raise ConfigError(source, problems(error, _VALID)) from None
    found = _cross_checks(read)
    if found:
        raise ConfigError(source, tuple(found))
    return TargetsFile(
        services=tuple(_service(one, read.defaults, below, folder) for one in read.services),
        wake_sources=tuple(
            WakeSourceSettings(one.name, one.url, one.kind, one.access, one.interval_seconds)
            for one in read.wake_sources
        ),
        access=tuple(_access(one, folder) for one in read.access),
        scrape_interval_s=read.scrape_interval_seconds,
        scrape_timeout_s=read.scrape_timeout_seconds,
        warm_start=_warm_start(read.warm_start, folder),
        defaults=_defaults(read.defaults, below),
    )


def without_file(environ: Mapping[str, str] = os.environ) -> TargetsFile:
    """What the environment alone says. Raises ConfigError (a malformed value)."""
    return parse_targets("services: []", "the environment", Path(), environ)


def _defaults(defaults: Aims, below: Aims) -> Overrides:
    """What is set for services that Kubernetes tells of; their bounds and GPUs are Kubernetes' to say."""

    def aim(name: str) -> Any:
        return _first(getattr(defaults, name), getattr(below, name))

    wake_source = aim("wake_source")
    return Overrides(
        ttft_s=aim("ttft_seconds"),
        tpot_s=aim("tpot_seconds"),
        attainment=aim("attainment"),
        keep_warm_s=aim("keep_warm_seconds"),
        gpu_price_per_hour=aim("gpu_price_per_hour"),
        prior=aim("prior"),
        max_batched_tokens=aim("max_batched_tokens"),
        max_sequences=aim("max_sequences"),
        wake_source_none=wake_source == "none",
        wake_source=None if wake_source == "none" else wake_source,
    )


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    by_name = {name.upper(): field.alias or name for name, field in Aims.model_fields.items()}
    return {
        by_name[name.removeprefix(ENVIRONMENT)]: value
        for name, value in environ.items()
        if name.startswith(ENVIRONMENT) and name.removeprefix(ENVIRONMENT) in by_name
    }


# --- checks that need more than one value --------------------------------------------------------------------------


def _cross_checks(read: FileModel) -> list[Problem]:
    found: list[Problem] = []
    if read.warm_start is not None:
        found += _url("warmStart.prometheus", read.warm_start.prometheus)
    access = {one.name for one in read.access} | {""}
    wakes = {one.name for one in read.wake_sources} | {"none"}
    for i, wake in enumerate(read.wake_sources):
        at = f"wakeSources[{i}]"
        found += _one_of(f"{at}.access", wake.access, access, "the name of an access entry")
        found += _one_of(f"{at}.kind", wake.kind, set(gateway_kinds()), f"one of {', '.join(gateway_kinds())}")
        found += _url(f"{at}.url", wake.url)
    if read.defaults.wake_source is not None and not read.services:  # else told at each service
        name = read.defaults.wake_source
        found += _one_of("defaults.wakeSource", name, wakes, "the name of a wake source, or none")
    seen: set[tuple[str, str]] = set()
    for i, service in enumerate(read.services):
        at = f"services[{i}]"
        if (service.namespace, service.name) in seen:
            found.append(Problem(f"{at}.name", f"{service.namespace}/{service.name} again", "each service once"))
        seen.add((service.namespace, service.name))
        wake_source = service.wake_source or read.defaults.wake_source
        if wake_source is not None:
            found += _one_of(f"{at}.wakeSource", wake_source, wakes, "the name of a wake source, or none")
        found += _replicas_checks(at, service, access)
        found += _bounds_checks(at, service, read.defaults)
    return found


def _replicas_checks(at: str, service: ServiceModel, access: set[str]) -> list[Problem]:
    found: list[Problem] = []
    if bool(service.replicas) == bool(service.roles):
        found.append(Problem(at, "both" if service.roles else "neither", "either `replicas` or `roles`"))
    parts: list[tuple[str, Reading]] = [(at, service)]
    parts += [(f"{at}.roles[{j}]", role) for j, role in enumerate(service.roles)]
    names = [role.role for role in service.roles]
    if len(names) != len(set(names)):
        found.append(Problem(f"{at}.roles", str(names), "each role once"))
    for where, part in parts:
        found += _one_of(f"{where}.access", part.access, access, "the name of an access entry")
        found += _one_of(f"{where}.server", part.server, set(profile_names()), f"one of {', '.join(profile_names())}")
        if part.replicas is None:
            if part is not service:
                found.append(Problem(f"{where}.replicas", "nothing", "where the replicas of this role are listed"))
            continue
        given = [key for key in ("urls", "file", "http") if getattr(part.replicas, key) is not None]
        if len(given) != 1:
            found.append(Problem(f"{where}.replicas", " and ".join(given) or "nothing", "one of urls, file, http"))
        if part.replicas.http is not None:
            found += _url(f"{where}.replicas.http", part.replicas.http)
        found += _one_of(f"{where}.replicas.access", part.replicas.access, access, "the name of an access entry")
    return found


def _bounds_checks(at: str, service: ServiceModel, defaults: Aims) -> list[Problem]:
    found: list[Problem] = []
    parts: list[tuple[str, Sizing]] = [(at, service)]
    parts += [(f"{at}.roles[{j}]", role) for j, role in enumerate(service.roles)]
    for where, part in parts:
        least = _first(part.min_replicas, service.min_replicas, defaults.min_replicas, 0)
        most = _first(part.max_replicas, service.max_replicas, defaults.max_replicas, RoleSpec().max_replicas)
        if least > most:
            found.append(Problem(f"{where}.minReplicas", str(least), f"at most maxReplicas, which is {most}"))
        if part.prior is not None:
            found += _one_of(f"{where}.prior", part.prior, set(PRIORS), f"one of {', '.join(PRIORS)}")
    return found


def _one_of(path: str, value: str, valid: set[str], expected: str) -> list[Problem]:
    return [] if value in valid else [Problem(path, repr(value), expected)]


def _url(path: str, value: str) -> list[Problem]:
    parts = urlsplit(value)
    good = parts.scheme in ("http", "https") and bool(parts.hostname)
    return [] if good else [Problem(path, repr(value), "http(s)://host[:port]/path")]


# --- to records ------------------------------------------------------------------------------------------------------


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _access(one: AccessModel, folder: Path) -> Access:
    def path(value: str | None) -> str | None:
        return str(folder / value) if value else None

    return Access(
        one.name,
        tuple(one.headers.items()),
        path(one.token_file),
        path(one.ca_file),
        path(one.cert_file),
        path(one.key_file),
        skip_verify=one.insecure_skip_verify,
    )


def _warm_start(one: WarmStartModel | None, folder: Path) -> WarmStartSettings | None:
    if one is None:
        return None
    return WarmStartSettings(one.prometheus, str(folder / one.token_file) if one.token_file else None, one.hours)


def _service(one: ServiceModel, defaults: Aims, below: Aims, folder: Path) -> ServiceSettings:
    base, objective = ServiceSpec(ServiceId(one.namespace, one.name)), Objective()
    layers = (one, defaults, below)

    def aim(name: str, default: Any) -> Any:
        return _first(*(getattr(layer, name) for layer in layers), default)

    parts: list[Sizing] = list(one.roles) or [one]
    wake_source = aim("wake_source", None)
    spec = ServiceSpec(
        service=base.service,
        roles=tuple(_role(part, layers) for part in parts),
        objective=Objective(
            aim("ttft_seconds", objective.ttft_s),
            aim("tpot_seconds", objective.tpot_s),
            aim("attainment", objective.attainment),
        ),
        mode=ServiceMode(one.mode),
        has_wake_source=wake_source not in (None, "none"),
        zero_without_wake_source=wake_source == "none",
        keep_warm_s=aim("keep_warm_seconds", None),
        gpu_price_per_hour=aim("gpu_price_per_hour", base.gpu_price_per_hour),
        lead_time_prior_s=one.lead_time_seconds or base.lead_time_prior_s,
    )
    readings: list[Reading] = list(one.roles) or [one]
    return ServiceSettings(
        spec,
        tuple(_target(part, one, folder) for part in readings),
        None if wake_source == "none" else wake_source,
        one.wake_model,
    )


def _role(part: Sizing, layers: tuple[Sizing, ...]) -> RoleSpec:
    base = RoleSpec()

    def get(name: str) -> Any:
        return _first(getattr(part, name), *(getattr(layer, name) for layer in layers), getattr(base, name))

    return RoleSpec(
        getattr(part, "role", ""),
        get("min_replicas"),
        get("max_replicas"),
        get("gpus_per_replica"),
        get("prior"),
        get("max_batched_tokens"),
        get("max_sequences"),
    )


def _target(part: Reading, service: ServiceModel, folder: Path) -> TargetSettings:
    listed = part.replicas or ReplicasModel()
    changing = ListKind.FILE if listed.file is not None else ListKind.HTTP
    kind = ListKind.STATIC if listed.urls is not None else changing
    return TargetSettings(
        role=getattr(part, "role", ""),
        replicas=ReplicaList(
            kind,
            tuple(listed.urls or ()),
            str(folder / listed.file) if listed.file else "",
            listed.http or "",
            listed.access,
            listed.refresh_seconds,
        ),
        server=part.server if part.server != "auto" else service.server,
        metrics_port=part.metrics_port or service.metrics_port,
        metrics_path=part.metrics_path or service.metrics_path,
        access=part.access or service.access,
        warm_labels=part.warm_start_labels or "",
    )
