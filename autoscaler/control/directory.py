"""The directory: which target a KEDA call means, and what the operator's file and the trigger together say of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from autoscaler.config.metadata import normalise, read_trigger
from autoscaler.config.overlay import apply
from autoscaler.config.records import Overrides, ServiceSettings
from autoscaler.core.errors import ConfigError, Problem
from autoscaler.core.records import ServiceId, ServiceMode, ServiceSpec, TargetId
from autoscaler.ports import ShadowError

# Distinct (ScaledObject, metadata) pairs remembered; a cluster has thousands at most, so a full memo means nonsense.
MEMO_SIZE = 10_000

_Key = tuple[str, str, tuple[tuple[str, str], ...]]


class Directory:
    """Resolves calls against the services of the targets file (a `TargetDirectory`), and keeps their current specs.

    What a trigger's metadata sets lies over the file until that trigger says otherwise; learned state is keyed by the
    target, so editing an objective never loses it.
    """

    def __init__(self, services: Sequence[ServiceSettings], warn: Callable[[str], None] = lambda _: None) -> None:
        self._settings = {settings.spec.service: settings for settings in services}
        self._overrides: dict[TargetId, Overrides] = {}
        self._specs: dict[ServiceId, ServiceSpec] = {s.spec.service: s.spec for s in services}
        self._memo: dict[_Key, tuple[TargetId, Overrides]] = {}
        self._warn = warn

    def services(self) -> tuple[ServiceId, ...]:
        """Every service of the file."""
        return tuple(self._settings)

    def spec(self, service: ServiceId) -> ServiceSpec:
        """What file and triggers together say of a service now; raises KeyError for a service not in the file."""
        return self._specs[service]

    def settings(self, service: ServiceId) -> ServiceSettings:
        """How the file says to find and read a service; raises KeyError for a service not in the file."""
        return self._settings[service]

    def names(self, namespace: str, name: str, metadata: Mapping[str, str]) -> bool:
        """Whether a trigger's words name a service of the file, whatever is wrong with the rest of them."""
        written = (metadata.get("target") or name).split("/")
        services = written[:1] if len(written) == 1 else written[:2]
        return any(ServiceId(namespace, one) in self._settings for one in services)

    def resolve(self, namespace: str, name: str, metadata: Mapping[str, str]) -> TargetId:
        """The target that a ScaledObject's trigger means; applies what its metadata sets.

        Raises ConfigError: no such target, another namespace, a missing or unknown role, or a malformed value; and
        ShadowError: the service is only watched, so nothing that the trigger sets counts.
        """
        key = (namespace, name, normalise(metadata))
        known = self._memo.get(key)
        if known is None:
            known = self._read(namespace, name, metadata)
            if len(self._memo) >= MEMO_SIZE:
                self._memo.clear()
            self._memo[key] = known
        target, overrides = known
        if self._settings[target.service].spec.mode is ServiceMode.SHADOW:
            raise ShadowError(
                f"trigger of ScaledObject {namespace}/{name}: {target.service} is in shadow mode, decided and "
                "published but never acted on; remove the trigger, or set `mode: act` for it in the targets file"
            )
        if self._overrides.get(target) != overrides:
            self._overlay(target, overrides)
        return target

    def _read(self, namespace: str, name: str, metadata: Mapping[str, str]) -> tuple[TargetId, Overrides]:
        source = f"trigger of ScaledObject {namespace}/{name}"
        trigger = read_trigger(metadata)
        target = self._target(source, namespace, trigger.target or name, trigger.role)
        for warning in trigger.warnings:
            self._warn(f"{source}: {warning}")
        return target, trigger.overrides

    def _target(self, source: str, namespace: str, written: str, role: str) -> TargetId:
        parts = written.split("/")
        in_path = ""
        if len(parts) == 2 and ServiceId(namespace, parts[0]) in self._settings:
            parts, in_path = parts[:1], parts[1]
        elif len(parts) == 3:
            parts, in_path = parts[:2], parts[2]
        if len(parts) == 2 and parts[0] != namespace:
            raise ConfigError(
                source,
                (Problem("target", repr(written), f"a target in the trigger's own namespace, {namespace!r}"),),
            )
        service = ServiceId(namespace, parts[-1])
        settings = self._settings.get(service)
        if settings is None or len(parts) > 2:
            raise ConfigError(source, (Problem("target", repr(written), self._nearest(namespace, parts[-1])),))
        return TargetId(service, _role(source, settings, role or in_path))

    def _nearest(self, namespace: str, name: str) -> str:
        here = [service.name for service in self._settings if service.namespace == namespace]
        close = difflib.get_close_matches(name, here, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f" (known in {namespace!r}: {', '.join(here) or 'none'})"
        return "the name of a service in the targets file" + hint

    def _overlay(self, target: TargetId, overrides: Overrides) -> None:
        """Lay the overrides of every target of the service over the file, the newest included, or change nothing."""
        laid = {**self._overrides, target: overrides}
        spec = self._settings[target.service].spec
        for other, theirs in laid.items():
            if other.service == target.service:
                spec = apply(spec, other.role, theirs)
        self._overrides = laid
        self._specs[target.service] = replace(spec, service=target.service)


def _role(source: str, settings: ServiceSettings, role: str) -> str:
    """The role as asked, or the only one there is."""
    roles = [spec.role for spec in settings.spec.roles]
    if role in roles:
        return role
    if not role and len(roles) == 1:
        return roles[0]
    named = ", ".join(repr(name) for name in roles if name)
    expected = f"one of {named}" if named else "no role: the service has only one"
    raise ConfigError(source, (Problem("role", repr(role) if role else "nothing", expected),))
