"""Runs the real helm on our chart and reads what it renders."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "chart"
HELM = os.environ.get("HELM_BIN") or shutil.which("helm")
NAMESPACE = "keda"

needs_helm = pytest.mark.skipif(
    HELM is None, reason="helm is not on PATH (HELM_BIN): go install helm.sh/helm/v3/cmd/helm@v3.22.0"
)

Object = dict[str, Any]

IMAGE = {"image": {"repository": "registry.example/llm-autoscaler"}}
SERVICE = {"name": "chat", "maxReplicas": 12, "replicas": {"urls": ["http://chat.default:8000/metrics"]}}
# Every switch there is, with certificates made by the chart.
EVERYTHING: Object = {
    **IMAGE,
    "replicaCount": 2,
    "targets": {"services": [SERVICE]},
    "accessSecrets": ["pages"],
    "wakeApi": {"tokenSecretName": "wake"},
    "warmStart": {"prometheusUrl": "http://prometheus.monitoring:9090", "tokenSecretName": "prometheus"},
    "leaderElection": {"enabled": True},
    "events": {"enabled": True},
    "fastPath": {"enabled": True},
    "podDeletionCost": {"enabled": True},
    "capacityBuffer": {"enabled": True},
    "rbac": {"scaledRefKinds": [{"apiGroup": "example.com", "resource": "models"}]},
    "certificates": {"enabled": True},
    "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {}}]},
    "prometheus": {
        "serviceMonitor": {"enabled": True},
        "podMonitor": {"enabled": True},
        "prometheusRules": {"enabled": True, "additionalLabels": {"release": "prometheus"}},
    },
    "grafana": {"dashboard": {"enabled": True, "namespace": "monitoring"}},
    "additionalLabels": {"team": "serving"},
    "additionalAnnotations": {"example.com/owner": "serving"},
    "podAnnotations": {"example.com/pod": "yes"},
    "tolerations": [{"operator": "Exists"}],
    "priorityClassName": "system-cluster-critical",
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}}],
}
SETS: dict[str, Object] = {
    "only an image": IMAGE,
    "everything": EVERYTHING,
    "namespaces, a volume per pod": {
        **IMAGE,
        "replicaCount": 3,
        "leaderElection": {"enabled": True},
        "kube": {"namespaces": ["a", "b"]},
        "persistence": {"enabled": True, "storageClassName": "fast"},
    },
    "a file, no API": {**IMAGE, "kube": {"enabled": False}, "targets": {"services": [SERVICE]}, "shadow": True},
    "cert-manager": {**IMAGE, "certificates": {"enabled": True, "certManager": {"enabled": True}}},
    "certificates of the operator's": {
        **IMAGE,
        "certificates": {"enabled": True, "secretName": "server", "clientSecretName": "client"},
        "existingTargetsConfigMap": "mine",
    },
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """What one run of `helm template` gave."""

    code: int
    error: str
    objects: list[Object] = field(default_factory=list)

    def all(self, kind: str) -> list[Object]:
        """Every object of a kind."""
        return [one for one in self.objects if one["kind"] == kind]

    def one(self, kind: str, name: str | None = None) -> Object:
        """The only object of a kind (and name)."""
        found = [one for one in self.all(kind) if name in (None, one["metadata"]["name"])]
        assert len(found) == 1, f"{len(found)} {kind} {name or ''}"
        return found[0]

    def workload(self) -> Object:
        """The Deployment or StatefulSet."""
        return (self.all("Deployment") + self.all("StatefulSet"))[0]

    def pod(self) -> Object:
        """Its pod's spec."""
        return dict(self.workload()["spec"]["template"]["spec"])

    def container(self) -> Object:
        """Its only container."""
        (container,) = self.pod()["containers"]
        return dict(container)


def helm(*arguments: str, values: Object | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm with these values."""
    assert HELM is not None
    return subprocess.run(
        [HELM, *arguments, "--values", "-"],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def template(values: Object, version: str = "1.33", namespace: str = NAMESPACE, chart: Path = CHART) -> Rendered:
    """What the chart renders with these values for one version of Kubernetes."""
    return _template(json.dumps(values, sort_keys=True), version, namespace, chart)


@functools.cache
def _template(values: str, version: str, namespace: str, chart: Path) -> Rendered:
    ran = helm(
        *("template", "llm-autoscaler", str(chart), "--namespace", namespace, "--kube-version", f"{version}.0"),
        values=json.loads(values),
    )
    objects = [one for one in yaml.safe_load_all(ran.stdout) if one] if ran.returncode == 0 else []
    return Rendered(ran.returncode, ran.stderr, objects)
