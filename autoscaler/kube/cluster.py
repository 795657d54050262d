"""Every kind that targets are read from, watched: what `meaning` looks at when the cluster is a live one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

from autoscaler.kube import resources as api
from autoscaler.kube.cache import Handlers
from autoscaler.kube.client import KubeClient
from autoscaler.kube.decoding import keep, without_bookkeeping
from autoscaler.kube.errors import Forbidden
from autoscaler.kube.informer import Condition, InformerMetrics, Pace
from autoscaler.kube.meaning import objects as kinds
from autoscaler.kube.meaning.needed import FIELDS, SHARED
from autoscaler.kube.meaning.objects import CLUSTER_SCOPED, Kind, Reading
from autoscaler.kube.meaning.viewed import INDEXES, Viewed
from autoscaler.kube.namespaced import NamespacedInformers
from autoscaler.kube.resources import Resource
from autoscaler.kube.scales import Scales
from autoscaler.ports import Clock

# What resolving a ScaledObject and looking at its replicas reads; the chart's rules allow exactly these.
WATCHED: Mapping[Kind, Resource] = {
    kinds.SCALED_OBJECT: api.SCALED_OBJECTS,
    kinds.POD: api.PODS,
    kinds.DEPLOYMENT: api.DEPLOYMENTS,
    kinds.STATEFUL_SET: api.STATEFUL_SETS,
    kinds.HPA: api.HORIZONTAL_POD_AUTOSCALERS,
    kinds.INFERENCE_SERVICE: api.INFERENCE_SERVICES,
    kinds.LLM_INFERENCE_SERVICE: api.LLM_INFERENCE_SERVICES,
    kinds.LLM_CONFIG: api.LLM_INFERENCE_SERVICE_CONFIGS,
    kinds.LEADER_WORKER_SET: api.LEADER_WORKER_SETS,
    kinds.DISAGGREGATED_SET: api.DISAGGREGATED_SETS,
    kinds.ROLE_SCALER: api.DISAGGREGATED_SET_ROLE_SCALERS,
    kinds.CLAIM_TEMPLATE: api.RESOURCE_CLAIM_TEMPLATES,
}
_BY_REASON = {"Watching": Reading.READ, "Forbidden": Reading.FORBIDDEN, "MissingKind": Reading.ABSENT}
# Of several namespaces the worst counts; a kind whose CRD is absent is absent in all.
_WORST_FIRST = (Reading.FORBIDDEN, Reading.STALE, Reading.READ, Reading.ABSENT)


class Cluster:
    """Informers of every kind, kept by `run`; `objects` is what they know."""

    def __init__(
        self,
        client: KubeClient,
        namespaces: Sequence[str],
        clock: Clock,
        *,
        rng: random.Random,
        metrics: InformerMetrics | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._clock = clock
        self._informers = {
            kind: NamespacedInformers(
                client,
                resource,
                namespaces,
                clock,
                rng=rng,
                pace=pace,
                trim=keep(*FIELDS[kind], shared=SHARED.get(kind, ())) if kind in FIELDS else without_bookkeeping,
                indexes=INDEXES,
                metrics=metrics,
            )
            for kind, resource in WATCHED.items()
        }
        self.scales = Scales(client, clock)
        self.objects = Viewed(self._informers, self._reading, self.scales)

    async def run(self) -> None:
        """Keep every kind current; ends by cancellation only."""
        async with asyncio.TaskGroup() as tasks:
            for informers in self._informers.values():
                tasks.create_task(informers.run())
            tasks.create_task(self.scales.run())

    async def settled(self, within_s: float) -> bool:
        """Wait until each kind was listed or is known to be off; False if one is neither in time."""
        try:
            async with asyncio.timeout(self._clock.wall_s(within_s)):
                for informers in self._informers.values():
                    await informers.settled()
        except TimeoutError:
            return False
        return True

    def subscribe(self, handlers: Callable[[Kind], Handlers]) -> None:
        """Tell of changes of every kind but pods, which change too often: they are looked at.

        A scale target of a kind that is not watched is told of as added, whatever became of it.
        """
        self.scales.changed = handlers(Kind("", "Scale")).added
        for kind, informers in self._informers.items():
            if kind != kinds.POD:
                informers.subscribe(handlers(kind))

    def conditions(self) -> tuple[Condition, ...]:
        """How each kind is, in each namespace."""
        watched = tuple(one for informers in self._informers.values() for one in informers.conditions())
        return watched + self.scales.conditions()

    def forbidden(self, kind: Kind, namespace: str) -> Forbidden | None:
        """The rule that is missing to read a kind in a namespace; None: none is."""
        found = self._informers[kind].conditions_in(namespace) if kind in self._informers else ()
        return next((Forbidden(one.message, 403) for one in found if one.reason == "Forbidden"), None)

    def _reading(self, kind: Kind, namespace: str | None) -> Reading:
        where = None if kind in CLUSTER_SCOPED else namespace
        found = {_BY_REASON.get(one.reason, Reading.STALE) for one in self._informers[kind].conditions_in(where)}
        return next((one for one in _WORST_FIRST if one in found), Reading.UNWATCHED)
