"""The thing with a `/scale`: how many replicas it wants and has, which pods are its own, and how one is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.objects import DEPLOYMENT, DISAGGREGATED_SET, LEADER_WORKER_SET, ROLE_SCALER, Kind, Objects
from autoscaler.kube.meaning.raw import NOTHING, Raw
from autoscaler.kube.meaning.selectors import Selector, equal, from_object, parse

# Labels of leaderworkerset and of its disaggregatedset (their API types).
LWS_NAME, WORKER_INDEX = "leaderworkerset.sigs.k8s.io/name", "leaderworkerset.sigs.k8s.io/worker-index"
GROUP_KEY, GROUP_INDEX = "leaderworkerset.sigs.k8s.io/group-key", "leaderworkerset.sigs.k8s.io/group-index"
SET_NAME, SET_ROLE = "disaggregatedset.x-k8s.io/name", "disaggregatedset.x-k8s.io/role"


class Unit(Enum):
    """What one replica is."""

    POD = "pod"
    GROUP = "group"  # a leader pod and its workers: one serving unit


@dataclass(frozen=True, slots=True)
class Workload:
    """A scale target as read."""

    kind: Kind
    namespace: str
    name: str
    found: bool | None  # None: it cannot be read, so nothing is known
    spec_replicas: int | None = None
    status_replicas: int | None = None
    selector: Selector | None = None  # of its pods, or of the leaders of its groups
    unit: Unit = Unit.POD
    pods_per_replica: int = 1
    template: Raw = field(default_factory=dict)  # of the pod that serves: metadata and spec
    worker_template: Raw = field(default_factory=dict)  # of the group's other pods
    raw: Raw = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace}/{self.name}"


def scale_target(scaled_object: Raw) -> tuple[Kind, str]:
    """What a ScaledObject scales; apps/v1 Deployment is KEDA's default."""
    ref = read.mapping(scaled_object, "spec", "scaleTargetRef")
    kind, version = read.text(ref, "kind"), read.text(ref, "apiVersion")
    if not kind:
        return DEPLOYMENT, read.text(ref, "name")
    return Kind(read.group_of(version) if version else "apps", kind), read.text(ref, "name")


def read_workload(objects: Objects, kind: Kind, namespace: str, name: str) -> Workload:
    """The scale target as it is now; `found` is None where its kind cannot be read."""
    raw = objects.get(kind, namespace, name)
    if raw is None:
        return Workload(kind, namespace, name, False if objects.reading(kind, namespace).complete else None)
    if kind == LEADER_WORKER_SET:
        return _groups(kind, namespace, raw, read.mapping(raw, "spec", "leaderWorkerTemplate"), _lws_selector(raw))
    if kind == ROLE_SCALER:
        return _groups(kind, namespace, raw, _role_template(objects, namespace, raw), _role_selector(raw))
    # What a scale says comes first: `spec.selector` of a kind that nobody knows may mean anything.
    selector = parse(read.text(raw, "status", "selector")) or from_object(raw, "spec", "selector")
    return Workload(
        kind,
        namespace,
        name,
        True,
        _wanted(raw),
        read.whole(raw, "status", "replicas"),
        selector,
        template=read.mapping(raw, "spec", "template"),
        raw=raw,
    )


def _wanted(raw: Raw) -> int | None:
    """spec.replicas; the API server writes 1 where it was left out, so only files lack it."""
    return read.whole(raw, "spec", "replicas")


def _groups(kind: Kind, namespace: str, raw: Raw, template: Raw, selector: Selector | None) -> Workload:
    size = read.whole(template, "size") or 1
    worker = read.mapping(template, "workerTemplate")
    return Workload(
        kind,
        namespace,
        read.name(raw),
        True,
        _wanted(raw),
        read.whole(raw, "status", "replicas"),
        selector,
        Unit.GROUP,
        size,
        read.mapping(template, "leaderTemplate") or worker,
        worker,
        raw,
    )


def _lws_selector(raw: Raw) -> Selector:
    """The leaders: what the controller wrote, else by the labels it puts on pods."""
    written = parse(read.text(raw, "status", "hpaPodSelector"))
    return written or equal({LWS_NAME: read.name(raw), WORKER_INDEX: "0"})


def _role_selector(raw: Raw) -> Selector | None:
    """The leaders of one role over all revisions; releases before that was settled wrote every pod of the role."""
    written = parse(read.text(raw, "status", "selector"))
    labels = {SET_NAME: _set_name(raw), SET_ROLE: role_of_scaler(raw)}
    if written is None:
        return equal({**labels, WORKER_INDEX: "0"}) if all(labels.values()) else None
    if any(one.key == WORKER_INDEX for one in written.requirements):
        return written
    return Selector((*written.requirements, *equal({WORKER_INDEX: "0"}).requirements))


def _set_name(raw: Raw) -> str:
    owned = next((one.name for one in read.owners(raw) if one.kind == DISAGGREGATED_SET.kind), "")
    return owned or read.labels_of(raw).get(SET_NAME, "")


def role_of_scaler(raw: Raw) -> str:
    """The role a DisaggregatedSetRoleScaler drives; its name is `<set>-<role>`."""
    return read.labels_of(raw).get(SET_ROLE, "") or read.name(raw).removeprefix(f"{_set_name(raw)}-")


def _role_template(objects: Objects, namespace: str, raw: Raw) -> Raw:
    owner = objects.get(DISAGGREGATED_SET, namespace, _set_name(raw))
    roles = read.items(owner, "spec", "roles")
    role = next((one for one in roles if read.text(one, "name") == role_of_scaler(raw)), NOTHING)
    return read.mapping(role, "spec", "leaderWorkerTemplate")
