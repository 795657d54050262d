"""The chart on the real API server: installed, upgraded, its account's rights, and its examples taken as they are."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, DEPLOY, EVERYTHING, HELM, IMAGE, SETS, needs_helm, template
from tests.chart.test_rights import rights

pytest.importorskip("tests.e2e.controlplane", reason="the control plane's fixtures are not here")
from tests.e2e.api import Api, ApiError
from tests.e2e.controlplane import ControlPlane
from tests.e2e.keda import Keda

pytestmark = needs_helm

SPACE, KEDA_SPACE = "scaler", "scaler-keda"  # KEDA's own namespace belongs to the KEDA of this session
COLLECTIONS = (
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/statefulsets",
    "/api/v1/services",
    "/api/v1/configmaps",
    "/api/v1/serviceaccounts",
    "/api/v1/secrets",
    "/apis/rbac.authorization.k8s.io/v1/roles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/policy/v1/poddisruptionbudgets",
    "/apis/networking.k8s.io/v1/networkpolicies",
)
# No Prometheus operator here; everything else on.
ALL = {**EVERYTHING, "prometheus": {}, "grafana": {}, "keda": {"namespace": KEDA_SPACE}}


class Release:
    """One release of the chart in its own namespace."""

    def __init__(self, plane: ControlPlane, api: Api) -> None:
        self.api = api
        self._helm = [str(HELM), "--kubeconfig", str(plane.kubeconfig), "--namespace", SPACE]

    def upgrade(self, values: dict[str, Any]) -> str:
        """Install or upgrade; gives the notes. Raises AssertionError with what helm said."""
        command = [*self._helm, "upgrade", "--install", "llm-autoscaler", str(CHART), "--values", "-"]
        ran = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def uninstall(self) -> None:
        """Take it away."""
        subprocess.run([*self._helm, "uninstall", "llm-autoscaler", "--ignore-not-found"], check=True)

    async def secrets(self) -> list[dict[str, str]]:
        """The server's certificate and KEDA's."""
        server = f"/api/v1/namespaces/{SPACE}/secrets/llm-autoscaler-tls"
        client = f"/api/v1/namespaces/{KEDA_SPACE}/secrets/llm-autoscaler-client-tls"
        return [(await self.api.get(path))["data"] for path in (server, client)]

    async def left(self) -> list[str]:
        """Every object of the release; namespaces of other tests end in their own time."""
        query = "?labelSelector=app.kubernetes.io/instance%3Dllm-autoscaler"
        found = [(path, await self.api.get(path + query)) for path in COLLECTIONS]
        return [
            f"{path}/{item['metadata']['name']}"
            for path, listed in found
            for item in listed["items"]
            if item["metadata"].get("namespace", SPACE) in (SPACE, KEDA_SPACE)
        ]

    async def may(self, group: str, resource: str, verb: str, namespace: str) -> bool:
        """Whether the chart's account may, as the API server sees it."""
        what, _, sub = resource.partition("/")
        asked = {"group": group, "resource": what, "subresource": sub, "verb": verb, "namespace": namespace}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": f"system:serviceaccount:{SPACE}:llm-autoscaler", "resourceAttributes": asked},
        }
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool((await self.api.call("POST", path, review))["status"]["allowed"])


@pytest.fixture
async def release(plane: ControlPlane, keda: Keda) -> AsyncIterator[Release]:
    async with Api(plane.admin) as api:
        for name in (SPACE, KEDA_SPACE, "a", "b"):
            await api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        one = Release(plane, api)
        try:
            yield one
        finally:
            one.uninstall()


async def test_an_install_needs_an_image_and_nothing_else_and_an_uninstall_leaves_nothing(release: Release) -> None:
    notes = release.upgrade(IMAGE)
    assert f"answers KEDA at llm-autoscaler.{SPACE}:6000 (plaintext)" in notes
    assert "Off: leaderElection events fastPath podDeletionCost capacityBuffer" in notes
    assert await release.left()
    release.uninstall()
    assert await release.left() == []


async def test_an_upgrade_may_switch_every_toggle_and_the_kind_of_the_workload(release: Release) -> None:
    for values in (IMAGE, ALL, SETS["a file, no API"], SETS["namespaces, a volume per pod"], IMAGE):
        release.upgrade(values)
    kinds = [path for path in await release.left() if "/apps/" in path]
    assert kinds == ["/apis/apps/v1/deployments/llm-autoscaler"]


async def test_certificates_of_the_chart_are_kept_by_upgrades_and_a_lost_one_renews_both(release: Release) -> None:
    release.upgrade(ALL)
    first = await release.secrets()
    release.upgrade({**ALL, "logging": {"level": "debug"}})
    assert await release.secrets() == first
    await release.api.delete(f"/api/v1/namespaces/{KEDA_SPACE}/secrets/llm-autoscaler-client-tls")
    release.upgrade(ALL)
    server, client = await release.secrets()
    assert server["ca.crt"] == client["ca.crt"] != first[0]["ca.crt"]


async def test_the_account_may_do_what_its_roles_say_and_nothing_else(release: Release) -> None:
    for values, inside, outside in (
        ({**ALL, "kube": {"namespaces": ["a", "b"]}}, "b", "default"),
        (ALL, "default", None),
        (IMAGE, "default", None),
    ):
        release.upgrade(values)
        rendered = template(values, namespace=SPACE)
        granted = {
            (right, role["metadata"].get("namespace") if right[1] == "leases" else inside)
            for kind in ("Role", "ClusterRole")
            for role in rendered.all(kind)
            for right in rights(role)
        }
        for right, namespace in granted:
            assert await release.may(*right, namespace=str(namespace)), (right, namespace)
            if outside is not None:
                assert not await release.may(*right, namespace=outside), (right, outside)
        for denied in (
            ("", "secrets", "get"),
            ("", "configmaps", "get"),
            ("", "pods", "delete"),
            ("", "pods/exec", "create"),
            ("apps", "deployments", "patch"),
            ("coordination.k8s.io", "leases", "update"),
            ("keda.sh", "scaledobjects", "patch"),
            ("serving.kserve.io", "inferenceservices", "patch"),
        ):
            assert not await release.may(*denied, namespace=inside), denied
    for write in (("apps", "deployments/scale", "patch"), ("", "pods", "patch"), ("events.k8s.io", "events", "create")):
        assert not await release.may(*write, namespace="default"), "the last set has every toggle off"


@pytest.mark.parametrize("path", sorted((DEPLOY / "examples").glob("*.yaml")), ids=lambda path: str(path.name))
async def test_an_example_is_taken_by_the_api_server_with_every_key_known(path: Any, release: Release) -> None:
    for one in yaml.safe_load_all(path.read_text()):
        target = await release.api.path(one)
        try:
            await release.api.call("POST", f"{target.rsplit('/', 1)[0]}?dryRun=All&fieldValidation=Strict", one)
        except ApiError as error:
            pytest.fail(f"{one['kind']}: {error}")
