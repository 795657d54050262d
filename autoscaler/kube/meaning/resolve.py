"""From the ScaledObject that KEDA names to the target: what is scaled, for which service, how to read it, what is set.

Precedence of settings, strongest first: the trigger's metadata, annotations on the ScaledObject, the operator's file,
then what Kubernetes tells (bounds of the ScaledObject; GPUs and the server's arguments of the pod template).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from autoscaler.config.annotations import PREFIX
from autoscaler.config.records import Overrides
from autoscaler.core.errors import ClusterError, ConfigError, Problem
from autoscaler.core.records import ServiceId, ServiceMode, TargetId
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning import scaledobject as keda
from autoscaler.kube.meaning.fights import Scaled, fights
from autoscaler.kube.meaning.findings import Finding
from autoscaler.kube.meaning.gpus import Gpus, gpus_of
from autoscaler.kube.meaning.kserve import ROLES, Path, owner_of
from autoscaler.kube.meaning.metrics_page import MetricsPage, metrics_page, serving_container
from autoscaler.kube.meaning.objects import SCALED_OBJECT, Objects
from autoscaler.kube.meaning.raw import Raw
from autoscaler.kube.meaning.replicas import Memo, PageSettings, PodReplica, replicas_of
from autoscaler.kube.meaning.server_arguments import ServerArguments, server_arguments
from autoscaler.kube.meaning.settings import said
from autoscaler.kube.meaning.workload import Workload, read_workload, scale_target


@dataclass(frozen=True, slots=True)
class Target:
    """One role of a service with everything Kubernetes tells of it."""

    target: TargetId
    scaled_object: str  # its name; the namespace is the target's
    path: Path
    workload: Workload
    bounds: keda.Bounds
    overrides: Overrides  # annotations, and the trigger's metadata over them
    mode: ServiceMode
    pause: keda.Pause | None
    stopped: bool  # the workload is gone, or its owner stopped it: neither an error nor a zero
    known: bool  # False: the owner could not be read, so the id may be another's: keep the one it had
    pushed: bool  # external-push: KEDA holds a stream open
    page: MetricsPage  # of the pod template; every pod has its own
    gpus: Gpus
    arguments: ServerArguments  # of the server's command line in the pod template
    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sight:
    """A target's replicas at one time."""

    replicas: tuple[PodReplica, ...] | None  # None: they cannot be read
    spec_replicas: int | None
    status_replicas: int | None
    stopped: bool


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One ScaledObject that concerns us: its target, or why there is none."""

    scaled_object: Raw
    target: Target | None
    error: ConfigError | None = None


def resolve(
    objects: Objects,
    namespace: str,
    name: str,
    metadata: Mapping[str, str] | None = None,
    addresses: frozenset[str] = frozenset(),
) -> Target:
    """The target of a ScaledObject; `metadata` is the trigger's as KEDA sends it, None: that of its first one of ours.

    Raises ConfigError (no such ScaledObject, a malformed value, a target in another namespace) and ClusterError (the
    ScaledObject cannot be read).
    """
    scaled_object = objects.get(SCALED_OBJECT, namespace, name)
    if scaled_object is None:
        reading = objects.reading(SCALED_OBJECT, namespace)
        if reading.complete:
            problem = Problem("scaledObjectRef", f"{namespace}/{name}", "a ScaledObject that exists")
            raise ConfigError("KEDA's call", (problem,))
        raise ClusterError(f"ScaledObject {namespace}/{name} is not known: ScaledObjects are {reading.value} there")
    return _resolve(objects, namespace, scaled_object, metadata, addresses)


def survey(
    objects: Objects, namespace: str | None = None, addresses: frozenset[str] = frozenset()
) -> tuple[Surveyed, ...]:
    """Every ScaledObject that calls us or that annotations of ours ask to be watched, by name."""
    found = []
    for raw in objects.find(SCALED_OBJECT, namespace):
        asked = any(key.startswith(PREFIX) for key in read.annotations_of(raw))
        if not asked and not keda.our_triggers(raw, addresses):
            continue
        try:
            target = _resolve(objects, read.namespace(raw) or "default", raw, None, addresses)
        except ConfigError as error:
            found.append(Surveyed(raw, None, error))
        else:
            found.append(Surveyed(raw, target))
    return tuple(sorted(found, key=lambda one: (read.namespace(one.scaled_object), read.name(one.scaled_object))))


def _resolve(
    objects: Objects, namespace: str, raw: Raw, metadata: Mapping[str, str] | None, addresses: frozenset[str]
) -> Target:
    mine = keda.our_triggers(raw, addresses)
    if metadata is None:
        metadata = mine[0].metadata if mine else {}
        ours = bool(mine)
    else:  # KEDA called with it, so it is ours whatever it looks like
        mine, ours = keda.triggers_with(raw, metadata) or mine, True
    set_to = said(namespace, raw, metadata)
    kind, name = scale_target(raw)
    workload = read_workload(objects, kind, namespace, name)
    owner = owner_of(objects, workload, raw)
    service, role = _identity(namespace, set_to.target, set_to.role or owner.role, owner.service)
    planned = workload if workload.template else replace(workload, template=owner.template)
    shadow = set_to.mode is ServiceMode.SHADOW
    overrides = set_to.overrides
    page = metrics_page(
        planned.template, server=overrides.server, port=overrides.metrics_port, path=overrides.metrics_path
    )
    return Target(
        target=TargetId(ServiceId(namespace, service), role),
        scaled_object=read.name(raw),
        path=owner.path,
        workload=workload,
        bounds=keda.bounds(raw),
        overrides=overrides,
        mode=set_to.mode,
        pause=keda.pause(raw),
        stopped=owner.stopped or workload.found is False,
        known=owner.known or set_to.target is not None,
        pushed=any(one.type == "external-push" for one in mine),
        page=page,
        gpus=gpus_of(objects, planned),
        arguments=server_arguments(serving_container(planned.template), page.server),
        findings=fights(Scaled(objects, namespace, raw, workload, owner, ours, shadow, set_to.role)),
        warnings=set_to.warnings,
    )


def _identity(namespace: str, written: str | None, role: str, service: str) -> tuple[str, str]:
    """(service, role): the owner's, unless `target` names another: service, service/role, namespace/service[/role]."""
    if written is None:
        return service, role
    parts = written.split("/")
    if len(parts) > 1 and parts[-1] in ROLES and (len(parts) == 3 or parts[0] != namespace):
        role, parts = parts[-1], parts[:-1]
    if len(parts) == 2 and parts[0] == namespace:
        parts = parts[1:]
    if len(parts) != 1 or not parts[0]:
        problem = Problem("target", repr(written), f"a service of the trigger's own namespace, {namespace!r}")
        raise ConfigError("target", (problem,))
    return parts[0], role


def look(objects: Objects, target: Target, memo: Memo | None = None) -> Sight:
    """The target's replicas now; the workload is read anew. `memo`: see `replicas_of`."""
    namespace = target.target.service.namespace
    workload = read_workload(objects, target.workload.kind, namespace, target.workload.name)
    settings = target.overrides
    page = PageSettings(settings.server, settings.metrics_port, settings.metrics_path)
    replicas = replicas_of(objects, workload, page, memo)
    stopped = workload.found is False or (target.stopped and workload.found is not True)
    return Sight(replicas, workload.spec_replicas, workload.status_replicas, stopped)
