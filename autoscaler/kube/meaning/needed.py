"""Which fields are read of the kinds of which there are many, so that whoever keeps objects may drop the rest.

Paths of keys; lists are gone through. Other kinds are few and are kept whole (without managedFields).
"""

from __future__ import annotations

from autoscaler.kube.meaning.objects import NODE, POD, Kind

IDENTITY = (
    "apiVersion",
    "kind",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "metadata.resourceVersion",
    "metadata.creationTimestamp",
    "metadata.deletionTimestamp",
    "metadata.labels",
    "metadata.annotations",
)
FIELDS: dict[Kind, tuple[str, ...]] = {
    POD: (
        *IDENTITY,
        "spec.nodeName",
        "spec.containers.name",
        "spec.containers.image",
        "spec.containers.command",
        "spec.containers.args",
        "spec.containers.ports",
        "spec.containers.readinessProbe",
        "spec.containers.resources.limits",
        "spec.resourceClaims",
        "status.phase",
        "status.podIP",
        "status.conditions",
        "status.containerStatuses.name",
        "status.containerStatuses.restartCount",
        "status.containerStatuses.state",
        "status.containerStatuses.lastState.terminated.finishedAt",
        "status.initContainerStatuses.state",
    ),
    NODE: (*IDENTITY, "status.allocatable"),
}

# What is the same in every pod of one template: kept once, 1.6 KiB a pod (10,000 pods: 16 MiB).
SHARED: dict[Kind, tuple[str, ...]] = {POD: ("metadata.labels", "spec.containers")}
