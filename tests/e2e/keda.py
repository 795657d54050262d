"""The real KEDA on the control plane: its CRDs, its operator, and its adapter behind the external metrics API."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.e2e.api import Api, Object
from tests.e2e.binaries import Binaries
from tests.e2e.controlplane import ControlPlane
from tests.e2e.processes import Child, free_port
from tests.e2e.waiting import until
from tests.fakes.certificates import Authority

NAMESPACE = "keda"
# KServe's definitions are megabytes: seconds instead of a minute where PyYAML has libyaml.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
METRICS_API = "v1beta1.external.metrics.k8s.io"


class Keda:
    """KEDA with cluster-admin rights (its own RBAC is not what is tested here)."""

    def __init__(self, binaries: Binaries, plane: ControlPlane) -> None:
        self._crds = binaries.keda_crds
        self._plane = plane
        self._adapter_port, self._metrics_port = free_port(), free_port()
        certificates = plane.folder / "keda-certificates"
        certificates.mkdir()
        authority = Authority("keda")
        (certificates / "ca.crt").write_bytes(authority.pem)
        authority.issue("keda-operator").write(certificates, "tls")
        self._operator = Child(
            "keda-operator",
            self._operator_command(binaries.keda_operator, certificates),
            plane.folder,
            {
                "WATCH_NAMESPACE": "",
                "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
                "POD_NAMESPACE": NAMESPACE,
                "POD_NAME": "keda-operator-0",
            },
        )
        self._adapter = Child(
            "keda-adapter",
            self._adapter_command(binaries.keda_adapter, certificates),
            plane.folder,
            {"WATCH_NAMESPACE": "", "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE, "POD_NAMESPACE": NAMESPACE},
        )

    async def start(self) -> None:
        """Install and run it, until the API server can reach its adapter. Raises AssertionError."""
        async with Api(self._plane.admin) as api:
            await install_crds(api, self._crds)
            await api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
            self._operator.start()
            self._adapter.start()
            await api.apply(*self._registration())
            await until("the external metrics API is available", lambda: self._available(api), 90)

    def kill_operator(self) -> None:
        """As a node that dies: nothing is said to anybody."""
        self._operator.stop(signal.SIGKILL)

    def start_operator(self) -> None:
        """Bring it back."""
        self._operator.start()

    def ensure_operator(self) -> None:
        """Bring it back if a test left it dead."""
        if not self._operator.running:
            self._operator.start()

    def operator_log(self) -> str:
        """All that the operator printed."""
        return self._operator.log()

    def stop(self) -> None:
        """End both."""
        self._adapter.stop()
        self._operator.stop()

    def _registration(self) -> Iterator[Object]:
        """The adapter as an API: an ExternalName is the one Service that reaches loopback without a network."""
        name = "keda-metrics-apiserver"
        spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": self._adapter_port}]}
        yield {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": spec,
        }
        group, version = METRICS_API.split(".", 1)[1], METRICS_API.split(".", 1)[0]
        yield {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": METRICS_API},
            "spec": {
                "service": {"name": name, "namespace": NAMESPACE, "port": self._adapter_port},
                "group": group,
                "version": version,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
            },
        }

    async def _available(self, api: Api) -> bool:
        self._operator.must_run()
        self._adapter.must_run()
        service = await api.get(f"/apis/apiregistration.k8s.io/v1/apiservices/{METRICS_API}")
        conditions = service.get("status", {}).get("conditions", [])
        return any(one["type"] == "Available" and one["status"] == "True" for one in conditions)

    def _operator_command(self, program: Path, certificates: Path) -> list[object]:
        return [
            program,
            f"--kubeconfig={self._plane.kubeconfig}",
            f"--metrics-service-bind-address=127.0.0.1:{self._metrics_port}",
            f"--metrics-bind-address=127.0.0.1:{free_port()}",
            f"--health-probe-bind-address=127.0.0.1:{free_port()}",
            f"--cert-dir={certificates}",
            "--enable-cert-rotation=false",
            "--zap-encoder=json",
        ]

    def _adapter_command(self, program: Path, certificates: Path) -> list[object]:
        config = self._plane.kubeconfig
        return [
            program,
            f"--kubeconfig={config}",
            f"--lister-kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._adapter_port}",
            f"--cert-dir={certificates}",
            f"--tls-cert-file={certificates / 'tls.crt'}",
            f"--tls-private-key-file={certificates / 'tls.key'}",
            f"--client-ca-file={certificates / 'ca.crt'}",
            f"--metrics-service-address=localhost:{self._metrics_port}",
            f"--port={free_port()}",
        ]


async def install_crds(api: Api, folder: Path) -> None:
    """Apply every CustomResourceDefinition below a folder, without conversion webhooks, until all are served."""
    crds = list(_crds(folder))
    assert crds, f"{folder} holds no CustomResourceDefinition"
    await api.apply(*crds)
    names = [one["metadata"]["name"] for one in crds]

    async def served() -> bool:
        for name in names:
            crd = await api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
            conditions = {one["type"]: one["status"] for one in crd.get("status", {}).get("conditions", [])}
            if conditions.get("Established") != "True":
                return False
        return True

    await until(f"the CustomResourceDefinitions of {folder} are served", served, 30)


def _crds(folder: Path) -> Iterator[Object]:
    for path in sorted(folder.rglob("*.yaml")):
        for one in yaml.load_all(path.read_text(), _LOADER):
            # A kustomize patch is of the same kind and has no versions.
            if isinstance(one, dict) and one.get("kind") == "CustomResourceDefinition" and one["spec"].get("versions"):
                one["spec"].pop("conversion", None)
                one.pop("status", None)
                yield one
