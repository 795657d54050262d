"""Where a pod shows its metrics, from what its author, KServe and the model server's defaults say.

The strongest word first: the setting; KServe's own annotation; the ports of the serving container; `prometheus.io/*`;
what the command line, the probe and KServe's conventions tell; the model server's default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.kserve import ISVC_LABEL, LLM_ROLE
from autoscaler.kube.meaning.raw import NOTHING, Raw
from autoscaler.modelservers import profile

# Where KServe's pod webhook sends Prometheus: Knative's queue-proxy. Nobody listens there outside Knative mode.
KNATIVE_AGGREGATE_PORT = 9091
KSERVE_RUNTIME_PORT = 8080  # of runtimes without any declared port
LLM_PORT, LLM_DECODE_PORT = 8000, 8001  # decode: 8000 is the routing sidecar's
SERVING_NAMES = ("kserve-container", "main")
SIDECARS = frozenset({"istio-proxy", "linkerd-proxy", "queue-proxy", "llm-d-routing-sidecar", "storage-initializer"})
# What stands in an image's name, or begins a command, and whose it is.
_IMAGES = (
    ("tritonserver", "triton"),  # first: its tags name the back end, as in tritonserver:25.01-trtllm-python-py3
    ("vllm", "vllm"),
    ("sglang", "sglang"),
    ("text-generation-inference", "tgi"),
    ("trtllm", "trtllm"),
    ("tensorrt-llm", "trtllm"),
    ("llama.cpp", "llamacpp"),
    ("llama-server", "llamacpp"),
    ("lmdeploy", "lmdeploy"),
    ("dynamo", "dynamo"),
)
_PORT_ARGUMENT = re.compile(r"--(?:http-)?port[= ]+['\"]?(\d{1,5})")


@dataclass(frozen=True, slots=True)
class MetricsPage:
    """Where the page of a pod is, and by which word."""

    port: int
    path: str
    scheme: str  # http or https
    server: str  # profile name as set or guessed, or auto
    why: str

    def url(self, address: str) -> str:
        """The page at a pod's address."""
        host = f"[{address}]" if ":" in address else address
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def serving_container(pod: Raw) -> Raw:
    """The container the model server runs in: KServe's name for it, else the one with a GPU, else the first."""
    containers = [one for one in read.items(pod, "spec", "containers") if read.text(one, "name") not in SIDECARS]
    named = [one for one in containers if read.text(one, "name") in SERVING_NAMES]
    holding = [one for one in containers if any("/" in key for key in read.mapping(one, "resources", "limits"))]
    return next(iter(named or holding or containers), NOTHING)


@dataclass(frozen=True, slots=True)
class _Pod:
    """What is asked of a pod or pod template, read once."""

    labels: Raw
    notes: Raw
    container: Raw
    declared: list[tuple[str, int]]  # (name, port) of its TCP ports

    def note(self, key: str) -> str:
        """An annotation, empty where there is none."""
        return read.text(self.notes, key)


def metrics_page(
    pod: Raw,
    *,
    server: str | None = None,
    port: int | None = None,
    path: str | None = None,
    container: Raw | None = None,
) -> MetricsPage:
    """The metrics page of a pod (or of a pod template); `server`, `port`, `path` are settings and win.

    `container` is its serving container, where the caller knows it already.
    """
    container = serving_container(pod) if container is None else container
    metadata = read.mapping(pod, "metadata")
    one = _Pod(read.mapping(metadata, "labels"), read.mapping(metadata, "annotations"), container, _declared(container))
    guessed = server or _server(container)
    found, why = (port, "metricsPort") if port else _port(one, guessed)
    return MetricsPage(found, path or _path(one, guessed), _scheme(one, found), guessed, why)


def _server(container: Raw) -> str:
    """The model server by image and command; `auto` where neither tells."""
    said = f"{read.text(container, 'image')} {_command(container)}".lower()
    return next((name for mark, name in _IMAGES if mark in said), "auto")


def _command(container: Raw) -> str:
    return " ".join([*read.words(container, "command"), *read.words(container, "args")])


def _number(written: str) -> int | None:
    return int(written) if written.isdecimal() and len(written) < 6 and 0 < int(written) < 65_536 else None


def _declared(container: Raw) -> list[tuple[str, int]]:
    ports = read.items(container, "ports")
    return [
        (read.text(one, "name"), number)
        for one in ports
        if (number := read.whole(one, "containerPort")) is not None and read.text(one, "protocol") in ("", "TCP")
    ]


Found = tuple[int, str]


def _port(pod: _Pod, server: str) -> Found:
    named = ((port, f"container port named {name}") for name, port in pod.declared if _of_metrics(name))
    return (
        _of_kserve(pod)
        or _of_llm_role(pod)
        or next(named, None)
        or _annotated(pod)
        or _of_http(pod)
        or _undeclared(pod, server)
    )


def _of_metrics(name: str) -> bool:
    return "metrics" in name or name == "prometheus"


def _of_kserve(pod: _Pod) -> Found | None:
    port = _number(pod.note("prometheus.kserve.io/port"))
    return (port, "annotation prometheus.kserve.io/port") if port else None


def _of_llm_role(pod: _Pod) -> Found | None:
    """Its prometheus.io/port is one value for decode and prefill alike, so wrong for one of them: not asked."""
    role = read.text(pod.labels, LLM_ROLE)
    if not role:
        return None
    if pod.declared:
        return pod.declared[0][1], f"port of container {read.text(pod.container, 'name')}"
    return (LLM_DECODE_PORT if role == "decode" else LLM_PORT), f"KServe's port for the role {role}"


def _annotated(pod: _Pod) -> Found | None:
    port = _number(pod.note("prometheus.io/port"))
    if port is None or pod.note("prometheus.io/scrape").lower() == "false":
        return None
    listened = any(number == port for _, number in pod.declared)
    if port == KNATIVE_AGGREGATE_PORT and ISVC_LABEL in pod.labels and not listened:
        return None
    return port, "annotation prometheus.io/port"


def _of_http(pod: _Pod) -> Found | None:
    http = [one for one in pod.declared if one[0].startswith(("http", "h2c"))]
    return next(((number, f"container port {name or number}") for name, number in http or pod.declared), None)


def _undeclared(pod: _Pod, server: str) -> Found:
    argument = _PORT_ARGUMENT.search(_command(pod.container))
    if argument:
        return int(argument[1]), "--port of the command line"
    probe = read.whole(pod.container, "readinessProbe", "httpGet", "port")
    if probe is not None:
        return probe, "port of the readiness probe"
    if ISVC_LABEL in pod.labels or read.text(pod.container, "name") == "kserve-container":
        return KSERVE_RUNTIME_PORT, "KServe's runtimes listen there"
    if server != "auto":
        return profile(server).port, f"default of {server}"
    return LLM_PORT, "default of vLLM"


def _path(pod: _Pod, server: str) -> str:
    for key in ("prometheus.kserve.io/path", "prometheus.io/path"):
        written = pod.note(key)
        if written.startswith("/"):
            return written
    return "/metrics" if server == "auto" else profile(server).path


def _scheme(pod: _Pod, port: int) -> str:
    probe = read.mapping(pod.container, "readinessProbe", "httpGet")
    names = [name for name, number in pod.declared if number == port]
    probed = read.whole(probe, "port") == port or read.text(probe, "port") in names
    secure = read.text(probe, "scheme").upper() == "HTTPS" and probed
    return "https" if secure or pod.note("prometheus.io/scheme") == "https" else "http"
