"""Where a pod shows its metrics: who is believed before whom."""

from __future__ import annotations

from typing import Any

import pytest

from autoscaler.kube.meaning.metrics_page import _IMAGES, metrics_page
from autoscaler.modelservers import profile_names

ISVC = {"serving.kserve.io/inferenceservice": "m"}


def pod(
    *,
    ports: list[dict[str, Any]] | None = None,
    notes: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    **container: Any,
) -> dict[str, Any]:
    body = {"name": "kserve-container", "image": "x", **({"ports": ports} if ports else {}), **container}
    return {"metadata": {"annotations": notes or {}, "labels": labels or {}}, "spec": {"containers": [body]}}


HTTP1 = [{"containerPort": 8000, "name": "http1", "protocol": "TCP"}]


def test_kserves_annotation_wins_over_ports_and_the_common_one() -> None:
    notes = {"prometheus.kserve.io/port": "8082", "prometheus.kserve.io/path": "/p", "prometheus.io/port": "9000"}
    page = metrics_page(pod(ports=HTTP1, notes=notes, labels=ISVC))
    assert (page.port, page.path) == (8082, "/p")


def test_a_port_named_metrics_wins_over_the_common_annotation() -> None:
    ports = [*HTTP1, {"containerPort": 8002, "name": "metrics"}]
    assert metrics_page(pod(ports=ports, notes={"prometheus.io/port": "9000"})).port == 8002


def test_the_common_annotation_wins_over_an_http_port() -> None:
    assert metrics_page(pod(ports=HTTP1, notes={"prometheus.io/port": "9000", "prometheus.io/path": "/m"})).port == 9000


def test_the_port_that_kserve_writes_for_knative_is_never_read() -> None:
    notes = {"prometheus.io/port": "9091", "prometheus.io/path": "/metrics"}
    assert metrics_page(pod(notes=notes, labels=ISVC)).port == 8080
    assert metrics_page(pod(ports=HTTP1, notes=notes, labels=ISVC)).port == 8000


def test_port_9091_is_read_where_a_container_listens_on_it_or_kserve_is_not_there() -> None:
    notes = {"prometheus.io/port": "9091"}
    assert metrics_page(pod(ports=[{"containerPort": 9091}], notes=notes, labels=ISVC)).port == 9091
    assert metrics_page(pod(notes=notes, name="vllm")).port == 9091


def test_an_annotation_that_says_scrape_false_is_no_word_on_the_port() -> None:
    assert (
        metrics_page(pod(ports=HTTP1, notes={"prometheus.io/port": "9000", "prometheus.io/scrape": "false"})).port
        == 8000
    )


def test_a_runtime_of_kserve_without_ports_is_read_on_8080() -> None:
    assert metrics_page(pod(labels=ISVC)).port == 8080


@pytest.mark.parametrize(("role", "port"), [("both", 8000), ("prefill", 8000), ("decode", 8001)])
def test_llm_roles_have_kserves_ports_whatever_the_one_annotation_for_both_says(role: str, port: int) -> None:
    found = metrics_page(pod(name="main", labels={"llm-d.ai/role": role}, notes={"prometheus.io/port": "8000"}))
    assert found.port == port


def test_an_llm_container_that_declares_its_port_is_believed() -> None:
    labels = {"llm-d.ai/role": "decode"}
    assert metrics_page(pod(name="main", labels=labels, ports=[{"containerPort": 8201}])).port == 8201


@pytest.mark.parametrize("arguments", [["--port=8123"], ["--port", "8123"], ["vllm serve m --port 8123"]])
def test_the_command_line_tells_a_port_that_nobody_declared(arguments: list[str]) -> None:
    assert metrics_page(pod(name="c", args=arguments)).port == 8123


@pytest.mark.parametrize(
    ("image", "server", "port", "path"),
    [
        ("vllm/vllm-openai:v0.10", "vllm", 8000, "/metrics"),
        ("lmsysorg/sglang:latest", "sglang", 30000, "/metrics"),
        ("ghcr.io/huggingface/text-generation-inference:3", "tgi", 3000, "/metrics"),
        ("nvcr.io/nvidia/tritonserver:25.01", "triton", 8002, "/metrics"),
        ("ghcr.io/ggml-org/llama.cpp:server", "llamacpp", 8080, "/metrics"),
        ("x", "auto", 8000, "/metrics"),
    ],
)
def test_the_image_tells_the_server_and_its_defaults(image: str, server: str, port: int, path: str) -> None:
    page = metrics_page(pod(name="c", image=image))
    assert (page.server, page.port, page.path) == (server, port, path)


def test_every_server_that_an_image_tells_has_a_profile() -> None:
    assert {name for _, name in _IMAGES} <= set(profile_names())


def test_settings_win_over_everything() -> None:
    page = metrics_page(pod(notes={"prometheus.kserve.io/port": "8082"}), server="trtllm", port=1234)
    assert (page.port, page.path, page.server) == (1234, "/prometheus/metrics", "trtllm")


def test_a_sidecar_is_not_the_serving_container() -> None:
    body = pod(name="server", ports=[{"containerPort": 8005}])
    body["spec"]["containers"].insert(
        0, {"name": "istio-proxy", "ports": [{"containerPort": 15090, "name": "metrics"}]}
    )
    assert metrics_page(body).port == 8005


def test_the_container_with_the_gpu_serves() -> None:
    body = pod(name="helper", ports=[{"containerPort": 1}])
    gpu = {"name": "server", "ports": [{"containerPort": 8006}], "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    body["spec"]["containers"].append(gpu)
    assert metrics_page(body).port == 8006


def test_an_address_of_ipv6_is_put_in_brackets() -> None:
    assert metrics_page(pod(labels=ISVC)).url("fd00::1") == "http://[fd00::1]:8080/metrics"


@pytest.mark.parametrize(
    "image",
    ["nvcr.io/nvidia/tritonserver:25.01-trtllm-python-py3", "nvcr.io/nvidia/tritonserver:25.01-vllm-python-py3"],
)
def test_a_triton_image_is_triton_whatever_back_end_its_tag_names(image: str) -> None:
    assert metrics_page(pod(image=image)).server == "triton"
