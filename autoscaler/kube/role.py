"""One role of a service as Kubernetes shows it: replicas from pods, pages from the target's settings."""

from __future__ import annotations

from collections.abc import Callable

from autoscaler.core.records import ReplicaPhase, RoleObservation, Sample
from autoscaler.kube.meaning.objects import Objects
from autoscaler.kube.meaning.replicas import PodReplica
from autoscaler.kube.meaning.resolve import Sight, Target
from autoscaler.kube.meaning.watch import TargetWatch, observed
from autoscaler.ports import Endpoint, SampleSource

# Who is not ready has no load, and its page, if it answers at all, says nothing that its phase does not.
SERVING = (ReplicaPhase.READY, ReplicaPhase.DRAINING)
# The entry of the operator's `access`, where there is one, that opens pages of pods: an authority, a header.
ACCESS = "kubernetes"


class KubeRole:
    """The replicas of one target (a `RoleSource`); `target` gives it as it is resolved now."""

    def __init__(self, objects: Objects, target: Callable[[], Target]) -> None:
        self._objects = objects
        self._target = target
        self._watch = TargetWatch()
        self._sight: Sight | None = None

    def endpoints(self) -> tuple[Endpoint, ...] | None:
        """The pages of the replicas that serve; None while pods cannot be read."""
        self._sight = self._watch.look(self._objects, self._target())
        if self._sight.replicas is None:
            return None
        return tuple(
            Endpoint(self._key(one), one.metrics_url, one.server, ACCESS, group=str(self._target().target))
            for one in self._sight.replicas
            if one.phase in SERVING and one.metrics_url is not None
        )

    def observe(self, samples: SampleSource, now: float) -> RoleObservation:  # noqa: ARG002 -- objects carry their times
        """The role as `endpoints` saw it, with what its pages said."""
        target = self._target()
        sight = self._sight or self._watch.look(self._objects, target)

        def sample_of(one: PodReplica) -> tuple[Sample | None, str | None]:
            if one.phase not in SERVING:
                return None, None
            state = samples.state(self._key(one))
            return state.sample, state.failure

        return observed(target, sight, sample_of)

    def resume(self, role: RoleObservation) -> None:
        """Nothing to take up: objects tell every time themselves."""

    def _key(self, one: PodReplica) -> str:
        return f"{self._target().target}|{one.replica_id}"
