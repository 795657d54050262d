"""Laying overrides over a service's spec, with the checks that only both together allow."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from autoscaler.config.records import Overrides
from autoscaler.core.errors import ConfigError, Problem
from autoscaler.core.records import Objective, RoleSpec, ServiceSpec

_OBJECTIVE = {field.name for field in fields(Objective)}
_ROLE = {"min_replicas", "max_replicas", "gpus_per_replica", "prior", "max_batched_tokens", "max_sequences"}
_SERVICE = {"keep_warm_s", "gpu_price_per_hour"}


def _set(overrides: Overrides, names: set[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(overrides, name)) is not None}


def apply(spec: ServiceSpec, role: str, overrides: Overrides) -> ServiceSpec:
    """The spec with what a trigger for `role` sets. Raises ConfigError (bounds that exclude each other)."""
    roles = tuple(replace(one, **_set(overrides, _ROLE)) if one.role == role else one for one in spec.roles)
    for one in roles:
        _check(one)
    return replace(
        spec,
        roles=roles,
        objective=replace(spec.objective, **_set(overrides, _OBJECTIVE)),
        zero_without_wake_source=spec.zero_without_wake_source or overrides.wake_source_none,
        **_set(overrides, _SERVICE),
    )


def _check(role: RoleSpec) -> None:
    if role.min_replicas > role.max_replicas:
        problem = Problem("minReplicas", str(role.min_replicas), f"at most maxReplicas, which is {role.max_replicas}")
        raise ConfigError("trigger metadata over targets file", (problem,))
