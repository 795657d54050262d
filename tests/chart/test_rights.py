"""Each toggle brings the rights it needs, and nothing more."""

from __future__ import annotations

from typing import Any

import pytest

from autoscaler.kube.cluster import WATCHED
from tests.chart.rendering import EVERYTHING, IMAGE, NAMESPACE, SERVICE, Object, Rendered, needs_helm, template

pytestmark = needs_helm

Right = tuple[str, str, str]  # API group, resource, verb
LEASE = {("coordination.k8s.io", "leases", verb) for verb in ("get", "create", "update")}
SCALES = {
    ("apps", "deployments/scale"),
    ("apps", "statefulsets/scale"),
    ("leaderworkerset.x-k8s.io", "leaderworkersets/scale"),
    ("disaggregatedset.x-k8s.io", "disaggregatedsetrolescalers/scale"),
}
READ = {
    ("", "pods"),
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("keda.sh", "scaledobjects"),
    ("serving.kserve.io", "inferenceservices"),
    ("serving.kserve.io", "llminferenceservices"),
    ("serving.kserve.io", "llminferenceserviceconfigs"),
    ("leaderworkerset.x-k8s.io", "leaderworkersets"),
    ("disaggregatedset.x-k8s.io", "disaggregatedsetrolescalers"),
    ("disaggregatedset.x-k8s.io", "disaggregatedsets"),
    ("resource.k8s.io", "resourceclaimtemplates"),
}
KUBE = {(*what, verb) for what in READ for verb in ("get", "list", "watch")} | {(*what, "get") for what in SCALES}
BUFFERS = {
    ("autoscaling.x-k8s.io", "capacitybuffers", verb) for verb in ("get", "list", "watch", "create", "patch", "delete")
}
TOGGLES: dict[str, set[Right]] = {
    "events": {("events.k8s.io", "events", verb) for verb in ("create", "patch")},
    "fastPath": {(*what, "patch") for what in SCALES},
    "podDeletionCost": {("", "pods", "patch")},
    "capacityBuffer": BUFFERS,
    "leaderElection": LEASE,
}
NO_API = {**IMAGE, "kube": {"enabled": False}, "targets": {"services": [SERVICE]}}


def rights(role: Object) -> set[Right]:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def all_rights(rendered: Rendered) -> set[Right]:
    roles = rendered.all("ClusterRole") + rendered.all("Role")
    return set().union(*map(rights, roles)) if roles else set()


def test_by_default_it_reads_and_writes_nothing() -> None:
    assert all_rights(template(IMAGE)) == KUBE


@pytest.mark.parametrize("toggle", TOGGLES)
def test_a_toggle_adds_its_own_rights_and_no_others(toggle: str) -> None:
    with_it = all_rights(template({**IMAGE, toggle: {"enabled": True}}))
    assert with_it - KUBE == TOGGLES[toggle]
    assert with_it >= KUBE


def test_without_the_api_there_are_no_roles_and_no_token() -> None:
    rendered = template(NO_API)
    kinds = {one["kind"] for one in rendered.objects}
    assert not kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    assert rendered.pod()["automountServiceAccountToken"] is False
    assert template(IMAGE).pod()["automountServiceAccountToken"] is True
    elected = template({**NO_API, "leaderElection": {"enabled": True}})
    assert elected.pod()["automountServiceAccountToken"] is True
    assert all_rights(elected) == LEASE


def test_named_namespaces_get_a_role_each_and_nothing_is_cluster_wide() -> None:
    rendered = template({**IMAGE, "kube": {"namespaces": ["a", "b", "a"]}})
    assert not rendered.all("ClusterRole")
    assert not rendered.all("ClusterRoleBinding")
    assert [role["metadata"]["namespace"] for role in rendered.all("Role")] == ["a", "b"]
    assert all(rights(role) == KUBE for role in rendered.all("Role"))


def test_the_lease_lies_in_the_release_namespace_only() -> None:
    rendered = template({**IMAGE, "leaderElection": {"enabled": True}})
    (role,) = rendered.all("Role")
    assert role["metadata"]["namespace"] == NAMESPACE
    assert rights(role) == LEASE
    assert not any(right in rights(rendered.one("ClusterRole")) for right in LEASE)


@pytest.mark.parametrize("namespaces", [[], ["a", "b"]])
def test_every_role_is_bound_to_our_account_where_it_lies(namespaces: list[str]) -> None:
    rendered = template({**EVERYTHING, "kube": {"namespaces": namespaces}})

    def place(one: Object) -> tuple[str, Any]:
        return one["metadata"]["name"], one["metadata"].get("namespace")

    roles = {(one["kind"], *place(one)) for kind in ("Role", "ClusterRole") for one in rendered.all(kind)}
    bindings = rendered.all("RoleBinding") + rendered.all("ClusterRoleBinding")
    bound = {(one["roleRef"]["kind"], one["roleRef"]["name"], place(one)[1]) for one in bindings}
    assert bound == roles
    account = rendered.one("ServiceAccount")["metadata"]
    assert rendered.pod()["serviceAccountName"] == account["name"]
    for one in bindings:
        assert one["subjects"] == [
            {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
        ]


def test_with_everything_on_there_is_no_wildcard_no_secret_and_no_command_in_a_pod() -> None:
    for group, resource, verb in all_rights(template(EVERYTHING)):
        assert "*" not in (group, resource, verb)
        assert resource not in ("secrets", "pods/exec", "configmaps", "serviceaccounts/token")
        assert verb not in ("deletecollection", "escalate", "bind", "impersonate")


def test_the_kinds_that_are_watched_are_those_that_may_be_read() -> None:
    assert {(resource.group, resource.plural) for resource in WATCHED.values()} == READ


def test_a_further_scalable_kind_is_read_and_its_scale_too() -> None:
    values = {**IMAGE, "rbac": {"scaledRefKinds": [{"apiGroup": "example.com", "resource": "models"}]}}
    more = all_rights(template(values)) - KUBE
    assert more == {("example.com", "models", verb) for verb in ("get", "list", "watch")} | {
        ("example.com", "models/scale", "get")
    }


def test_roles_are_left_to_the_operator_by_value() -> None:
    rendered = template({**EVERYTHING, "rbac": {"create": False}, "serviceAccount": {"create": False, "name": "mine"}})
    assert all_rights(rendered) == set()
    assert not rendered.all("ServiceAccount")
    assert rendered.pod()["serviceAccountName"] == "mine"
