"""The seam to a live cluster: who gives the objects that the checks look at.

`connect` is where the informers are wired in; until then a live look says plainly that it cannot be had.
"""

from __future__ import annotations

from collections.abc import Callable

from autoscaler.core.errors import ClusterError
from autoscaler.doctor.look import Facts
from autoscaler.kube.meaning.objects import Objects

Connect = Callable[[str | None], tuple[Objects, Facts]]


def connect(namespace: str | None) -> tuple[Objects, Facts]:
    """The objects of a cluster (of one namespace, or None: all) after their first full list, and what else is known.

    Raises ClusterError: the cluster cannot be reached.
    """
    del namespace
    raise ClusterError(
        "this build cannot look at a live cluster yet: give manifests with --files, for instance\n"
        "  kubectl get scaledobjects,hpa,deployments,statefulsets,pods -A -o yaml | autoscaler doctor --files -"
    )
