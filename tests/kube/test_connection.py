"""Getting in: a pod's ServiceAccount, a kubeconfig, TLS, and credentials that rotate."""

from __future__ import annotations

import base64
import datetime as dt
import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web

from autoscaler.core.errors import ClusterError
from autoscaler.kube import connection
from autoscaler.kube.client import KubeClient
from autoscaler.kube.connection import Connection, find, from_kubeconfig, in_cluster
from autoscaler.kube.errors import Unauthorized, Unreachable
from autoscaler.kube.resources import PODS
from tests.fakes.certificates import Authority
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.cluster import pod


@asynccontextmanager
async def api_behind_tls(folder: Path, authority: Authority) -> AsyncIterator[tuple[int, list[str | None]]]:
    """Answers every GET with an empty object; notes the Authorization headers."""
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({})

    certificate, key = authority.issue("api").write(folder, "api")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    application = web.Application()
    application.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield int(runner.addresses[0][1]), seen
    await runner.cleanup()


def service_account(folder: Path, authority: Authority, port: int, token: str) -> Connection:
    (folder / "ca.crt").write_bytes(authority.pem)
    (folder / "token").write_text(token)
    return in_cluster(folder, {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)})


async def test_a_pod_gets_in_by_its_service_account_and_takes_up_a_rotated_token_within_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubernetes_asyncio.config import incluster_config  # noqa: PLC0415 -- the module whose clock is turned

    class Clock:
        ahead = dt.timedelta()

        @classmethod
        def now(cls) -> dt.datetime:
            return dt.datetime.now(dt.UTC) + cls.ahead

    monkeypatch.setattr(incluster_config, "datetime", SimpleNamespace(datetime=Clock, timedelta=dt.timedelta))
    authority = Authority("cluster")
    async with (
        api_behind_tls(tmp_path, authority) as (port, seen),
        KubeClient(service_account(tmp_path, authority, port, "first\n")) as client,
    ):
        await client.get(PODS, "n", "p")
        (tmp_path / "token").write_text("second\n")
        await client.get(PODS, "n", "p")
        Clock.ahead = dt.timedelta(seconds=61)
        await client.get(PODS, "n", "p")
    assert seen == ["Bearer first", "Bearer first", "Bearer second"]


async def test_an_api_server_of_another_authority_is_not_trusted_until_ours_is_rotated(tmp_path: Path) -> None:
    ours, theirs = Authority("ours"), Authority("theirs")
    async with (
        api_behind_tls(tmp_path, theirs) as (port, seen),
        KubeClient(service_account(tmp_path, ours, port, "secret")) as client,
    ):
        with pytest.raises(Unreachable, match="certificate"):
            await client.get(PODS, "n", "p")
        assert seen == []  # and it did not get our token
        (tmp_path / "ca.crt").write_bytes(theirs.pem)
        await client.get(PODS, "n", "p")
    assert seen == ["Bearer secret"]


async def test_a_pod_without_its_token_says_where_it_looked(tmp_path: Path) -> None:
    lost = in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"})
    async with KubeClient(lost) as client:
        with pytest.raises(ClusterError, match=f"ServiceAccount in {tmp_path}.*token file does not exist"):
            await client.get(PODS, "n", "p")


async def test_a_kubeconfig_gets_in_by_token_and_a_token_file_is_read_again_when_it_is_refused(tmp_path: Path) -> None:
    async with FakeKubeApi() as api:
        api.put(PODS, pod("p"))
        path = api.kubeconfig(tmp_path, "me")
        async with KubeClient(from_kubeconfig(str(path))) as client:
            await client.get(PODS, "n", "p")
        assert api.requests[-1].user == "me"
        config = json.loads(path.read_text())
        config["users"][0]["user"] = {"tokenFile": str(tmp_path / "token")}
        path.write_text(json.dumps(config))
        (tmp_path / "token").write_text("old")
        async with KubeClient(from_kubeconfig(str(path))) as client:
            await client.get(PODS, "n", "p")
            api.tokens = {"new"}
            (tmp_path / "token").write_text("new")
            await client.get(PODS, "n", "p")
            api.tokens = set()
            with pytest.raises(Unauthorized, match="does not accept our credentials"):
                await client.get(PODS, "n", "p")


async def test_a_kubeconfig_with_an_authority_in_it_trusts_that_one(tmp_path: Path) -> None:
    authority = Authority("cluster")
    async with api_behind_tls(tmp_path, authority) as (port, _):
        config = {
            "current-context": "c",
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": f"https://127.0.0.1:{port}",
                        "certificate-authority-data": base64.b64encode(authority.pem).decode(),
                    },
                }
            ],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }
        (tmp_path / "config").write_text(json.dumps(config))
        async with KubeClient(from_kubeconfig(str(tmp_path / "config"))) as client:
            assert await client.get(PODS, "n", "p") == {}


async def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("contexts: [")
    async with KubeClient(from_kubeconfig(str(path))) as client:
        with pytest.raises(ClusterError, match=f"kubeconfig {path}: cannot be used"):
            await client.get(PODS, "n", "p")


def test_the_named_kubeconfig_wins_over_the_pods_account_and_that_over_kubectls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert find() is None
    (tmp_path / "none").write_text("{}")
    found = find()
    assert found is not None
    assert found.source == f"kubeconfig {tmp_path}/none"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    found = find()
    assert found is not None
    assert str(connection.SERVICE_ACCOUNT_FOLDER) in found.source
    found = find("mine")
    assert found is not None
    assert found.source == "kubeconfig mine"


def test_the_librarys_models_are_let_go_and_whoever_imports_it_again_gets_it() -> None:
    """They took 37 MiB that nothing uses: 29 of 205 MiB with 300 services."""
    script = (
        "import gc, sys\n"
        "from autoscaler.kube.library import library\n"
        "found = library()\n"
        "assert not [one for one in sys.modules if one.startswith('kubernetes_asyncio.client')]\n"
        "assert not [one for one in gc.get_objects() if isinstance(one, type) and one.__name__ == 'V1Pod']\n"
        "assert found.configuration().verify_ssl\n"
        "from kubernetes_asyncio.client import V1Pod\n"
        "import kubernetes_asyncio\n"
        "assert kubernetes_asyncio.client.V1Pod is V1Pod\n"
        "assert library() is found\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
