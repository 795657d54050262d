"""A control plane on loopback: etcd, kube-apiserver with RBAC, and the controllers that a replica count goes through.

No scheduler, no kubelet: `kubelet.py` stands in for both. Users are tokens; service accounts get real ones.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from tests.e2e.api import Access, Api
from tests.e2e.audit import POLICY
from tests.e2e.binaries import Binaries
from tests.e2e.processes import Child, free_port
from tests.e2e.waiting import until
from tests.fakes.certificates import Authority

CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "horizontal-pod-autoscaler-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "endpointslice-controller",
    "disruption-controller",
    "root-ca-certificate-publisher-controller",
)
BOOT_S = 90.0


class ControlPlane:
    """Processes that live as long as the test session; `admin` is a member of system:masters."""

    def __init__(self, binaries: Binaries, folder: Path, hpa_sync_s: float) -> None:
        self.folder = folder
        self.hpa_sync_s = hpa_sync_s
        self._port, self._etcd_port, self._peer_port = free_port(), free_port(), free_port()
        authority = Authority("cluster")
        self._ca = folder / "ca.crt"
        self._ca.write_bytes(authority.pem)
        token = secrets.token_urlsafe(24)
        (folder / "tokens.csv").write_text(f'{token},admin,1,"system:masters"\n')
        (folder / "audit.json").write_text(json.dumps(POLICY))
        self.audit = folder / "audit.log"
        self.admin = Access(f"https://127.0.0.1:{self._port}", self._ca, token)
        self.kubeconfig = self.write_kubeconfig("admin", token)
        self._etcd = Child("etcd", self._etcd_command(binaries.etcd), folder)
        self._server = Child("kube-apiserver", self._server_command(binaries.kube_apiserver, authority), folder)
        self._controllers = Child(
            "kube-controller-manager", self._controllers_command(binaries.kube_controller_manager), folder
        )

    @property
    def port(self) -> int:
        """The API server's, on 127.0.0.1."""
        return self._port

    def write_kubeconfig(self, user: str, token: str, url: str = "") -> Path:
        """A kubeconfig for a token: the admin's, or one of a service account; `url`: by another way to the server."""
        path = self.folder / f"{user.replace('/', '_')}.kubeconfig"
        cluster = {"server": url or self.admin.url, "certificate-authority": str(self._ca)}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "e2e",
                    "clusters": [{"name": "e2e", "cluster": cluster}],
                    "users": [{"name": user, "user": {"token": token}}],
                    "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": user}}],
                }
            )
        )
        return path

    async def start(self) -> None:
        """Boot, until the API server is ready. Raises AssertionError."""
        self._etcd.start()
        self._server.start()
        async with Api(self.admin) as api:
            await until("kube-apiserver is ready", lambda: self._ready(api), BOOT_S)
        self._controllers.start()

    async def _ready(self, api: Api) -> bool:
        self._server.must_run()
        return bool(await api.get("/readyz") == "ok")

    def stop(self) -> None:
        """End everything."""
        for child in (self._controllers, self._server, self._etcd):
            child.stop()

    def _etcd_command(self, program: Path) -> list[object]:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._peer_port}"
        return [
            program,
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            "--unsafe-no-fsync",  # nothing has to survive this session
        ]

    def _server_command(self, program: Path, authority: Authority) -> list[object]:
        folder = self.folder
        certificate, key = authority.issue("kube-apiserver").write(folder, "apiserver")
        verifying, signing = authority.issue("service-accounts").write(folder, "service-accounts")
        # Requests that the server passes on to KEDA's adapter are signed by an authority of their own.
        front = Authority("front-proxy")
        front_ca = folder / "front-proxy-ca.crt"
        front_ca.write_bytes(front.pem)
        proxy_certificate, proxy_key = front.issue("front-proxy-client").write(folder, "front-proxy")
        return [
            program,
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            f"--secure-port={self._port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=10.255.255.1",  # loopback may not stand in EndpointSlices; nobody routes there
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self._ca}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-key-file={verifying}",
            f"--service-account-signing-key-file={signing}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--requestheader-client-ca-file={front_ca}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={proxy_certificate}",
            f"--proxy-client-key-file={proxy_key}",
            f"--audit-policy-file={folder / 'audit.json'}",
            f"--audit-log-path={self.audit}",
            "--audit-log-mode=blocking",  # a write that was answered stands there
            f"--cert-dir={folder}",
        ]

    def _controllers_command(self, program: Path) -> list[object]:
        return [
            program,
            f"--kubeconfig={self.kubeconfig}",
            f"--authentication-kubeconfig={self.kubeconfig}",
            f"--authorization-kubeconfig={self.kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            "--leader-elect=false",
            f"--controllers={','.join(CONTROLLERS)}",
            f"--horizontal-pod-autoscaler-sync-period={self.hpa_sync_s}s",
            f"--service-account-private-key-file={self.folder / 'service-accounts.key'}",
            f"--root-ca-file={self._ca}",
            f"--cert-dir={self.folder}",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]
