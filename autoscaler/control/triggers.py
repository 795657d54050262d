"""The triggers that KEDA showed to any of our replicas.

KEDA's connection may be pinned to one replica while another plans: what a trigger's metadata sets must reach the one
that plans, and whoever plans next. Of one ScaledObject and target the trigger that KEDA showed last counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from autoscaler.core.errors import AutoscalerError
from autoscaler.core.records import TargetId
from autoscaler.ports import Clock, TargetDirectory

# A cluster has thousands at most; beyond it the one that KEDA showed longest ago goes.
MOST_TRIGGERS = 10_000

TriggerKey = tuple[str, str, str, str]  # namespace and name of the ScaledObject, target and role as its metadata say


@dataclass(frozen=True, slots=True)
class Heard:
    """One trigger as KEDA showed it."""

    namespace: str
    name: str  # of the ScaledObject
    metadata: tuple[tuple[str, str], ...]  # in order of keys
    at_s: float  # when KEDA last showed it

    @property
    def key(self) -> TriggerKey:
        """What a later trigger must share to stand in this one's place."""
        said = dict(self.metadata)
        return self.namespace, self.name, said.get("target", ""), said.get("role", "")


class HeardTriggers:
    """Remembers what passes through a directory (itself a `TargetDirectory`)."""

    def __init__(self, directory: TargetDirectory, clock: Clock, tell: Callable[[TriggerKey], None]) -> None:
        self._directory = directory
        self._clock = clock
        self._tell = tell
        self._heard: dict[TriggerKey, Heard] = {}

    def resolve(self, namespace: str, name: str, metadata: Mapping[str, str]) -> TargetId:
        """The target of a trigger that KEDA shows to this replica now; raises as the directory does."""
        target = self._directory.resolve(namespace, name, metadata)
        heard = Heard(namespace, name, tuple(sorted(metadata.items())), self._clock.now())
        if self._keep(heard):
            self._tell(heard.key)
        return target

    def take(self, heard: Heard) -> bool:
        """Take up what another replica was shown; True if it is newer than what was heard here, and another."""
        former = self._heard.get(heard.key)
        if former is not None and former.at_s >= heard.at_s:
            return False
        if former is None or former.metadata != heard.metadata:
            try:
                self._directory.resolve(heard.namespace, heard.name, dict(heard.metadata))
            except AutoscalerError:
                return False  # the replica that KEDA called has told KEDA why
        return self._keep(heard)

    def _keep(self, heard: Heard) -> bool:
        former = self._heard.get(heard.key)
        if former is not None and former.metadata == heard.metadata:
            self._heard[heard.key] = replace(former, at_s=max(former.at_s, heard.at_s))
            return False
        if former is None and len(self._heard) >= MOST_TRIGGERS:
            del self._heard[min(self._heard, key=lambda key: self._heard[key].at_s)]
        self._heard[heard.key] = heard
        return True

    def get(self, key: TriggerKey) -> Heard | None:
        """One trigger by its key."""
        return self._heard.get(key)

    def keys(self) -> tuple[TriggerKey, ...]:
        """Every trigger heard of."""
        return tuple(self._heard)
