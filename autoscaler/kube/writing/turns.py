"""One job at a time for each target, the newest that waits; what the cluster refuses is said once and tried slowly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from autoscaler.core.errors import ClusterError
from autoscaler.core.records import TargetId
from autoscaler.kube.apply import Outcome, WriteMetrics
from autoscaler.kube.errors import Conflict, Forbidden, MissingKind, NotFound
from autoscaler.ports import Clock

_log = structlog.get_logger(__name__)

Job = Callable[[], Awaitable[None]]
OFF_S = 300.0  # where a rule or a CRD is missing


class Turns:
    """Jobs of one writer; `run` does them."""

    def __init__(self, what: str, clock: Clock, metrics: WriteMetrics | None = None) -> None:
        """`what` is the writer as the log and metrics name it."""
        self.problem: ClusterError | None = None  # why the newest job failed; None: it did not
        self.refused: dict[str, ClusterError] = {}  # by namespace: the rule or the CRD that is missing there
        self.failed = 0  # jobs that the cluster refused or lost, conflicts not counted
        self.conflicts = 0  # somebody else wrote first: left to the next decision
        self.what = what
        self._clock = clock
        self._metrics = metrics
        self._waiting: dict[TargetId, Job] = {}
        self._busy: set[TargetId] = set()
        self._offered = asyncio.Event()
        self._off_until_s: dict[str, float] = {}  # by namespace: rules are given in each
        self._said: set[tuple[str, type[ClusterError]]] = set()

    @property
    def busy(self) -> bool:
        """Whether anything waits or is being done."""
        return bool(self._waiting or self._busy)

    def offer(self, target: TargetId, job: Job) -> None:
        """Do this next for the target; replaces what still waits for it. Dropped while the writer is off there."""
        if self._clock.now() >= self._off_until_s.get(target.service.namespace, 0.0):
            self._waiting[target] = job
            self._offered.set()

    def drop(self, target: TargetId) -> None:
        """Do not do what still waits for the target."""
        self._waiting.pop(target, None)

    def count(self, namespace: str, outcome: Outcome) -> None:
        """Something was written, or was not."""
        if outcome is Outcome.CONFLICT:
            self.conflicts += 1
        if self._metrics is not None:
            self._metrics.wrote(self.what, namespace, outcome.value)

    async def run(self) -> None:
        """Do what was offered, targets side by side; ends by cancellation only."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._offered.wait()
                self._offered.clear()
                for target in [one for one in self._waiting if one not in self._busy]:
                    self._busy.add(target)
                    tasks.create_task(self._work(target))

    async def _work(self, target: TargetId) -> None:
        try:
            while (job := self._waiting.pop(target, None)) is not None:
                await self._do(target.service.namespace, job)
        finally:
            self._busy.discard(target)

    async def _do(self, namespace: str, job: Job) -> None:
        try:
            await job()
        except Conflict:
            self.count(namespace, Outcome.CONFLICT)
        except NotFound:
            pass  # deleted since it was looked at: nothing to write to
        except ClusterError as error:
            self._fail(namespace, error)
        except Exception as error:  # noqa: BLE001 -- one target's surprise must not end the others
            self._fail(namespace, ClusterError(f"{self.what}: {type(error).__name__}: {error}"))
        else:
            self.problem = None
            self.refused.pop(namespace, None)
            self._said = {one for one in self._said if one[0] != namespace}

    def _fail(self, namespace: str, error: ClusterError) -> None:
        self.failed += 1
        self.problem = error
        refused = isinstance(error, (Forbidden, MissingKind))
        self.count(namespace, Outcome.REFUSED if refused else Outcome.FAILED)
        if refused:
            self._off_until_s[namespace] = self._clock.now() + OFF_S
            self.refused[namespace] = error
        if (namespace, type(error)) not in self._said:
            self._said.add((namespace, type(error)))
            _log.warning("cannot write", writer=self.what, namespace=namespace, reason=str(error))
