"""A Kubernetes API server in the test's own process, over real HTTP.

    async with FakeKubeApi(SCALED_OBJECTS) as api, KubeClient(api.connection()) as client:
        api.put(PODS, {"metadata": {"name": "a", "namespace": "n"}})  # as somebody else would
        api.forbid("list", PODS)
        api.drop_watches()
        assert api.writes == []

It knows the built-in kinds of `BUILT_IN` and the CRDs it is given; everything else is a 404 as the real one words it.
Who asks is their bearer token (`api.connection("replica-1")`), so that one of several clients can be cut off.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiohttp import web

from autoscaler.kube import resources as kinds
from autoscaler.kube.connection import Connection
from autoscaler.kube.resources import Resource
from tests.fakes import kube_patches as patches
from tests.fakes.kube_answers import (
    Asked,
    Denial,
    Write,
    answer_json,
    bookmark_of,
    discovery_of,
    gone_event,
    not_found,
    read_request,
    refusal,
    scope_of,
)
from tests.fakes.kube_store import Change, Json, Store

BUILT_IN = (
    kinds.PODS,
    kinds.NODES,
    kinds.NAMESPACES,
    kinds.CONFIG_MAPS,
    kinds.DEPLOYMENTS,
    kinds.REPLICA_SETS,
    kinds.STATEFUL_SETS,
    kinds.HORIZONTAL_POD_AUTOSCALERS,
    kinds.LEASES,
    kinds.EVENTS,
)
WITH_SCALE = (
    kinds.DEPLOYMENTS,
    kinds.REPLICA_SETS,
    kinds.STATEFUL_SETS,
    kinds.LEADER_WORKER_SETS,
    kinds.DISAGGREGATED_SET_ROLE_SCALERS,
)
NO_SUCH_PATH = "404 page not found\n"


class _Watcher:
    def __init__(self, asked: Asked, request: web.Request) -> None:
        self.asked = asked
        self.request = request
        self.queue: asyncio.Queue[Change | Json | int] = asyncio.Queue()  # a number: end, current to there


class FakeKubeApi:
    """The server; every attribute may be changed while it runs."""

    def __init__(self, *crds: Resource) -> None:
        self.store = Store()
        self.installed: set[Resource] = {*BUILT_IN, *crds}
        self.with_scale: set[Resource] = set(WITH_SCALE)
        self.tokens: set[str] | None = None  # accepted bearer tokens; None: everyone's
        self.latency_s = 0.0  # before every answer
        self.stalled = False  # requests are taken and never answered, watches say nothing and never end
        self.cut_off: set[str] = set()  # users whose connections break at once
        self.gone_in_stream = True  # an old version on watch: a Status in the stream (True) or a plain 410
        self.bookmarks = True  # before a watch ends
        self.page_limit: int | None = None  # largest page, whatever was asked for
        self.requests: list[Asked] = []
        self.writes: list[Write] = []
        self.url = ""
        self._denials: list[Denial] = []
        self._only: frozenset[str] | None = None
        self._failures: list[tuple[int, dict[str, str], frozenset[str]]] = []
        self._watchers: list[_Watcher] = []
        self._pages: dict[str, tuple[int, list[Json]]] = {}
        self._port = 0
        self._runner: web.AppRunner | None = None
        self.store.listeners.append(self._tell)

    # Life -------------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> FakeKubeApi:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Serve, on the same port as before if it was stopped."""
        application = web.Application(client_max_size=16 * 1024 * 1024)
        application.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = int(self._runner.addresses[0][1])
        self.url = f"http://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        """Stop serving: connections break; what is stored stays."""
        self.drop_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def connection(self, user: str = "scaler") -> Connection:
        """How a client gets in as a user."""

        async def load(configuration: Any) -> None:
            configuration.host = self.url
            configuration.api_key["BearerToken"] = f"Bearer {user}"

        return Connection(f"the fake API server as {user}", load)

    def kubeconfig(self, folder: Path, user: str = "scaler") -> Path:
        """The same, as a file."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": user, "user": {"token": user}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": user}}],
        }
        path = folder / f"kubeconfig-{user}"
        path.write_text(json.dumps(config))
        return path

    # What others do ---------------------------------------------------------------------------------------------------

    def put(self, resource: Resource, document: Json) -> Json:
        """Write an object as somebody else; watchers hear of it. Not in `writes`."""
        return self.store.put(resource, document)

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object as somebody else."""
        self.store.delete(resource, namespace, name)

    def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """One object as stored; AssertionError if there is none."""
        found = self.store.get(resource, namespace, name)
        assert found is not None, f"no {resource} {namespace}/{name}"
        return found

    def forbid(
        self,
        verbs: str = "",
        resource: Resource | None = None,
        *,
        namespace: str | None = None,
        user: str | None = None,
        subresource: str | None = None,
    ) -> Denial:
        """Answer 403 to these verbs (blank between; "": all) from now on; open watches go on, as in the real one."""
        denial = Denial(frozenset(verbs.split()), resource, namespace, user, subresource)
        self._denials.append(denial)
        return denial

    def permit(self, denial: Denial) -> None:
        """Take a denial back."""
        self._denials.remove(denial)

    def only_namespaces(self, names: Iterable[str]) -> None:
        """As with Roles and no ClusterRole: every other namespace, and all of them at once, is forbidden."""
        self._only = frozenset(names)

    def fail(self, times: int, status: int, *, verbs: str = "", retry_after_s: int | None = None) -> None:
        """Answer the next requests with a status of 500 and more, or 429."""
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self._failures += [(status, headers, frozenset(verbs.split()))] * times

    def expire_history(self) -> None:
        """Compact: older versions and continue tokens are Gone; open watches hear it in the middle of the stream."""
        self.store.compact()
        self._pages.clear()
        for watcher in self._watchers:
            watcher.queue.put_nowait(gone_event())

    def bookmark(self) -> None:
        """Send every watch a bookmark now."""
        for watcher in self._watchers:
            watcher.queue.put_nowait(bookmark_of(watcher.asked.resource, self.store.version))

    def drop_watches(self, resource: Resource | None = None, *, cleanly: bool = False) -> None:
        """Break the open watches' connections, or end them as a server does whose time is up."""
        for watcher in self._watchers:
            if resource in (None, watcher.asked.resource):
                watcher.queue.put_nowait(self.store.version)
                if not cleanly and watcher.request.transport is not None:
                    watcher.request.transport.abort()

    def watches(self, resource: Resource | None = None) -> int:
        """How many watches are open."""
        return sum(resource in (None, watcher.asked.resource) for watcher in self._watchers)

    def cut(self, user: str) -> None:
        """Cut one user off: what is open breaks, what comes breaks."""
        self.cut_off.add(user)
        for watcher in self._watchers:
            if watcher.asked.user == user and watcher.request.transport is not None:
                watcher.request.transport.abort()

    def count(self, verb: str, resource: Resource) -> int:
        """How many requests of a verb came for a kind."""
        return Counter((asked.verb, asked.resource) for asked in self.requests)[verb, resource]

    # Answers ----------------------------------------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        user = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if user in self.cut_off and request.transport is not None:
            request.transport.abort()
            return web.Response()
        asked = read_request(request, user, self.installed)
        if asked is not None:
            self.requests.append(asked)
        await asyncio.sleep(self.latency_s)
        while self.stalled:
            await asyncio.sleep(0.01)
        if self.tokens is not None and user not in self.tokens:
            return refusal(401, "Unauthorized", "Unauthorized")
        refused = self._of_no_kind(request.path) if asked is None else self._refused(asked)
        if refused is not None or asked is None:
            return refused or web.Response()
        if asked.verb == "watch":
            return await self._watch(asked, request)
        if asked.verb in ("list", "get"):
            return self._list(asked) if asked.verb == "list" else self._get(asked)
        return await self._write(asked, request)

    def _of_no_kind(self, path: str) -> web.Response:
        about = discovery_of(path, self.installed)
        return web.Response(status=404, text=NO_SUCH_PATH) if about is None else answer_json(about)

    def _refused(self, asked: Asked) -> web.Response | None:
        """Told to fail, forbidden, or of a kind that is not installed, in the real one's order; None: go on."""
        for failure in self._failures:
            if not failure[2] or asked.verb in failure[2]:
                self._failures.remove(failure)
                return refusal(failure[0], "InternalError", "told to fail", headers=failure[1])
        outside = self._only is not None and asked.namespace not in self._only
        if not outside and not any(denial.hits(asked) for denial in self._denials):
            missing = asked.resource not in self.installed
            missing |= asked.subresource == "scale" and asked.resource not in self.with_scale
            return web.Response(status=404, text=NO_SUCH_PATH) if missing else None
        what = f"{asked.resource.plural}/{asked.subresource}" if asked.subresource else asked.resource.plural
        where = f' in the namespace "{asked.namespace}"' if asked.namespace else " at the cluster scope"
        group = f'in API group "{asked.resource.group}"'
        text = f'{what} is forbidden: User "{asked.user}" cannot {asked.verb} resource "{what}" {group}{where}'
        return refusal(403, "Forbidden", text)

    def _list(self, asked: Asked) -> web.Response:
        limit = int(asked.query.get("limit", "0")) or None
        limit = min(limit or self.page_limit, self.page_limit) if self.page_limit else limit
        token = asked.query.get("continue", "")
        if token:
            if token not in self._pages:
                return refusal(410, "Expired", "The provided continue parameter is too old")
            version, rest = self._pages[token]
        else:
            scope = scope_of(asked)
            version = self.store.version
            rest = [item for _, item in sorted(self.store.of(asked.resource).items()) if scope.fits(item)]
        metadata: Json = {"resourceVersion": str(version)}
        if limit is not None and len(rest) > limit:
            metadata |= {"continue": f"page-{version}-{len(self.requests)}", "remainingItemCount": len(rest) - limit}
            self._pages[metadata["continue"]] = (version, rest[limit:])
            rest = rest[:limit]
        kind = f"{asked.resource.kind}List"
        return answer_json(
            {"kind": kind, "apiVersion": asked.resource.api_version, "metadata": metadata, "items": rest}
        )

    def _get(self, asked: Asked) -> web.Response:
        found = self.store.get(asked.resource, asked.namespace, asked.name)
        if found is None:
            return not_found(asked)
        return answer_json(patches.scale_of(found) if asked.subresource == "scale" else found)

    async def _watch(self, asked: Asked, request: web.Request) -> web.StreamResponse:
        since = int(asked.query.get("resourceVersion") or self.store.version)
        old = since < self.store.oldest
        if old and not self.gone_in_stream:
            return refusal(410, "Expired", "too old resource version")
        watcher = _Watcher(asked, request)
        for change in [] if old else self.store.since(since):
            watcher.queue.put_nowait(change)
        if old:
            watcher.queue.put_nowait(gone_event())
        self._watchers.append(watcher)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        try:
            await response.prepare(request)
            await self._stream(watcher, response)
        except ConnectionError:
            pass
        finally:
            self._watchers.remove(watcher)
        return response

    async def _stream(self, watcher: _Watcher, response: web.StreamResponse) -> None:
        scope = scope_of(watcher.asked)
        ends_s = asyncio.get_running_loop().time() + float(watcher.asked.query.get("timeoutSeconds", "3600"))
        while True:
            try:
                async with asyncio.timeout_at(ends_s):
                    said = await watcher.queue.get()
            except TimeoutError:
                said = watcher.queue.get_nowait() if watcher.queue.qsize() else self.store.version
            while self.stalled:
                await asyncio.sleep(0.01)
            if isinstance(said, Change):
                event = scope.event(said) if said.resource == watcher.asked.resource else None
                if event is None:
                    continue
                said = {"type": event[0], "object": event[1]}
            last = isinstance(said, int)
            if isinstance(said, int):
                if not self.bookmarks or watcher.asked.query.get("allowWatchBookmarks") != "true":
                    return
                said = bookmark_of(watcher.asked.resource, said)
            await response.write(json.dumps(said).encode() + b"\n")
            if last or said["type"] == "ERROR":
                return

    def _tell(self, change: Change) -> None:
        for watcher in self._watchers:
            watcher.queue.put_nowait(change)

    # Writes -----------------------------------------------------------------------------------------------------------

    async def _write(self, asked: Asked, request: web.Request) -> web.Response:
        raw = await request.read()
        body: Json = json.loads(raw) if raw else {}
        if asked.verb == "create":
            answer = self._create(asked, body)
        elif asked.verb == "delete":
            gone = self.store.delete(asked.resource, asked.namespace, asked.name)
            answer = not_found(asked) if gone is None else answer_json(gone)
        else:
            answer = self._change(asked, body, request.content_type)
        self.writes.append(Write(asked, body, answer.status))
        return answer

    def _create(self, asked: Asked, body: Json) -> web.Response:
        metadata = body.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName']}{self.store.version:05x}"
        if asked.resource.namespaced:
            metadata.setdefault("namespace", asked.namespace)
        if self.store.get(asked.resource, asked.namespace, metadata["name"]) is not None:
            return refusal(409, "AlreadyExists", f'{asked.resource.plural} "{metadata["name"]}" already exists')
        return self._stored(asked, None, body, 201)

    def _change(self, asked: Asked, body: Json, content_type: str) -> web.Response:
        before = self.store.get(asked.resource, asked.namespace, asked.name)
        if before is None and content_type != patches.APPLY:
            return not_found(asked)
        version = (body.get("metadata") or {}).get("resourceVersion")
        if before is not None and version not in (None, "", before["metadata"]["resourceVersion"]):
            return refusal(409, "Conflict", "the object has been modified; please apply your changes to the latest")
        if asked.verb == "update" and not version and asked.resource == kinds.LEASES:
            return refusal(422, "Invalid", "metadata.resourceVersion: must be specified for an update")
        try:
            after = patches.changed(before, body, asked, content_type)
        except patches.FieldConflict as conflict:
            return refusal(409, "Conflict", f"Apply failed: {conflict}")
        if after is None:
            return refusal(415, "UnsupportedMediaType", f"the fake takes no {content_type}")
        after.setdefault("metadata", {}).update({"name": asked.name, "namespace": asked.namespace})
        return self._stored(asked, before, after, 200 if before is not None else 201)

    def _stored(self, asked: Asked, before: Json | None, after: Json, status: int) -> web.Response:
        if asked.resource == kinds.EVENTS and (problem := patches.event_problem(before, after)):
            return refusal(422, "Invalid", f'Event "{after["metadata"]["name"]}" is invalid: {problem}')
        stored = self.store.put(asked.resource, after)
        return answer_json(patches.scale_of(stored) if asked.subresource == "scale" else stored, status)
