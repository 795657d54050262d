"""Runs what the chart renders: the container's own arguments, with mounted folders moved to a folder of the test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chart.rendering import CHART, ROOT, Object, Rendered

MOUNTS = ("/etc/llm-autoscaler", "/var/lib/llm-autoscaler")
PYTHON = (sys.executable, "-c", "from autoscaler.cli import main; main()")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Places:
    """Free ports of this machine, where the pod's own would be."""

    grpc: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)

    def values(self) -> Object:
        """The chart's values that make it listen there."""
        ports = {"bindAddress": "127.0.0.1", "grpc": {"port": self.grpc}, "http": {"port": self.http}}
        return {**ports, "kube": {"enabled": False}}  # this machine is no pod

    @property
    def address(self) -> str:
        """Where KEDA would call."""
        return f"localhost:{self.grpc}"

    @property
    def url(self) -> str:
        """Where the pages are."""
        return f"http://127.0.0.1:{self.http}"


def arguments(rendered: Rendered, folder: Path) -> list[str]:
    """The container's arguments with the pod's folders under `folder`."""
    moved = [str(one) for one in rendered.container()["args"]]
    for mount in MOUNTS:
        moved = [one.replace(mount, f"{folder}{mount}") for one in moved]
    return moved


def mount(rendered: Rendered, folder: Path) -> None:
    """Lay ConfigMaps and Secrets as the kubelet would."""
    volumes = {volume["name"]: volume for volume in rendered.pod()["volumes"]}
    for place in rendered.container()["volumeMounts"]:
        where = Path(f"{folder}{place['mountPath']}")
        where.mkdir(parents=True, exist_ok=True)
        volume = volumes.get(place["name"], {})
        if "configMap" in volume:
            for name, text in rendered.one("ConfigMap", volume["configMap"]["name"])["data"].items():
                (where / name).write_text(text)


@contextmanager
def served(command: list[str], health: str, within_s: float = 90.0) -> Iterator[subprocess.Popen[bytes]]:
    """A child that answers on its health page; stopped with SIGTERM, which must end it with 0."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(command, env=environment)
    try:
        until_s = time.monotonic() + within_s
        while True:
            try:
                with urllib.request.urlopen(health, timeout=2):
                    break
            except OSError:
                assert child.poll() is None, f"ended with {child.returncode}"
                assert time.monotonic() < until_s, f"no answer on {health} within {within_s} s"
                time.sleep(0.1)
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            code = child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()
            raise
    assert code == 0


def helm_test(rendered: Rendered, where: Places, tls: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The script of the chart's test pod, against this machine."""
    (container,) = rendered.one("Pod")["spec"]["containers"]
    assert container["command"] == ["python", "-c"]
    script = container["args"][0]
    assert script.strip() == (CHART / "files" / "test_serves.py").read_text().strip()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "GRPC": where.address,
        "HTTP": where.url,
    }
    if tls is not None:
        environment["TLS"] = str(tls)
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=90
    )
