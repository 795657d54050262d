"""What is set for one service, all of its roles together: Kubernetes' bounds, the operator's file, the users' words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from autoscaler.config.overlay import apply
from autoscaler.config.records import Overrides
from autoscaler.core.records import RoleSpec, ServiceMode, ServiceSpec
from autoscaler.kube.meaning.resolve import Target


def service_spec(
    targets: Sequence[Target], file: ServiceSpec | None = None, defaults: Overrides | None = None
) -> ServiceSpec:
    """What is set for one service, all of its roles together; `file` is the operator's own word on it.

    `targets` are the targets of that service, `defaults` what the operator sets for all that say nothing.
    Raises ConfigError (bounds that exclude each other).
    """
    first = targets[0].target.service
    roles = {one.role: one for one in file.roles} if file else {}
    base = file or ServiceSpec(first, ())
    specs = tuple(roles.get(one.target.role) or _role(one) for one in _once(targets))
    spec = replace(base, service=first, roles=specs)
    said = [one.overrides for one in targets]
    if defaults is not None:
        if any(one.wake_source or one.wake_source_none for one in said):
            defaults = replace(defaults, wake_source=None, wake_source_none=False)
        for one in targets:
            spec = apply(spec, one.target.role, defaults)
    for one in targets:
        spec = apply(spec, one.target.role, one.overrides)
    woken = any(one.wake_source for one in (*said, defaults) if one is not None)
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
    return RoleSpec(
        target.target.role,
        target.bounds.least,
        max(1, target.bounds.max_replicas),
        target.gpus.whole,
        max_batched_tokens=target.arguments.max_batched_tokens,
        max_sequences=target.arguments.max_sequences,
    )


def _bounded(role: RoleSpec, targets: Sequence[Target]) -> RoleSpec:
    """No more than KEDA's HPA would make of it."""
    most = max(1, *(one.bounds.max_replicas for one in targets if one.target.role == role.role))
    return replace(role, max_replicas=min(role.max_replicas, most), min_replicas=min(role.min_replicas, most))
