"""The chart's own account and rights on the real API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.chart.rendering import IMAGE, template
from tests.e2e.api import Object
from tests.e2e.world import World

KINDS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")


async def install_rights(one: World, **values: Any) -> tuple[Object, Path]:
    """Apply what the chart says of rights with these values; gives the role for the cluster, and how to get in."""
    rendered = template({**IMAGE, **values}, namespace=one.namespace)
    for item in (item for kind in KINDS for item in rendered.all(kind)):
        await one.api.apply(item)
        if item["kind"].startswith("Cluster"):  # it outlives the namespace
            one.stack.push_async_callback(one.api.delete, await one.api.path(item))
    account = rendered.one("ServiceAccount")["metadata"]["name"]
    path = f"/api/v1/namespaces/{one.namespace}/serviceaccounts/{account}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token: str = (await one.api.call("POST", path, request))["status"]["token"]
    return rendered.one("ClusterRole"), one.plane.write_kubeconfig(f"{one.namespace}/llm-autoscaler", token)
