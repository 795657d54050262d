"""What the chart hands to `autoscaler serve` is what serve takes: options, targets file, certificates."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from pathlib import Path

import aiohttp
import grpc
import pytest
import typer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from autoscaler.cli import app
from autoscaler.config.records import WarmStartSettings
from autoscaler.config.server import (
    Address,
    KubeSettings,
    LeaseSettings,
    ServeSettings,
    WriterSettings,
    serve_settings,
)
from autoscaler.config.targets import load_targets, parse_targets
from autoscaler.core.records import ServiceMode
from autoscaler.kube.resources import SCALED_OBJECTS
from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc
from tests.chart.rendering import EVERYTHING, IMAGE, ROOT, SERVICE, SETS, Object, Rendered, needs_helm, template
from tests.chart.running import PYTHON, Places, arguments, helm_test, mount, served
from tests.chart.test_rights import KUBE, TOGGLES, all_rights
from tests.fakes.kube_api import FakeKubeApi

pytestmark = needs_helm


POD = {"POD_NAME": "llm-autoscaler-0", "POD_NAMESPACE": "keda", "POD_IP": "10.0.0.7"}  # as the downward API sets them


def settings(rendered: Rendered, folder: Path) -> ServeSettings:
    """What the command line makes of the rendered arguments; unknown options raise."""
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    name, *rest = arguments(rendered, folder)
    assert name == "serve"
    return serve_settings(**command.make_context("serve", rest).params, environ=POD)


@pytest.mark.parametrize("name", SETS)
def test_every_option_rendered_is_one_that_serve_has(name: str, tmp_path: Path) -> None:
    found = settings(template(SETS[name]), tmp_path)
    assert (found.grpc.port, found.http.port) == (6000, 8080)
    assert found.state_dir == tmp_path / "var/lib/llm-autoscaler"


def test_every_value_of_the_process_reaches_serve(tmp_path: Path) -> None:
    values = {
        **EVERYTHING,
        "bindAddress": "[::]",
        "grpc": {"port": 7000},
        "http": {"port": 9090},
        "logging": {"level": "debug", "format": "console"},
        "flightRecord": {"maxBytes": 12_345_678},
        "gracePeriodSeconds": 45,
    }
    rendered = template(values)
    tls = tmp_path / "etc/llm-autoscaler/tls"
    assert settings(rendered, tmp_path) == ServeSettings(
        targets=tmp_path / "etc/llm-autoscaler/targets/targets.yaml",
        grpc=Address("::", 7000),
        http=Address("::", 9090),
        state_dir=tmp_path / "var/lib/llm-autoscaler",
        flight_record_bytes=12_345_678,
        tls_cert=tls / "tls.crt",
        tls_key=tls / "tls.key",
        tls_client_ca=tls / "ca.crt",
        wake_token_file=tmp_path / "etc/llm-autoscaler/wake/token",
        log_format="console",
        log_level="debug",
        grace_s=45.0,
        kube=KubeSettings(True),
        lease=LeaseSettings("llm-autoscaler", "keda", "llm-autoscaler-0", Address("10.0.0.7", 7000)),
        peer_name="llm-autoscaler.keda",
        writers=WriterSettings(True, True, True, True, "llm-autoscaler-0"),
        warm_start=WarmStartSettings(
            "http://prometheus.monitoring:9090", str(tmp_path / "etc/llm-autoscaler/warm-start/token")
        ),
    )
    assert {one["name"] for one in rendered.container()["env"]} >= set(POD)
    named = template({**IMAGE, "kube": {"namespaces": ["a", "b", "a"]}})
    assert settings(named, tmp_path).kube == KubeSettings(True, ("a", "b"))
    assert settings(named, tmp_path).targets is None
    assert settings(named, tmp_path).lease is None
    without = template({**IMAGE, "kube": {"enabled": False}, "targets": {"services": [SERVICE]}})
    assert settings(without, tmp_path).kube == KubeSettings(False)
    assert rendered.pod()["terminationGracePeriodSeconds"] == 55
    assert {port["name"]: port["containerPort"] for port in rendered.container()["ports"]} == {
        "grpc": 7000,
        "http": 9090,
    }
    off = template({**IMAGE, "flightRecord": {"enabled": False}, "certificates": {"enabled": True, "mutual": False}})
    assert settings(off, tmp_path).flight_record_bytes == 0
    assert settings(off, tmp_path).tls_cert == tls / "tls.crt"
    assert settings(off, tmp_path).tls_client_ca is None


WRITERS = {
    "fastPath": WriterSettings(fast_path=True, instance="llm-autoscaler-0"),
    "podDeletionCost": WriterSettings(pod_deletion_cost=True, instance="llm-autoscaler-0"),
    "capacityBuffer": WriterSettings(capacity_buffer=True, instance="llm-autoscaler-0"),
    "events": WriterSettings(events=True, instance="llm-autoscaler-0"),
}


@pytest.mark.parametrize("toggle", WRITERS)
def test_a_toggle_turns_on_its_writer_with_the_rights_that_it_needs_and_no_other(toggle: str, tmp_path: Path) -> None:
    rendered = template({**IMAGE, toggle: {"enabled": True}})
    assert settings(rendered, tmp_path).writers == WRITERS[toggle]
    assert all_rights(rendered) == KUBE | TOGGLES[toggle]
    assert settings(template(IMAGE), tmp_path).writers == WriterSettings(instance="llm-autoscaler-0")


def test_the_targets_file_says_what_the_values_say(tmp_path: Path) -> None:
    targets = {
        "scrapeIntervalSeconds": 0.5,
        "defaults": {"ttftSeconds": 2.5},
        "access": [{"name": "pages", "tokenFile": "/etc/llm-autoscaler/access/pages/token"}],
        "wakeSources": [{"name": "gateway", "url": "http://epp.default:9090/metrics", "kind": "llm-d"}],
        "services": [
            {**SERVICE, "maxBatchedTokens": 10_000_000, "maxSequences": 48, "wakeSource": "gateway", "access": "pages"},
            {
                "name": "split",
                "mode": "shadow",
                "roles": [
                    {"role": "prefill", "replicas": {"file": "prefill.json"}, "minReplicas": 1},
                    {"role": "decode", "replicas": {"http": "http://list.default/decode"}, "gpusPerReplica": 8},
                ],
            },
        ],
    }
    rendered = template({**IMAGE, "targets": targets, "accessSecrets": ["pages"]})
    mount(rendered, tmp_path)
    file = load_targets(settings(rendered, tmp_path).targets, environ={})
    chat, split = file.services
    assert file.scrape_interval_s == 0.5
    assert file.access[0].token_file == "/etc/llm-autoscaler/access/pages/token"
    assert {one["mountPath"] for one in rendered.container()["volumeMounts"]} >= {"/etc/llm-autoscaler/access/pages"}
    # Helm holds whole numbers as floats: 1e+07 would be a string to a YAML reader.
    assert chat.spec.roles[0].max_batched_tokens == 10_000_000
    assert chat.spec.roles[0].max_sequences == 48
    assert (chat.wake_source, chat.spec.objective.ttft_s, chat.spec.mode) == ("gateway", 2.5, ServiceMode.ACT)
    assert [(role.role, role.min_replicas, role.gpus_per_replica) for role in split.spec.roles] == [
        ("prefill", 1, 1),
        ("decode", 0, 8),
    ]
    assert split.spec.mode is ServiceMode.SHADOW


def test_the_chart_s_own_defaults_of_the_targets_file_are_serve_s(tmp_path: Path) -> None:
    rendered = template({**IMAGE, "targets": {"services": [SERVICE]}})
    mount(rendered, tmp_path)
    file = load_targets(settings(rendered, tmp_path).targets, environ={})
    bare = parse_targets(json.dumps({"services": [SERVICE]}), "bare", tmp_path, environ={})
    assert file == bare


def test_shadow_puts_every_service_of_the_values_into_shadow(tmp_path: Path) -> None:
    services = [SERVICE, {**SERVICE, "name": "other", "mode": "act"}]
    rendered = template({**IMAGE, "shadow": True, "targets": {"services": services}})
    mount(rendered, tmp_path)
    file = load_targets(settings(rendered, tmp_path).targets, environ={})
    assert [one.spec.mode for one in file.services] == [ServiceMode.SHADOW, ServiceMode.SHADOW]


def test_the_wake_token_is_mounted_under_the_name_serve_is_told(tmp_path: Path) -> None:
    rendered = template({**IMAGE, "wakeApi": {"tokenSecretName": "wake", "tokenSecretKey": "bearer"}})
    volume = next(one for one in rendered.pod()["volumes"] if one["name"] == "wake-token")
    assert volume["secret"]["items"] == [{"key": "bearer", "path": "token"}]
    assert settings(rendered, tmp_path).wake_token_file == tmp_path / "etc/llm-autoscaler/wake/token"
    assert settings(template(IMAGE), tmp_path).wake_token_file is None


def test_the_warm_starts_token_is_mounted_under_the_name_serve_is_told() -> None:
    values = {"prometheusUrl": "http://prometheus:9090", "tokenSecretName": "prometheus", "tokenSecretKey": "bearer"}
    pod = template({**IMAGE, "warmStart": values}).pod()
    volume = next(one for one in pod["volumes"] if one["name"] == "warm-start-token")
    assert volume["secret"]["items"] == [{"key": "bearer", "path": "token"}]
    assert {one["name"] for one in pod["containers"][0]["volumeMounts"]} >= {"warm-start-token"}


# --- certificates ----------------------------------------------------------------------------------------------------


def pem(secret: Object, key: str) -> bytes:
    return base64.b64decode(secret["data"][key])


def certificate(secret: Object, key: str = "tls.crt") -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem(secret, key))


def test_certificates_of_the_chart_are_signed_by_one_authority_and_name_every_way_to_us() -> None:
    rendered = template({**IMAGE, "certificates": {"enabled": True, "extraDNSNames": ["scaler.example"]}})
    server, client = rendered.one("Secret", "llm-autoscaler-tls"), rendered.one("Secret", "llm-autoscaler-client-tls")
    assert pem(server, "ca.crt") == pem(client, "ca.crt")
    authority = certificate(server, "ca.crt").public_key()
    assert isinstance(authority, rsa.RSAPublicKey)
    for secret in (server, client):
        signed = certificate(secret)
        assert signed.signature_hash_algorithm is not None
        authority.verify(
            signed.signature, signed.tbs_certificate_bytes, padding.PKCS1v15(), signed.signature_hash_algorithm
        )
    names = certificate(server).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) >= {
        "llm-autoscaler.keda",
        "llm-autoscaler.keda.svc",
        "llm-autoscaler.keda.svc.cluster.local",
        "*.llm-autoscaler-peers.keda.svc.cluster.local",
        "scaler.example",
    }


def test_keda_finds_its_certificate_through_the_cluster_trigger_authentication() -> None:
    rendered = template({**IMAGE, "keda": {"namespace": "kedaspace"}, "certificates": {"enabled": True}})
    client = rendered.one("Secret", "llm-autoscaler-client-tls")
    assert client["metadata"]["namespace"] == "kedaspace"
    assert rendered.one("Secret", "llm-autoscaler-tls")["metadata"]["namespace"] == "keda"
    shown = rendered.one("ClusterTriggerAuthentication")["spec"]["secretTargetRef"]
    assert {one["parameter"]: one["key"] for one in shown} == {
        "caCert": "ca.crt",
        "tlsClientCert": "tls.crt",
        "tlsClientKey": "tls.key",
    }
    assert {one["name"] for one in shown} == {client["metadata"]["name"]}
    assert all(one["key"] in client["data"] for one in shown)
    plain = template({**IMAGE, "certificates": {"enabled": True, "mutual": False}})
    assert [one["parameter"] for one in plain.one("ClusterTriggerAuthentication")["spec"]["secretTargetRef"]] == [
        "caCert"
    ]
    assert not template(IMAGE).all("ClusterTriggerAuthentication")


def test_cert_manager_signs_both_ends_with_the_chart_s_authority_or_the_issuer_named() -> None:
    own = template(SETS["cert-manager"])
    assert not own.all("Secret")
    authority = own.one("Certificate", "llm-autoscaler-ca")["spec"]
    assert authority["isCA"] is True
    assert own.one("Issuer", "llm-autoscaler-ca")["spec"]["ca"]["secretName"] == authority["secretName"]
    issuer = {"name": "corp", "kind": "ClusterIssuer", "group": "cert-manager.io"}
    values = {
        **IMAGE,
        "keda": {"namespace": "kedaspace"},
        "certificates": {"enabled": True, "certManager": {"enabled": True, "generateCA": False, "issuer": issuer}},
    }
    named = template(values)
    assert not named.all("Issuer")
    assert {one["metadata"]["namespace"] for one in named.all("Certificate")} == {"keda", "kedaspace"}
    for one in named.all("Certificate"):
        assert one["spec"]["issuerRef"] == issuer
        assert one["spec"]["usages"] == ["server auth", "client auth"]
    volume = next(one for one in named.pod()["volumes"] if one["name"] == "tls")
    assert volume["secret"]["secretName"] in {one["spec"]["secretName"] for one in named.all("Certificate")}


# --- the real process ------------------------------------------------------------------------------------------------


@pytest.mark.timeout(200)  # it starts two processes, on machines that have other work
def test_what_the_chart_renders_serves_with_its_own_certificates_and_passes_its_own_helm_test(tmp_path: Path) -> None:
    where = Places()
    rendered = template(
        {**IMAGE, **where.values(), "targets": {"services": [SERVICE]}, "certificates": {"enabled": True}}
    )
    mount(rendered, tmp_path)
    tls = tmp_path / "etc/llm-autoscaler/tls"
    secret = rendered.one("Secret", "llm-autoscaler-tls")
    for key in secret["data"]:
        (tls / key).write_bytes(pem(secret, key))
    with served([*PYTHON, *arguments(rendered, tmp_path)], f"{where.url}/readyz"):
        passed = helm_test(rendered, where, tls)
        assert passed.returncode == 0, passed.stderr
        assert "answering KEDA" in passed.stdout
        client = rendered.one("Secret", "llm-autoscaler-client-tls")
        shown = grpc.ssl_channel_credentials(*(pem(client, key) for key in ("ca.crt", "tls.key", "tls.crt")))
        ref = pb.ScaledObjectRef(name="chat", namespace="default", scalerMetadata={"scalerAddress": where.address})
        with grpc.secure_channel(where.address, shown) as channel:
            spec = rpc.ExternalScalerStub(channel).GetMetricSpec(ref, timeout=10)
            assert spec.metricSpecs[0].metricName == "replicas"
        nobody = grpc.ssl_channel_credentials(pem(client, "ca.crt"))
        with grpc.secure_channel(where.address, nobody) as channel, pytest.raises(grpc.RpcError):
            rpc.ExternalScalerStub(channel).GetMetricSpec(ref, timeout=5)


def test_helm_test_fails_where_nothing_serves() -> None:
    where = Places()
    failed = helm_test(template({**IMAGE, **where.values(), "kube": {"enabled": True}}), where)
    assert failed.returncode != 0
    assert "refused" in failed.stderr


def test_the_script_of_helm_test_needs_only_what_the_wheel_brings() -> None:
    script = template(IMAGE).one("Pod")["spec"]["containers"][0]["args"][0]
    imported = {line.split()[1].split(".")[0] for line in script.splitlines() if line.startswith(("import ", "from "))}
    assert imported - set(sys.stdlib_module_names) == {"grpc", "scaler_proto"}


@pytest.mark.timeout(120)
async def test_installed_with_nothing_but_an_image_it_starts_on_an_api_server_without_kserve(tmp_path: Path) -> None:
    where = Places()
    rendered = template({**IMAGE, **where.values(), "kube": {"enabled": True}})
    mount(rendered, tmp_path)
    async with FakeKubeApi(SCALED_OBJECTS) as api, aiohttp.ClientSession() as session:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LLM_AUTOSCALER_KUBECONFIG": str(api.kubeconfig(tmp_path)),
        }
        child = await asyncio.create_subprocess_exec(*PYTHON, *arguments(rendered, tmp_path), env=environment)
        try:
            async with asyncio.timeout(60):
                while not await _ready(session, f"{where.url}/readyz"):
                    assert child.returncode is None
                    await asyncio.sleep(0.1)
            async with session.get(f"{where.url}/metrics") as answer:
                page = await answer.text()
        finally:
            child.terminate()
            code = await asyncio.wait_for(child.wait(), 40)
    assert code == 0
    assert 'kube_watched{kube_namespace="",resource="scaledobjects.keda.sh"} 1.0' in page
    assert 'kube_watched{kube_namespace="",resource="inferenceservices.serving.kserve.io"} 0.0' in page
    assert api.writes == []


async def _ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
