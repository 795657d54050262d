"""A stand-in for scheduler and kubelet in one namespace: binds pods, runs something for each, reports their phases.

What runs for a pod is a `Runtime`'s business: an emulated model server (`fleet.py`), or anything else with a face.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from tests.e2e.api import Api, ApiError, Object

NODE = "stand-in"
CONDITIONS = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "PodScheduled")


class Running(Protocol):
    """What runs for one pod."""

    ip: str

    async def ready(self) -> None:
        """Returns when it serves."""
        ...

    async def stop(self) -> None:
        """Ends it, as SIGTERM and the grace period do."""
        ...


Runtime = Callable[[Object], Running]


class Kubelet:
    """Runs the pods of a namespace; use as an async context manager."""

    def __init__(self, api: Api, namespace: str, runtime: Runtime) -> None:
        self._api = api
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._runtime = runtime
        self._lives: dict[str, tuple[Running, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Kubelet:
        self._spawn(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for running, _ in self._lives.values():
            await running.stop()

    def _spawn(self, work: object) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self) -> None:
        async for event, pod in self._api.follow(self._pods):
            uid = pod["metadata"]["uid"]
            if event == "DELETED" or pod["metadata"].get("deletionTimestamp"):
                if uid in self._lives:
                    self._spawn(self._end(uid, pod))
            elif uid not in self._lives:
                running = self._runtime(pod)
                self._lives[uid] = running, self._spawn(self._bring_up(pod, running))

    async def _bring_up(self, pod: Object, running: Running) -> None:
        name = pod["metadata"]["name"]
        with suppress(ApiError):  # deleted meanwhile
            if not pod["spec"].get("nodeName"):
                binding = {"kind": "Binding", "apiVersion": "v1", "metadata": {"name": name}, "target": {"name": NODE}}
                await self._api.call("POST", f"{self._pods}/{name}/binding", binding)
            started = _now()
            await self._report(pod, running, "Pending", started, None)
            await running.ready()
            await self._report(pod, running, "Running", started, _now())

    async def _report(self, pod: Object, running: Running, phase: str, started: str, ready: str | None) -> None:
        true = CONDITIONS if ready else ("PodScheduled", "Initialized")
        containers = [
            {
                "name": one["name"],
                "image": one["image"],
                "imageID": "",
                "restartCount": 0,
                "ready": ready is not None,
                "started": ready is not None,
                "state": {"running": {"startedAt": started}},
            }
            for one in pod["spec"]["containers"]
        ]
        status = {
            "phase": phase,
            "hostIP": running.ip,
            "podIP": running.ip,
            "podIPs": [{"ip": running.ip}],
            "startTime": started,
            "containerStatuses": containers,
            "conditions": [
                {
                    "type": kind,
                    "status": "True" if kind in true else "False",
                    "lastTransitionTime": ready if ready and kind in ("Ready", "ContainersReady") else started,
                }
                for kind in CONDITIONS
            ],
        }
        path = f"{self._pods}/{pod['metadata']['name']}/status"
        await self._api.call("PATCH", path, {"status": status}, "application/strategic-merge-patch+json")

    async def _end(self, uid: str, pod: Object) -> None:
        running, coming = self._lives.pop(uid)
        coming.cancel()
        await running.stop()
        await self._api.delete(f"{self._pods}/{pod['metadata']['name']}", gracePeriodSeconds=0)


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
