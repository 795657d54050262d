"""One target looked at again and again: the one object here that remembers, and what the planner takes from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from autoscaler.core.records import RoleObservation, Sample
from autoscaler.kube.meaning.objects import Objects
from autoscaler.kube.meaning.replicas import FirstReady, Memo, PodReplica
from autoscaler.kube.meaning.resolve import Sight, Target, look

SampleOf = Callable[[PodReplica], tuple[Sample | None, str | None]]


class TargetWatch:
    """Remembers pods that did not change, and when each replica was first ready."""

    def __init__(self) -> None:
        self._memo: Memo = {}
        self._first = FirstReady()

    def look(self, objects: Objects, target: Target) -> Sight:
        """The target's replicas now, with the first time each was ready."""
        sight = look(objects, target, self._memo)
        if sight.replicas is None:
            return sight
        return replace(sight, replicas=self._first.settle(sight.replicas))


def observed(target: Target, sight: Sight, sample_of: SampleOf) -> RoleObservation:
    """The role as the planner takes it; `sample_of` gives what a replica's page said last and how that went.

    Nothing of it is zero for want of knowledge: replicas that cannot be read are None, and a workload that is gone is
    stopped.
    """
    replicas = None
    if sight.replicas is not None:
        replicas = tuple(one.observed(*sample_of(one)) for one in sight.replicas)
    return RoleObservation(target.target.role, replicas, sight.spec_replicas, sight.status_replicas, sight.stopped)
