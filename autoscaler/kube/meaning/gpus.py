"""GPUs that one replica holds: device plugins, MIG profiles, DRA claims, and groups of pods."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.objects import CLAIM_TEMPLATE, POD, Objects
from autoscaler.kube.meaning.raw import Raw
from autoscaler.kube.meaning.workload import Unit, Workload

# Whole devices, as their device plugins name them. KServe's own list and those of the vendors' plugins.
DEVICES = frozenset(
    {
        "nvidia.com/gpu",
        "amd.com/gpu",
        "intel.com/gpu",
        "gpu.intel.com/i915",
        "gpu.intel.com/xe",
        "habana.ai/gaudi",
        "google.com/tpu",
        "aws.amazon.com/neuron",
        "huawei.com/Ascend910",
    }
)
SHARED = "nvidia.com/gpu.shared"  # time-slicing: no guaranteed share
MIG_PREFIX = "nvidia.com/mig-"
MIG_CLASS = "mig.nvidia.com"
_MIG = re.compile(r"(\d)g\.(\d+)gb")
# A GPU has 7 compute and 8 memory slices. Memory slices by compute slices, as NVIDIA's profiles have them; the profile
# of one compute slice with twice the memory has 2.
_MEMORY_SLICES = {1: 1, 2: 2, 3: 4, 4: 4, 7: 8}
_DOUBLE_MEMORY_GB = frozenset({20, 24, 35, 45, 47})


@dataclass(frozen=True, slots=True)
class Gpus:
    """What one replica holds."""

    count: float | None  # GPUs, a MIG device as the share it takes; None: not readable
    resources: tuple[tuple[str, float], ...] = ()  # as asked for: (resource name or device class, devices)
    unknown: str = ""  # why `count` is None, or not the whole truth

    @property
    def whole(self) -> int:
        """GPUs to pay for, rounded up; 1 where it is not known."""
        return 1 if not self.count else max(1, -int(-self.count // 1))


def mig_share(profile: str) -> float | None:
    """The share of a GPU that a MIG profile such as `3g.40gb` takes: the larger of its compute and memory shares.

    1g.10gb is taken for the seventh of an 80 GB GPU; on a 40 GB one it is a quarter. None for what is no profile.
    """
    found = _MIG.search(profile)
    if found is None or int(found[1]) not in _MEMORY_SLICES:
        return None
    compute = int(found[1])
    doubled = compute == 1 and int(found[2]) in _DOUBLE_MEMORY_GB
    return float(max(Fraction(compute, 7), Fraction(2 if doubled else _MEMORY_SLICES[compute], 8)))


def gpus_of(objects: Objects, workload: Workload) -> Gpus:
    """GPUs of one replica: of its pod, or of the leader and the workers of its group; without a template, of a pod."""
    if not workload.template:
        pods = objects.find(POD, workload.namespace, workload.selector) if workload.selector is not None else ()
        if not pods:
            return Gpus(None, unknown="the pod template cannot be read, and there is no pod to tell")
        return pod_gpus(objects, workload.namespace, pods[0])
    leader = pod_gpus(objects, workload.namespace, workload.template)
    if workload.unit is Unit.POD or workload.pods_per_replica == 1:
        return leader
    worker = pod_gpus(objects, workload.namespace, workload.worker_template)
    workers = workload.pods_per_replica - 1
    held = dict(leader.resources)
    for name, devices in worker.resources:
        held[name] = held.get(name, 0.0) + devices * workers
    counted = leader.count is not None and worker.count is not None
    total = (leader.count or 0.0) + (worker.count or 0.0) * workers if counted else None
    return Gpus(total, tuple(sorted(held.items())), leader.unknown or worker.unknown)


def pod_gpus(objects: Objects, namespace: str, pod: Raw) -> Gpus:
    """GPUs of one pod or pod template: by its containers' limits, and by its resource claims."""
    held: dict[str, float] = {}
    for container in read.items(pod, "spec", "containers"):
        for name, devices in _asked(container).items():
            held[name] = held.get(name, 0.0) + devices
    count, unknown = 0.0, ""
    for name, devices in held.items():
        share = mig_share(name) if name.startswith(MIG_PREFIX) else 1.0
        if share is None:
            return Gpus(None, tuple(sorted(held.items())), f"{name} is no MIG profile that is known")
        count += share * devices
        if name == SHARED:
            unknown = f"{name} has no guaranteed share: counted whole"
    for claim in read.items(pod, "spec", "resourceClaims"):
        claimed = _claimed(objects, namespace, claim)
        held.update(claimed.resources)
        if claimed.count is None:
            return Gpus(None, tuple(sorted(held.items())), claimed.unknown)
        count += claimed.count
    return Gpus(count, tuple(sorted(held.items())), unknown)


def _asked(container: Raw) -> dict[str, float]:
    asked = {**read.strings(container, "resources", "requests"), **read.strings(container, "resources", "limits")}
    return {
        name: float(amount)
        for name, amount in asked.items()
        if (name in DEVICES or name == SHARED or name.startswith(MIG_PREFIX)) and amount.isdecimal() and len(amount) < 6
    }


def _claimed(objects: Objects, namespace: str, claim: Raw) -> Gpus:
    name = read.text(claim, "resourceClaimTemplateName")
    if not name:
        shared = read.text(claim, "resourceClaimName")
        return Gpus(None, unknown=f"ResourceClaim {shared} may be shared between replicas")
    template = objects.get(CLAIM_TEMPLATE, namespace, name)
    if template is None:
        return Gpus(None, unknown=f"ResourceClaimTemplate {name} cannot be read")
    count = 0.0
    held: dict[str, float] = {}
    for request in read.items(template, "spec", "spec", "devices", "requests"):
        asked = _requested(request, name)
        held.update(asked.resources)
        if asked.count is None:
            return asked
        count += asked.count
    return Gpus(count, tuple(sorted(held.items())))


def _requested(request: Raw, template: str) -> Gpus:
    """v1 has `exactly` or a list of alternatives, best first; v1beta1 has the fields themselves."""
    first = next(iter(read.items(request, "firstAvailable")), request)
    exactly = read.mapping(first, "exactly") or first
    device_class, devices = read.text(exactly, "deviceClassName"), read.whole(exactly, "count") or 1
    if read.text(exactly, "allocationMode") == "All":
        return Gpus(None, unknown=f"ResourceClaimTemplate {template} takes all devices of {device_class}")
    share = _class_share(device_class, exactly)
    if share is None:
        return Gpus(None, unknown=f"what {device_class} gives in ResourceClaimTemplate {template} is not known")
    return Gpus(share * devices, ((device_class, float(devices)),))


def _class_share(device_class: str, exactly: Raw) -> float | None:
    if device_class == MIG_CLASS:
        return mig_share(" ".join(read.text(one, "cel", "expression") for one in read.items(exactly, "selectors")))
    return 1.0 if "gpu" in device_class or "tpu" in device_class else None
