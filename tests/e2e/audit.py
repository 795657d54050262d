"""The API server's own record of who set a count: fields' owners in the object are lost with a zero."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

# Writes of scales with their answers, whose versions tell the order; nothing else.
POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "RequestResponse",
            "verbs": ["update", "patch"],
            "resources": [{"group": "apps", "resources": ["deployments/scale"]}],
        },
        {"level": "None"},
    ],
}
WRITERS = {"llm-autoscaler": "ours", "keda-operator": "keda", "horizontal-pod-autoscaler": "hpa"}


@dataclass(frozen=True, slots=True)
class Scaled:
    """One write of a scale that the API server took."""

    by: str  # ours, keda, hpa, or the user agent
    count: int


def scaled(log: Path, namespace: str, name: str) -> list[Scaled]:
    """Every write of a Deployment's scale that was taken, in the order of the object's versions."""
    found = []
    for line in log.read_text().splitlines():
        event = json.loads(line)
        about = event["objectRef"]
        if (about["namespace"], about["name"]) == (namespace, name) and event["responseStatus"]["code"] == 200:
            scale = event["responseObject"]
            version = int(scale["metadata"]["resourceVersion"])
            found.append((version, Scaled(_writer(event["userAgent"]), int(scale["spec"].get("replicas", 0)))))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def _writer(agent: str) -> str:
    return next((who for word, who in WRITERS.items() if word in agent), agent)
