"""Pods and nodes without the fields that nobody reads mean the same."""

from __future__ import annotations

from typing import Any

import pytest

from autoscaler.doctor.look import look_at
from autoscaler.doctor.report import as_json, examine
from autoscaler.kube.meaning.needed import FIELDS
from autoscaler.kube.meaning.objects import ObjectSet, kind_of
from autoscaler.kube.meaning.resolve import look, survey
from tests.kube_meaning.recorded import NAMES, Recording

NODE = """
apiVersion: v1
kind: Node
metadata: {name: gpu-1, labels: {nvidia.com/gpu.product: H100}, annotations: {karpenter.sh/do-not-disrupt: "true"}}
spec: {podCIDR: 10.0.0.0/24}
status: {allocatable: {nvidia.com/gpu: "1"}, images: [{names: [x], sizeBytes: 1}]}
"""


def kept(raw: Any, ways: list[list[str]]) -> Any:
    """Only the named paths."""
    if isinstance(raw, list):
        return [kept(one, ways) for one in raw]
    if not isinstance(raw, dict) or any(not way for way in ways):
        return raw
    found = {}
    for key, value in raw.items():
        below = [way[1:] for way in ways if way[0] == key]
        if below:
            found[key] = kept(value, below)
    return found


def trimmed(recorded: Recording) -> list[Any]:
    return [
        kept(raw, [path.split(".") for path in FIELDS[kind_of(raw)]]) if kind_of(raw) in FIELDS else raw
        for raw in recorded.raws
    ]


@pytest.mark.parametrize("name", NAMES)
def test_trimmed_objects_mean_what_whole_ones_do(name: str) -> None:
    recorded = Recording(name).add(NODE)
    for pod in (raw for raw in recorded.raws if raw["kind"] == "Pod"):
        pod["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
        pod["status"]["qosClass"] = "Burstable"
    whole, small = recorded.cluster(), ObjectSet(trimmed(recorded))
    assert small.find(kind_of(recorded.one("Node")))[0].keys() == {"apiVersion", "kind", "metadata", "status"}
    sights = [[look(objects, one.target) for one in survey(objects) if one.target] for objects in (whole, small)]
    assert sights[0] == sights[1]
    assert as_json(examine(look_at(whole))) == as_json(examine(look_at(small)))
