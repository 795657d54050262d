"""From pods to replicas: which are a target's own, where each is in its life, and since when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from autoscaler.core.records import Replica, ReplicaPhase, Sample
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.metrics_page import metrics_page, serving_container
from autoscaler.kube.meaning.objects import POD, Objects
from autoscaler.kube.meaning.raw import NOTHING, Raw
from autoscaler.kube.meaning.selectors import equal
from autoscaler.kube.meaning.workload import GROUP_INDEX, GROUP_KEY, LWS_NAME, Unit, Workload

_LEAST_FIRST = (ReplicaPhase.DRAINING, ReplicaPhase.PENDING, ReplicaPhase.STARTING, ReplicaPhase.READY)
OVER = frozenset({"Succeeded", "Failed"})  # evicted, or finished: no replica any more


@dataclass(frozen=True, slots=True)
class PodReplica:
    """One serving unit as its pods tell; times are Unix seconds, None where a phase was not reached."""

    replica_id: str  # uid of the (leader) pod, with its restart count from the first restart on
    pod: str  # name of the (leader) pod
    phase: ReplicaPhase
    metrics_url: str | None  # None: it has no address yet
    server: str  # profile name, or auto
    created_at_s: float | None = None
    scheduled_at_s: float | None = None  # of its last pod
    started_at_s: float | None = None  # of the serving container of its last pod
    ready_at_s: float | None = None  # the last change to Ready, see `FirstReady`
    terminating_at_s: float | None = None
    restarts: int = 0
    node: str = ""
    trouble: str = ""  # why it is not ready: what the scheduler, the image pull or a crash said

    def observed(self, sample: Sample | None, failure: str | None = None) -> Replica:
        """As the planner takes it, with what its page said.

        A restarted container did not wait for a node: its life says nothing of the lead time, so it has no ready time.
        """
        return Replica(
            self.replica_id,
            self.phase,
            self.created_at_s,
            self.scheduled_at_s,
            None if self.restarts else self.ready_at_s,
            sample,
            failure or self.trouble or None,
            self.restarts,
        )


@dataclass(frozen=True, slots=True)
class PageSettings:
    """What is set of the metrics page."""

    server: str | None = None
    port: int | None = None
    path: str | None = None


# Pods as read before, by uid: a pod takes 0.1 to 0.2 ms to read, and most do not change from one look to the next.
Memo = dict[str, tuple[Raw, PageSettings, PodReplica]]


def replicas_of(
    objects: Objects, workload: Workload, page: PageSettings = PageSettings(), memo: Memo | None = None
) -> tuple[PodReplica, ...] | None:
    """The replicas of a workload, oldest first; None where its pods cannot be read.

    A group is one replica: it is ready when its leader is and all of its pods are there and ready, and as late in its
    life as the latest of them. `memo` is kept between looks; those who list objects must not change them in place.
    """
    if workload.found is False:
        return ()
    reading = objects.reading(POD, workload.namespace)
    if workload.selector is None or not reading.complete:
        return None
    pods = [one for one in objects.find(POD, workload.namespace, workload.selector) if not _over(one)]
    known: Memo = {} if memo is None else memo
    found: list[PodReplica] = []
    uids: set[str] = set()
    for pod in pods:
        one = _read(pod, page, known, uids)
        if workload.unit is Unit.GROUP and workload.pods_per_replica > 1:
            members = _members(objects, workload.namespace, pod)
            one = _group(one, workload.pods_per_replica, [_read(member, page, known, uids) for member in members])
        found.append(one)
    for gone in known.keys() - uids:
        del known[gone]
    return tuple(sorted(found, key=lambda one: (one.created_at_s or 0.0, one.replica_id)))


def _over(pod: Raw) -> bool:
    return read.text(pod, "status", "phase") in OVER


def _read(pod: Raw, page: PageSettings, memo: Memo, uids: set[str]) -> PodReplica:
    uid = _uid(pod)
    uids.add(uid)
    last = memo.get(uid)
    if last is not None and last[1] == page and _same(last[0], pod):
        return last[2]
    one = _one(pod, page)
    memo[uid] = pod, page, one
    return one


def _same(old: Raw, new: Raw) -> bool:
    """A relist gives new objects of the same version."""
    version = read.text(new, "metadata", "resourceVersion")
    return old is new or (version != "" and read.text(old, "metadata", "resourceVersion") == version)


def _uid(pod: Raw) -> str:
    return read.text(pod, "metadata", "uid") or read.name(pod)


def _one(pod: Raw, settings: PageSettings) -> PodReplica:
    container = serving_container(pod)
    status = _container_status(pod, read.text(container, "name"))
    restarts = read.whole(status, "restartCount") or 0
    uid = _uid(pod)
    address = read.text(pod, "status", "podIP")
    page = metrics_page(pod, server=settings.server, port=settings.port, path=settings.path, container=container)
    ready, scheduled = read.condition(pod, "Ready"), read.condition(pod, "PodScheduled")
    is_ready, is_scheduled = (read.text(one, "status") == "True" for one in (ready, scheduled))
    terminating_s = read.moment_s(pod, "metadata", "deletionTimestamp")
    return PodReplica(
        replica_id=f"{uid}#{restarts}" if restarts else uid,
        pod=read.name(pod),
        phase=_phase(terminating_s is not None, is_ready, is_scheduled or bool(read.text(pod, "spec", "nodeName"))),
        metrics_url=page.url(address) if address else None,
        server=page.server,
        created_at_s=_begun_s(pod, status, restarts),
        scheduled_at_s=read.moment_s(scheduled, "lastTransitionTime") if is_scheduled else None,
        started_at_s=read.moment_s(status, "state", "running", "startedAt"),
        ready_at_s=read.moment_s(ready, "lastTransitionTime") if is_ready else None,
        terminating_at_s=terminating_s,
        restarts=restarts,
        node=read.text(pod, "spec", "nodeName"),
        trouble="" if is_ready else _trouble(pod, status, scheduled),
    )


def _begun_s(pod: Raw, status: Raw, restarts: int) -> float | None:
    """When this life of the pod began: its creation, or the end of the life before."""
    if not restarts:
        return read.moment_s(pod, "metadata", "creationTimestamp")
    ended_s = read.moment_s(status, "lastState", "terminated", "finishedAt")
    return ended_s if ended_s is not None else read.moment_s(status, "state", "running", "startedAt")


def _phase(terminating: bool, ready: bool, scheduled: bool) -> ReplicaPhase:
    if terminating:
        return ReplicaPhase.DRAINING
    if ready:
        return ReplicaPhase.READY
    return ReplicaPhase.STARTING if scheduled else ReplicaPhase.PENDING


def _container_status(pod: Raw, name: str) -> Raw:
    statuses = read.items(pod, "status", "containerStatuses")
    return next((one for one in statuses if read.text(one, "name") == name), NOTHING)


def _trouble(pod: Raw, status: Raw, scheduled: Raw) -> str:
    if read.text(scheduled, "status") == "False":
        return ": ".join(filter(None, (read.text(scheduled, "reason"), read.text(scheduled, "message"))))
    waiting = read.mapping(status, "state", "waiting")
    reason = read.text(waiting, "reason")
    if reason and reason not in ("ContainerCreating", "PodInitializing"):
        return f"{reason}: {read.text(waiting, 'message')}".removesuffix(": ")
    initial = (read.mapping(one, "state", "waiting") for one in read.items(pod, "status", "initContainerStatuses"))
    stuck = next((read.text(one, "reason") for one in initial if "Back" in read.text(one, "reason")), "")
    return f"init container: {stuck}" if stuck else ""


def _members(objects: Objects, namespace: str, leader: Raw) -> list[Raw]:
    labels = read.labels_of(leader)
    keys = (GROUP_KEY,) if GROUP_KEY in labels else (LWS_NAME, GROUP_INDEX)
    if not all(key in labels for key in keys):
        return [leader]
    selector = equal({key: labels[key] for key in keys})
    return [one for one in objects.find(POD, namespace, selector) if not _over(one)]


def _group(leader: PodReplica, size: int, members: Sequence[PodReplica]) -> PodReplica:
    """The leader's life, held back by the least advanced of its group."""
    phases = {leader.phase, *(one.phase for one in members)}
    whole = len(members) >= size
    if not whole:
        phases.add(ReplicaPhase.PENDING)
    phase = next(one for one in _LEAST_FIRST if one in phases)
    restarts = max([leader.restarts, *(one.restarts for one in members)])
    missing = "" if whole else f"{len(members)} of {size} pods of the group are there"
    return replace(
        leader,
        phase=phase,
        replica_id=f"{leader.replica_id.partition('#')[0]}#{restarts}" if restarts else leader.replica_id,
        created_at_s=_latest([one.created_at_s for one in members]) if restarts else leader.created_at_s,
        scheduled_at_s=_latest([one.scheduled_at_s for one in members]) if whole else None,
        started_at_s=_latest([one.started_at_s for one in members]) if whole else None,
        ready_at_s=_latest([one.ready_at_s for one in members]) if whole else None,
        restarts=restarts,
        trouble=missing or leader.trouble or next((one.trouble for one in members if one.trouble), ""),
    )


def _latest(times: list[float | None]) -> float | None:
    known = [time for time in times if time is not None]
    return max(known) if times and len(known) == len(times) else None


class FirstReady:
    """Remembers when each replica was first ready, from one look to the next.

    A readiness probe that fails for a moment moves the condition's time: read as the end of the start, it would make a
    lead time of hours. What was ready when first seen says nothing of its start unless it was created after the first
    look; and what was ready once and is not now has not gone back to loading: it stays ready, with the trouble.
    """

    def __init__(self) -> None:
        self._looks = 0
        self._first: dict[str, float | None] = {}
        self._seen: set[str] = set()

    def settle(self, replicas: Iterable[PodReplica]) -> tuple[PodReplica, ...]:
        """The replicas with the first time they were ready; those no longer there are forgotten."""
        settled = tuple(self._one(one) for one in replicas)
        there = {one.replica_id for one in settled}
        self._first = {key: value for key, value in self._first.items() if key in there}
        self._seen = there
        self._looks += 1
        return settled

    def _one(self, one: PodReplica) -> PodReplica:
        key = one.replica_id
        if one.phase is ReplicaPhase.READY and key not in self._first:
            watched = key in self._seen or self._looks > 0
            self._first[key] = one.ready_at_s if watched else None
        if key not in self._first:
            return one
        if one.phase in (ReplicaPhase.STARTING, ReplicaPhase.PENDING):
            trouble = one.trouble or "it was ready and its readiness probe fails now"
            return replace(one, phase=ReplicaPhase.READY, ready_at_s=self._first[key], trouble=trouble)
        first_s = self._first[key]
        return one if one.ready_at_s == first_s else replace(one, ready_at_s=first_s)
