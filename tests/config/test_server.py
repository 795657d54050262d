"""Settings of the process: what Kubernetes and the Lease need, and what is said where it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from autoscaler.config.records import WarmStartSettings
from autoscaler.config.server import (
    Address,
    KubeSettings,
    LeaseSettings,
    ServeSettings,
    WriterSettings,
    serve_settings,
)
from autoscaler.core.errors import ConfigError

POD = {"POD_NAMESPACE": "keda", "POD_NAME": "p", "POD_IP": "fd00::7"}


def settings(environ: Mapping[str, str] = {}, **set_to: Any) -> ServeSettings:
    given: dict[str, Any] = {
        "targets": None,
        "grpc": "0.0.0.0:6000",
        "http": "0.0.0.0:8080",
        "state_dir": Path("state"),
        "flight_record": False,
        "flight_record_bytes": 1,
        "tls_cert": None,
        "tls_key": None,
        "tls_client_ca": None,
        "wake_token_file": None,
        "log_format": "json",
        "log_level": "info",
        "grace_s": 1.0,
    }
    return serve_settings(**given | set_to, environ=environ)


def test_outside_a_pod_kubernetes_is_off_unless_a_kubeconfig_is_named() -> None:
    assert settings(targets=Path("t")).kube == KubeSettings(False)
    assert settings(kubeconfig=Path("k")).kube == KubeSettings(True, (), "k")
    # What kubectl uses on a desk is not named to us.
    assert not settings({"KUBECONFIG": "k"}, targets=Path("t")).kube.on
    # A pod without a token was given no way in.
    assert not settings({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, targets=Path("t")).kube.on
    assert settings(kube="on", kube_namespaces="a, b,a,").kube == KubeSettings(True, ("a", "b"))


def test_without_kubernetes_a_targets_file_is_needed() -> None:
    with pytest.raises(ConfigError, match="--targets: found nothing, and Kubernetes is off"):
        settings(kube="off")
    with pytest.raises(ConfigError, match="expected auto, on or off"):
        settings(kube="yes", targets=Path("t"))


def test_writers_are_off_until_they_are_switched_on_each_by_itself() -> None:
    assert settings(kube="on").writers == WriterSettings()
    assert settings(POD, kube="on", fast_path=True).writers == WriterSettings(fast_path=True, instance="p")
    assert settings(kube="on", events=True, pod_deletion_cost=True, capacity_buffer=True).writers == WriterSettings(
        pod_deletion_cost=True, capacity_buffer=True, events=True
    )


def test_a_writer_without_kubernetes_is_refused_and_all_of_them_at_once() -> None:
    on = {"fast_path": True, "pod_deletion_cost": True, "capacity_buffer": True, "events": True}
    with pytest.raises(ConfigError) as error:
        settings(targets=Path("t"), **on)
    for option in ("--fast-path", "--pod-deletion-cost", "--capacity-buffer", "--events"):
        assert f"{option}: found Kubernetes is off, expected --kube on" in str(error.value)


def test_the_lease_lies_in_the_pods_namespace_and_names_the_pods_address() -> None:
    found = settings(POD, kube="on", lease="l")
    assert found.lease == LeaseSettings("l", "keda", "p", Address("fd00::7", 6000))
    assert str(found.lease.advertise) == "[fd00::7]:6000"
    told = settings(POD, kube="on", lease="l", advertise="p.peers.keda.svc:7000").lease
    assert told is not None
    assert told.advertise == Address("p.peers.keda.svc", 7000)
    with pytest.raises(ConfigError) as error:
        settings(kube="on", lease="l")
    assert {problem.path for problem in error.value.problems} == {"--lease", "--advertise"}


def test_a_warm_start_needs_a_server_and_its_token_a_url(tmp_path: Path) -> None:
    def read(url: str | None, token: Path | None = None) -> WarmStartSettings | None:
        return settings(targets=Path("t"), warm_start_prometheus=url, warm_start_token_file=token).warm_start

    assert read(None) is None
    assert read("http://prometheus:9090", tmp_path) == WarmStartSettings("http://prometheus:9090", str(tmp_path))
    for url, token, told in (("prometheus:9090", None, "http"), (None, tmp_path, "--warm-start-prometheus with it")):
        with pytest.raises(ConfigError, match=told):
            read(url, token)
