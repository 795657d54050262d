"""Two directories seen as one: the operator's file, and what was found in a cluster; for one service the file wins."""

from __future__ import annotations

from collections.abc import Mapping

from autoscaler.config.records import TargetSettings
from autoscaler.control.directory import Directory
from autoscaler.core.records import ServiceId, ServiceSpec, TargetId
from autoscaler.ports import Discovery


class Directories:
    """Resolves calls (a `TargetDirectory`) against the file first, then against what was found."""

    def __init__(self, file: Directory, found: Discovery | None = None) -> None:
        self._file = file
        self._found = found

    def services(self) -> tuple[ServiceId, ...]:
        """Every service of the file, then those found."""
        return tuple(dict.fromkeys((*self._file.services(), *self.found())))

    def found(self) -> tuple[ServiceId, ...]:
        """Services that were found and are not in the file."""
        if self._found is None:
            return ()
        mine = set(self._file.services())
        return tuple(service for service in self._found.services() if service not in mine)

    def spec(self, service: ServiceId) -> ServiceSpec:
        """What is set for a service now; raises KeyError for one that is not known."""
        if self._found is None or service in self._file.services():
            return self._file.spec(service)
        return self._found.settings(service).spec

    def targets(self, service: ServiceId) -> tuple[TargetSettings, ...]:
        """What the file says of a service's targets; none for one that was found."""
        return self._file.settings(service).targets if service in self._file.services() else ()

    def resolve(self, namespace: str, name: str, metadata: Mapping[str, str]) -> TargetId:
        """The target that a ScaledObject's trigger means; raises as either directory does.

        A trigger that names no service of the file may still mean one: the service behind what it scales.
        """
        if self._found is None or self._file.names(namespace, name, metadata):
            return self._file.resolve(namespace, name, metadata)
        target = self._found.resolve(namespace, name, metadata)
        if target.service not in self._file.services():
            return target
        named = {**metadata, "target": target.service.name} | ({"role": target.role} if target.role else {})
        return self._file.resolve(namespace, name, named)
