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
from autoscaler.modelservers import profile, profile_names

# Where KServe's pod webhook sends Prometheus: Knative's queue-proxy. Nobody listens there outside Knative mode.
KNATIVE_AGGREGATE_PORT = 9091
KSERVE_RUNTIME_PORT = 8080  # of runtimes without any declared port
LLM_PORT, LLM_DECODE_PORT = 8000, 8001  # decode: 8000 is the routing sidecar's
SERVING_NAMES = ("kserve-container", "main")
SIDECARS = frozenset({"istio-proxy", "linkerd-proxy", "queue-proxy", "llm-d-routing-sidecar", "storage-initializer"})
# What stands in an image's name, or begins a command, and whose it is.
_IMAGES = (
    ("vllm", "vllm"),
    ("sglang", "sglang"),
    ("text-generation-inference", "tgi"),
    ("trtllm", "trtllm"),
    ("tensorrt-llm", "trtllm"),
    ("tritonserver", "triton"),
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


def metrics_page(
    pod: Raw, *, server: str | None = None, port: int | None = None, path: str | None = None
) -> MetricsPage:
    """The metrics page of a pod (or of a pod template); `server`, `port`, `path` are settings and win."""
    container = serving_container(pod)
    guessed = server or _server(container)
    found, why = (port, "metricsPort") if port else _port(pod, container, guessed)
    return MetricsPage(found, path or _path(pod, guessed), _scheme(pod, container, found), guessed, why)


def _server(container: Raw) -> str:
    """The model server by image and command; `auto` where neither tells."""
    image = read.text(container, "image").lower()
    command = _command(container).lower()
    for mark, name in _IMAGES:
        if (mark in image or mark in command) and name in profile_names():
            return name
    return "auto"


def _command(container: Raw) -> str:
    parts = [*(read.at(container, "command") or ()), *(read.at(container, "args") or ())]
    return " ".join(str(part) for part in parts)


def _annotation(pod: Raw, key: str) -> str:
    return read.annotations_of(pod).get(key, "")


def _number(written: str) -> int | None:
    return int(written) if written.isdecimal() and 0 < int(written) < 65_536 else None


def _declared(container: Raw) -> list[tuple[str, int]]:
    """(name, port) of the container's TCP ports."""
    ports = read.items(container, "ports")
    return [
        (read.text(one, "name"), number)
        for one in ports
        if (number := read.whole(one, "containerPort")) is not None and read.text(one, "protocol") in ("", "TCP")
    ]


Found = tuple[int, str]


def _port(pod: Raw, container: Raw, server: str) -> Found:
    declared = _declared(container)
    return (
        _of_kserve(pod)
        or _of_llm_role(pod, container, declared)
        or next(((port, f"container port named {name}") for name, port in declared if _of_metrics(name)), None)
        or _annotated(pod, declared)
        or _of_http(declared)
        or _undeclared(pod, container, server)
    )


def _of_metrics(name: str) -> bool:
    return "metrics" in name or name == "prometheus"


def _of_kserve(pod: Raw) -> Found | None:
    port = _number(_annotation(pod, "prometheus.kserve.io/port"))
    return (port, "annotation prometheus.kserve.io/port") if port else None


def _of_llm_role(pod: Raw, container: Raw, declared: list[tuple[str, int]]) -> Found | None:
    """Its prometheus.io/port is one value for decode and prefill alike, so wrong for one of them: not asked."""
    role = read.labels_of(pod).get(LLM_ROLE)
    if role is None:
        return None
    if declared:
        return declared[0][1], f"port of container {read.text(container, 'name')}"
    return (LLM_DECODE_PORT if role == "decode" else LLM_PORT), f"KServe's port for the role {role}"


def _annotated(pod: Raw, declared: list[tuple[str, int]]) -> Found | None:
    port = _number(_annotation(pod, "prometheus.io/port"))
    if port is None or _annotation(pod, "prometheus.io/scrape").lower() == "false":
        return None
    listened = any(number == port for _, number in declared)
    if port == KNATIVE_AGGREGATE_PORT and ISVC_LABEL in read.labels_of(pod) and not listened:
        return None
    return port, "annotation prometheus.io/port"


def _of_http(declared: list[tuple[str, int]]) -> Found | None:
    http = [one for one in declared if one[0].startswith(("http", "h2c"))]
    return next(((number, f"container port {name or number}") for name, number in http or declared), None)


def _undeclared(pod: Raw, container: Raw, server: str) -> Found:
    argument = _PORT_ARGUMENT.search(_command(container))
    if argument:
        return int(argument[1]), "--port of the command line"
    probe = read.whole(container, "readinessProbe", "httpGet", "port")
    if probe is not None:
        return probe, "port of the readiness probe"
    if ISVC_LABEL in read.labels_of(pod) or read.text(container, "name") == "kserve-container":
        return KSERVE_RUNTIME_PORT, "KServe's runtimes listen there"
    if server != "auto":
        return profile(server).port, f"default of {server}"
    return LLM_PORT, "default of vLLM"


def _path(pod: Raw, server: str) -> str:
    for key in ("prometheus.kserve.io/path", "prometheus.io/path"):
        written = _annotation(pod, key)
        if written.startswith("/"):
            return written
    return "/metrics" if server == "auto" else profile(server).path


def _scheme(pod: Raw, container: Raw, port: int) -> str:
    probe = read.mapping(container, "readinessProbe", "httpGet")
    names = [name for name, number in _declared(container) if number == port]
    probed = read.whole(probe, "port") == port or read.text(probe, "port") in names
    secure = read.text(probe, "scheme").upper() == "HTTPS" and probed
    return "https" if secure or _annotation(pod, "prometheus.io/scheme") == "https" else "http"
