"""From the ScaledObject that KEDA names to the target: what is scaled, for which service, how to read it, what is set.

Precedence of settings, strongest first: the trigger's metadata, annotations on the ScaledObject, the operator's file,
then what Kubernetes tells (bounds of the ScaledObject, GPUs of the pod template).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from autoscaler.config.annotations import PREFIX, over, read_annotations
from autoscaler.config.metadata import read_trigger
from autoscaler.config.overlay import apply
from autoscaler.config.records import Overrides, Trigger
from autoscaler.core.errors import ClusterError, ConfigError, Problem
from autoscaler.core.records import RoleSpec, ServiceId, ServiceMode, ServiceSpec, TargetId
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning import scaledobject as keda
from autoscaler.kube.meaning.fights import Scaled, fights
from autoscaler.kube.meaning.findings import Finding
from autoscaler.kube.meaning.gpus import Gpus, gpus_of
from autoscaler.kube.meaning.kserve import ROLES, Path, owner_of
from autoscaler.kube.meaning.metrics_page import MetricsPage, metrics_page
from autoscaler.kube.meaning.objects import SCALED_OBJECT, Objects
from autoscaler.kube.meaning.raw import Raw
from autoscaler.kube.meaning.replicas import Memo, PageSettings, PodReplica, replicas_of
from autoscaler.kube.meaning.workload import Workload, read_workload, scale_target
from autoscaler.modelservers import profile_names


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
    trigger, annotated = _read_settings(namespace, raw, metadata)
    shadow = annotated[1] is ServiceMode.SHADOW
    workload = read_workload(objects, scale_target(raw)[0], namespace, scale_target(raw)[1])
    owner = owner_of(objects, workload, raw)
    overrides = over(annotated[0].overrides, trigger.overrides)
    written = trigger.target or annotated[0].target
    role = trigger.role or annotated[0].role or owner.role
    service, role = _identity(namespace, written, role, owner.service)
    planned = workload if workload.template else replace(workload, template=owner.template)
    scaled = Scaled(objects, namespace, raw, workload, owner, bool(mine), shadow, trigger.role or annotated[0].role)
    return Target(
        target=TargetId(ServiceId(namespace, service), role),
        scaled_object=read.name(raw),
        path=owner.path,
        workload=workload,
        bounds=keda.bounds(raw),
        overrides=overrides,
        mode=ServiceMode.SHADOW if shadow else ServiceMode.ACT,
        pause=keda.pause(raw),
        stopped=owner.stopped or workload.found is False,
        known=owner.known or written is not None,
        pushed=any(one.type == "external-push" for one in mine),
        page=metrics_page(
            planned.template,
            server=overrides.server,
            port=overrides.metrics_port,
            path=overrides.metrics_path,
        ),
        gpus=gpus_of(objects, planned),
        findings=fights(scaled),
        warnings=(*annotated[0].warnings, *trigger.warnings),
    )


def _read_settings(
    namespace: str, raw: Raw, metadata: Mapping[str, str]
) -> tuple[Trigger, tuple[Trigger, ServiceMode | None]]:
    """The trigger's and the annotations' settings, or one error with every problem of both."""
    found: list[Problem] = []
    trigger = noted = Trigger(None, "", Overrides())
    mode = None
    try:
        trigger = read_trigger(metadata)
    except ConfigError as error:
        found += error.problems
    try:
        annotated = read_annotations(read.annotations_of(raw))
        noted, mode = annotated.trigger, annotated.mode
    except ConfigError as error:
        found += error.problems
    notes = {f"{PREFIX}server": read.annotations_of(raw).get(f"{PREFIX}server"), "server": metadata.get("server")}
    for key, server in notes.items():
        if server is not None and server not in profile_names():
            found.append(Problem(key, repr(server), f"one of {', '.join(profile_names())}"))
    if found:
        raise ConfigError(f"ScaledObject {namespace}/{read.name(raw)}", tuple(found))
    return trigger, (noted, mode)


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


def service_spec(targets: Sequence[Target], file: ServiceSpec | None = None) -> ServiceSpec:
    """What is set for one service, all of its roles together; `file` is the operator's own word on it.

    `targets` are the targets of that service. Raises ConfigError (bounds that exclude each other).
    """
    first = targets[0].target.service
    roles = {one.role: one for one in file.roles} if file else {}
    base = file or ServiceSpec(first, ())
    specs = tuple(roles.get(one.target.role) or _role(one) for one in _once(targets))
    spec = replace(base, service=first, roles=specs)
    for one in targets:
        spec = apply(spec, one.target.role, one.overrides)
    woken = any(one.overrides.wake_source for one in targets)
    shadow = all(one.mode is ServiceMode.SHADOW for one in targets)
    return replace(
        spec,
        roles=tuple(_bounded(one, targets) for one in spec.roles),
        has_wake_source=spec.has_wake_source or woken,
        mode=ServiceMode.SHADOW if shadow else spec.mode,
    )


def _once(targets: Iterable[Target]) -> list[Target]:
    return list({one.target.role: one for one in targets}.values())


def _role(target: Target) -> RoleSpec:
    return RoleSpec(target.target.role, target.bounds.least, max(1, target.bounds.max_replicas), target.gpus.whole)


def _bounded(role: RoleSpec, targets: Sequence[Target]) -> RoleSpec:
    """No more than KEDA's HPA would make of it."""
    most = max(1, *(one.bounds.max_replicas for one in targets if one.target.role == role.role))
    return replace(role, max_replicas=min(role.max_replicas, most), min_replicas=min(role.min_replicas, most))
