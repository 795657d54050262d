"""End to end: the real API server, HPA and KEDA around the real `autoscaler serve`; skipped where those are absent.

KUBEBUILDER_ASSETS=DIR  etcd, kube-apiserver, kube-controller-manager
KEDA_BIN=DIR            keda-operator, keda-adapter
KEDA_CRDS=DIR           KEDA's CustomResourceDefinitions
KSERVE_CRDS=DIR         optional: KServe's, for the tests that replay its objects
E2E_HPA_SYNC_SECONDS=5  the HPA's sync period; clusters have 15, and figures worth keeping are taken with 15
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.api import Api
from tests.e2e.binaries import Binaries, find
from tests.e2e.controlplane import ControlPlane
from tests.e2e.keda import Keda, install_crds
from tests.e2e.world import World, world

HERE = Path(__file__).parent
LONGEST_S = 1200.0  # what serves at first sight is kept for 300 s; then several HPA syncs
HPA_SYNC_S = float(os.environ.get("E2E_HPA_SYNC_SECONDS", "5"))
FOUND = find(os.environ)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(LONGEST_S))
            if isinstance(FOUND, str):
                item.add_marker(pytest.mark.skip(reason=f"e2e: {FOUND}"))


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    assert isinstance(FOUND, Binaries)  # tests without them are skipped
    return FOUND


@pytest.fixture(scope="session")
def plane(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The control plane of the session."""
    one = ControlPlane(binaries, tmp_path_factory.mktemp("controlplane"), HPA_SYNC_S)
    try:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(one.start())
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="session")
def keda(binaries: Binaries, plane: ControlPlane) -> Iterator[Keda]:
    """KEDA on it."""
    one = Keda(binaries, plane)
    try:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(one.start())
        yield one
    finally:
        one.stop()


@pytest.fixture
async def one(plane: ControlPlane, keda: Keda, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A namespace, its pods, and our service to start."""

    def note(name: str, value: object) -> None:
        request.node.user_properties.append((name, value))

    async with world(plane, keda, HPA_SYNC_S, tmp_path, note) as made:
        yield made


@pytest.fixture(scope="session")
def kserve_crds(binaries: Binaries, plane: ControlPlane) -> None:
    """KServe's CustomResourceDefinitions, installed."""
    folder = binaries.kserve_crds
    if folder is None:
        pytest.skip("KSERVE_CRDS is not set (folder of KServe's CustomResourceDefinitions)")

    async def install() -> None:
        async with Api(plane.admin) as api:
            await install_crds(api, folder)

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(install())


@pytest.fixture
def kserve(kserve_crds: None, one: World) -> World:
    """A world that knows KServe's kinds; its controllers do not run, what they make is replayed."""
    return one
