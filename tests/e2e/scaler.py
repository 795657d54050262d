"""Our own service: the real `autoscaler serve` as a process, on ports that survive its restarts."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from autoscaler.core.records import Decision
from autoscaler.telemetry.recorder import read_record
from tests.e2e.api import Object
from tests.e2e.processes import Child, free_port
from tests.e2e.waiting import until

TOKEN = "e2e-wake"
START_S = 90.0  # at the lowest priority beside other work, Python alone takes its time


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster that services are found in, as whom it is read, and the Lease by which one of ours plans."""

    kubeconfig: Path
    namespace: str  # ours: what is read, unless `whole`, and where the Lease lies
    whole: bool = False
    lease: str = ""  # "": none
    writers: tuple[str, ...] = ()  # the switches that are on: --fast-path ...
    advertise: str = ""  # where our other replicas reach this one; "": at its own address

    def options(self) -> list[object]:
        """For the command line."""
        where = [] if self.whole else ["--kube-namespaces", self.namespace]
        lease = ["--lease", self.lease] if self.lease else []
        reached = ["--advertise", self.advertise] if self.advertise else []
        return ["--kube", "on", "--kubeconfig", self.kubeconfig, *where, *lease, *reached, *self.writers]


class Serve:
    """One replica of ours."""

    def __init__(
        self,
        folder: Path,
        services: Sequence[Object],
        wake_sources: Sequence[Object] = (),
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._state = folder / "state"
        (folder / "token").write_text(TOKEN + "\n")
        self.host = host
        self.grpc, self.http = port or free_port(host), free_port(host)
        self.advertised = (cluster.advertise if cluster is not None else "") or f"{host}:{self.grpc}"
        options: list[object] = [] if cluster is None else cluster.options()
        said = {"services": list(services), "wakeSources": list(wake_sources)}
        if any(said.values()):  # without a word from the operator there is no file
            (folder / "targets.yaml").write_text(json.dumps(said))  # JSON is YAML
            options += ["--targets", folder / "targets.yaml"]
        # As the chart's downward API says it.
        pod = {} if cluster is None else {"POD_NAMESPACE": cluster.namespace, "POD_NAME": folder.name, "POD_IP": host}
        self._child = Child("autoscaler", self._command(folder, options), folder, pod)

    def _command(self, folder: Path, options: list[object]) -> list[object]:
        return [
            *(sys.executable, "-c", "from autoscaler.cli import main; main()", "serve"),
            *(*options, "--state-dir", self._state),
            *("--grpc", self.address, "--http", f"{self.host}:{self.http}"),
            *("--wake-token-file", folder / "token", "--log-format", "json"),
        ]

    @property
    def address(self) -> str:
        """What a trigger's `scalerAddress` says."""
        return f"{self.host}:{self.grpc}"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._child.running

    async def start(self) -> None:
        """Run it, until every service was decided once. Raises AssertionError."""
        self._child.start()
        await until("autoscaler serve is ready", self._ready, START_S)

    async def _ready(self) -> bool:
        self._child.must_run()
        async with aiohttp.ClientSession() as session, session.get(f"{self._root}/readyz") as answer:
            return answer.status == 200

    @property
    def _root(self) -> str:
        return f"http://{self.host}:{self.http}"

    def stop(self) -> int:
        """SIGTERM; gives its exit status."""
        return self._child.stop()

    def kill(self) -> None:
        """kill -9."""
        self._child.stop(signal.SIGKILL)

    def freeze(self) -> None:
        """It keeps its sockets and answers nobody, as on a node that is stuck."""
        self._child.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._child.send(signal.SIGCONT)

    def log(self) -> str:
        """All it printed."""
        return self._child.log()

    async def wake(self, namespace: str, service: str, replicas: int, ttl_s: float) -> None:
        """Ask for replicas by the wake API."""
        body = {"replicas": replicas, "ttl_s": ttl_s}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"{self._root}/v1/wake/{namespace}/{service}"
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
            assert answer.status == 202, await answer.text()

    async def asked(self, namespace: str, service: str, role: str = "") -> int:
        """The count it asks for now."""
        url = f"{self._root}/v1/services/{namespace}/{service}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            decision = await answer.json()
        by_role = {one["role"]: int(one["replicas"]) for one in decision["roles"]}
        return by_role[role]

    async def asks(self, namespace: str, service: str, replicas: int) -> bool:
        """Whether it asks for this count now."""
        return await self.asked(namespace, service) == replicas

    async def page(self) -> str:
        """Its metrics page."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._root}/metrics") as answer:
            return await answer.text()

    def said(self, event: str) -> list[Object]:
        """Lines of its log with this event, oldest first."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    async def watched(self) -> dict[str, bool]:
        """Every kind it wants to watch, and whether it does."""
        row = r'^llm_autoscaler_kube_watched\{[^}]*resource="([^"]+)"[^}]*\} (\S+)$'
        return {kind: float(value) == 1.0 for kind, value in re.findall(row, await self.page(), re.M)}

    async def streams(self) -> int:
        """Push streams that KEDA holds open."""
        found = re.search(r"^llm_autoscaler_grpc_push_streams (\S+)$", await self.page(), re.M)
        return int(float(found[1])) if found else 0

    async def is_listened_to(self, streams: int) -> bool:
        """Whether KEDA holds so many push streams open."""
        return await self.streams() == streams

    async def was_read(self) -> bool:
        """Whether it answered KEDA and the HPA more than once."""
        return await self.calls("IsActive") >= 2 and await self.calls("GetMetrics") >= 2

    async def calls(self, method: str, status: str = "[A-Z_]+") -> float:
        """Calls of one RPC that it answered since it started, by default whatever the status."""
        labels = rf'(?=[^}}]*method="{method}")(?=[^}}]*code="{status}")[^}}]*'
        row = rf"^llm_autoscaler_grpc_calls_total\{{{labels}\}} (\S+)$"
        rows = re.findall(row, await self.page(), re.M)
        return sum(map(float, rows))

    def decisions(self, namespace: str, service: str) -> Iterator[Decision]:
        """Every decision on record, oldest first; the newest second may be missing."""
        for entry in read_record(self._state / "flight"):
            if entry.decision is not None and str(entry.service) == f"{namespace}/{service}":
                yield entry.decision

    def asked_at_s(self, namespace: str, service: str, replicas: int, since_s: float) -> float:
        """When it first asked for a count after a time, by its record."""
        asked = (
            decision.at_s
            for decision in self.decisions(namespace, service)
            if decision.at_s >= since_s and decision.active and decision.roles[0].replicas == replicas
        )
        return next(asked)

    def edges(self, namespace: str, service: str) -> list[float]:
        """Unix times of its inactive-to-active edges on record."""
        edges, active = [], True
        for decision in self.decisions(namespace, service):
            if decision.active and not active:
                edges.append(decision.at_s)
            active = decision.active
        return edges
