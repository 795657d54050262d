"""What a service without learned state of its own may take up: its past, as a Prometheus-compatible store has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from autoscaler.control.directories import Directories
from autoscaler.core.errors import AutoscalerError
from autoscaler.core.records import ServiceId, ServiceSpec
from autoscaler.ports import Discovery
from autoscaler.warm.series import pods_of
from autoscaler.warm.warming import WarmStart

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Remembered:
    """The past of every service (a `Past`): of the file, or found."""

    store: WarmStart
    directory: Directories
    found: Discovery | None

    async def learn(self, service: ServiceId, spec: ServiceSpec, listed: Mapping[str, int]) -> bytes | None:
        """A planner's state that lived through it; None, and one line in the log, where it is of no use."""
        try:
            learned = await self.store.learn(spec, self._series(service), listed)
        except (AutoscalerError, KeyError) as error:
            _log.warning("begins without a past", service=str(service), reason=str(error))
            return None
        except Exception:  # noqa: BLE001 -- a store that answers as none did before must not touch what runs
            _log.exception("begins without a past, by a fault of ours", service=str(service))
            return None
        _log.info("took up its past", service=str(service), learned=learned.text)
        return learned.snapshot

    def _series(self, service: ServiceId) -> dict[str, str]:
        """Label matchers by role: as the file says, else the pods of the workload."""
        targets = {target.role: target for target in self.directory.targets(service)}
        workloads = {} if targets or self.found is None else self.found.workloads(service)
        named = {role: one.warm_labels for role, one in targets.items()} | dict.fromkeys(workloads, "")
        return {
            role: labels or pods_of(service.namespace, workloads.get(role, service.name))
            for role, labels in named.items()
        }
