"""`autoscaler serve` as a child process: serves, survives kill -9 with what it learned, stops with 0."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from pathlib import Path

import aiohttp
import grpc
import pytest

from scaler_proto import externalscaler_pb2 as pb
from scaler_proto import externalscaler_pb2_grpc as rpc
from tests.fakes.model_server import ScriptedServer, text, vllm_page

REF = pb.ScaledObjectRef(name="chat", namespace="default", scalerMetadata={"scalerAddress": "x:1"})
METRICS = pb.GetMetricsRequest(scaledObjectRef=REF, metricName="replicas")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Serve:
    """One `autoscaler serve` on fixed ports."""

    def __init__(self, folder: Path, url: str) -> None:
        self.grpc, self.http = free_port(), free_port()
        targets = folder / "targets.yaml"
        targets.write_text(
            "services:\n  - {name: chat, maxReplicas: 20, prior: llama-3.1-70b/a100x4, "
            f"replicas: {{urls: ['{url}']}}}}\n"
        )
        token = folder / "token"
        token.write_text("secret\n")
        self._arguments = [
            *(sys.executable, "-c", "from autoscaler.cli import main; main()", "serve"),
            *("--targets", str(targets), "--grpc", f"127.0.0.1:{self.grpc}", "--http", f"127.0.0.1:{self.http}"),
            *("--state-dir", str(folder / "state"), "--wake-token-file", str(token), "--log-level", "error"),
        ]
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(*self._arguments)

    async def value(self, within_s: float = 25.0) -> float:
        """The first number answered; UNAVAILABLE is waited through, any other status is a failure."""
        until_s = time.monotonic() + within_s
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.grpc}") as channel:
            while True:
                try:
                    return float(
                        (await rpc.ExternalScalerStub(channel).GetMetrics(METRICS)).metricValues[0].metricValueFloat
                    )
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > until_s:
                        raise
                await asyncio.sleep(0.05)


async def test_serve_answers_wakes_restarts_after_kill_9_and_stops_with_zero(tmp_path: Path) -> None:
    began_s = time.time()

    def page() -> str:
        done = int((time.time() - began_s) * 6)
        return vllm_page(running=40, first_tokens=done, prompt=done * 1200, generated=done * 200)

    async with ScriptedServer(lambda: text(page())) as server:
        serve = Serve(tmp_path, server.url)
        await serve.start()
        try:
            await serve.value()
            async with aiohttp.ClientSession() as session:
                await _wake(session, serve.http)
            async with asyncio.timeout(20):
                while await serve.value() < 7:
                    await asyncio.sleep(0.2)
            serve.process.send_signal(signal.SIGKILL)
            await serve.process.wait()
            await serve.start()
            # Whatever is answered after the restart, it is never a zero and never below what is listed.
            assert await serve.value() >= 1
        finally:
            serve.process.send_signal(signal.SIGTERM)
            code = await asyncio.wait_for(serve.process.wait(), 30)
        assert code == 0
    assert (tmp_path / "state" / "state.sqlite").exists()


async def _wake(session: aiohttp.ClientSession, port: int) -> None:
    root = f"http://127.0.0.1:{port}"
    async with session.get(f"{root}/metrics") as answer:
        assert "llm_autoscaler_asked_replicas" in await answer.text()
    async with session.get(f"{root}/readyz") as answer:
        assert (await answer.json())["ready"]
    async with session.get(f"{root}/v1/services/default/chat") as answer:
        assert json.loads(await answer.text())["service"]["name"] == "chat"
    url, headers = f"{root}/v1/wake/default/chat", {"Authorization": "Bearer secret"}
    for body, given, status in (
        ({"replicas": 7, "ttl_s": 300}, {}, 401),
        ({"replicas": 0}, headers, 400),
        ({"replicas": 7, "ttl_s": 300}, headers, 202),
    ):
        async with session.post(url, json=body, headers=given) as answer:
            assert answer.status == status
    async with session.post(f"{root}/v1/wake/default/nobody", json={}, headers=headers) as answer:
        assert answer.status == 404


async def test_a_broken_targets_file_ends_with_2_and_every_error(tmp_path: Path) -> None:
    path = tmp_path / "targets.yaml"
    path.write_text("services: [{name: a, ttftSecond: 3, attainment: 7, replicas: {urls: []}}]")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from autoscaler.cli import main; main()", "serve", "--targets", str(path)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"did you mean 'ttftSeconds'" in said
    assert b"attainment" in said


async def test_a_file_without_services_and_without_kubernetes_ends_with_2(tmp_path: Path) -> None:
    path = tmp_path / "targets.yaml"
    path.write_text("wakeSources: [{name: gateway, url: 'http://127.0.0.1:9/metrics', kind: llm-d}]")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from autoscaler.cli import main; main()", "serve", "--kube", "off"),
        *("--targets", str(path)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"services, or --kube on" in said


def test_free_ports_differ() -> None:
    assert free_port() > 0
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", free_port()), timeout=0.2)
