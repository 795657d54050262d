"""The API server on raw JSON: get, list, watch, create, replace, patch, delete; errors that say who is at fault."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from autoscaler.kube.connection import Connection, Place
from autoscaler.kube.decoding import Breather, Json, read_lines, read_list
from autoscaler.kube.errors import MissingKind, NotFound, Unauthorized, Unreachable, from_answer
from autoscaler.kube.resources import ApiGroup, Call, Resource

USER_AGENT = "llm-autoscaler"
# A healthy API server answers single objects in under 1 s: the Kubernetes scalability SLO is a p99 of 1 s for one
# object, 30 s for lists. https://github.com/kubernetes/community/blob/master/sig-scalability/slos/api_call_latency.md
TIMEOUT_S = 10.0
LIST_TIMEOUT_S = 30.0
# Beyond the end the server was asked to give a watch, before its connection counts as dead.
WATCH_SLACK_S = 10.0
READ_BUFFER_BYTES = 256 * 1024

JSON_BODY = "application/json"
MERGE_PATCH = "application/merge-patch+json"
# A JSON document is YAML too, and this type is what every version since 1.22 knows.
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a kind: one namespace or all, and by labels or fields."""

    resource: Resource
    namespace: str | None = None
    labels: str = ""
    fields: str = ""

    def query(self) -> dict[str, str]:
        """The selectors, as the API spells them."""
        asked = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: value for name, value in asked.items() if value}

    def __str__(self) -> str:
        return f"{self.resource} in {self.namespace or 'all namespaces'}"


@dataclass(frozen=True, slots=True)
class Page:
    """The end of one page of a list: the version of the whole list, and where the next page begins ("": nowhere)."""

    resource_version: str
    next_page: str


class KubeClient:
    """Calls of one cluster; use as an async context manager.

    Every method raises a subclass of ApiError (see `autoscaler.kube.errors`), or ClusterError when our own credentials
    cannot be read.
    """

    def __init__(self, connection: Connection, user_agent: str = USER_AGENT) -> None:
        self.connection = connection
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self.answered_date_s: float | None = None  # Unix time, in whole seconds, as the newest answer's server had it

    async def __aenter__(self) -> KubeClient:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=10),  # one connection per watch, and those are many
            # Compressed answers are inflated on the loop; inside a cluster bytes are cheaper than that.
            headers={"User-Agent": self._user_agent, "Accept": JSON_BODY, "Accept-Encoding": "identity"},
            read_bufsize=READ_BUFFER_BYTES,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(
        self, resource: Resource, namespace: str | None, name: str, subresource: str | None = None, **query: str
    ) -> Json:
        """One object, or its subresource."""
        return await self._json("GET", Call("get", resource, namespace, name, subresource), query=query)

    async def served(self, group: str, kind: str) -> Resource | None:
        """A kind in the version that this server prefers of those that have it; None where none has."""
        try:
            about = await self._json("GET", Call("get", ApiGroup(group, "", "apis", "APIGroup")))
        except (MissingKind, NotFound):
            return None
        preferred = (about.get("preferredVersion") or {}).get("version")
        versions = [str(one["version"]) for one in about.get("versions") or ()]
        for version in dict.fromkeys([preferred, *versions] if preferred else versions):
            has = await self._json("GET", Call("get", ApiGroup(group, version, "apis", "APIResourceList")))
            for one in has.get("resources") or ():
                if one.get("kind") == kind and "/" not in one.get("name", "/"):
                    return Resource(group, version, one["name"], kind, bool(one.get("namespaced")))
        return None

    async def create(self, resource: Resource, namespace: str | None, document: Json) -> Json:
        """Make an object; Conflict if it exists."""
        return await self._json("POST", Call("create", resource, namespace), document)

    async def replace(
        self, resource: Resource, namespace: str | None, name: str, document: Json, subresource: str | None = None
    ) -> Json:
        """Write an object whole; Conflict if its `resourceVersion` is not the newest."""
        return await self._json("PUT", Call("update", resource, namespace, name, subresource), document)

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        document: Json,
        *,
        content_type: str = MERGE_PATCH,
        subresource: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Json:
        """Change parts of an object; Conflict if the document names a `resourceVersion` that is not the newest."""
        call = Call("patch", resource, namespace, name, subresource)
        return await self._json("PATCH", call, document, content_type=content_type, query=query)

    async def delete(self, resource: Resource, namespace: str | None, name: str) -> Json:
        """Delete an object."""
        return await self._json("DELETE", Call("delete", resource, namespace, name))

    async def list_page(
        self, selection: Selection, take: Callable[[Json], None], *, limit: int = 0, page: str = ""
    ) -> Page:
        """Hand every object of one page to `take`; `page` is where the page before it said this one begins.

        No resource version is asked for: with one, API servers ignore `limit`. Gone: begin the list again.
        """
        query = selection.query()
        if limit:
            query["limit"] = str(limit)
        if page:
            query["continue"] = page
        call = Call("list", selection.resource, selection.namespace)
        body = await self._body("GET", call, query=query, timeout_s=LIST_TIMEOUT_S)
        try:
            fields = await read_list(body, take, Breather())
        except ValueError as error:
            raise Unreachable(f"{call}: the answer is not a list: {error}") from None
        metadata = fields.get("metadata") or {}
        return Page(str(metadata.get("resourceVersion", "")), str(metadata.get("continue") or ""))

    @asynccontextmanager
    async def watch(
        self, selection: Selection, resource_version: str, timeout_s: float
    ) -> AsyncIterator[AsyncIterator[Json]]:
        """What happens from a version on: `async with client.watch(...) as events: async for event in events`.

        Events are as sent: `type` (ADDED, MODIFIED, DELETED, BOOKMARK, ERROR) and `object`. The server ends the stream
        after `timeout_s`; a connection that is silent for 10 s longer than that is given up (Unreachable).
        """
        call = Call("watch", selection.resource, selection.namespace)
        query = selection.query() | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(timeout_s))),
        }
        silence_s = timeout_s + WATCH_SLACK_S
        bounds = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=silence_s)
        async with _blame(call, silence_s):
            response = await self._answer("GET", call, query, None, JSON_BODY, bounds, TIMEOUT_S)
        try:
            async with aclosing(self._events(call, response, silence_s)) as events:
                yield events
        finally:
            response.close()  # not released: a watch has no end to wait for

    async def _events(self, call: Call, response: aiohttp.ClientResponse, silence_s: float) -> AsyncGenerator[Json]:
        async with _blame(call, silence_s), aclosing(read_lines(response.content.iter_any(), Breather())) as events:
            async for event in events:
                yield event

    async def _json(
        self,
        method: str,
        call: Call,
        document: Json | None = None,
        *,
        content_type: str = JSON_BODY,
        query: Mapping[str, str] | None = None,
    ) -> Json:
        body = await self._body(method, call, document, content_type=content_type, query=query)
        try:
            answer: Any = json.loads(body)
        except ValueError as error:
            raise Unreachable(f"{call}: the answer is not JSON: {error}") from None
        if not isinstance(answer, dict):
            raise Unreachable(f"{call}: the answer is not a JSON object: {str(answer)[:80]}")
        return answer

    async def _body(
        self,
        method: str,
        call: Call,
        document: Json | None = None,
        *,
        content_type: str = JSON_BODY,
        query: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> bytes:
        bounds = aiohttp.ClientTimeout(total=timeout_s)
        async with _blame(call, timeout_s):
            response = await self._answer(method, call, query or {}, document, content_type, bounds, timeout_s)
            async with response:
                return await response.read()

    async def _answer(
        self,
        method: str,
        call: Call,
        query: Mapping[str, str],
        document: Json | None,
        content_type: str,
        bounds: aiohttp.ClientTimeout,
        timeout_s: float,
    ) -> aiohttp.ClientResponse:
        """The answer's head, when it is a success. A 401 is tried once more with credentials read anew."""
        data = None if document is None else json.dumps(document, separators=(",", ":")).encode()
        for last in (False, True):
            async with asyncio.timeout(timeout_s):
                await self.connection.place()
                sent = self.connection.generation
                response = await self._send(method, call, query, data, content_type, bounds)
            self.answered_date_s = _date_s(response.headers.get("Date")) or self.answered_date_s
            if response.status < 300:
                return response
            async with response, asyncio.timeout(timeout_s):
                said = await response.read()
            error = from_answer(call, response.status, said, response.headers.get("Retry-After"))
            if last or not isinstance(error, Unauthorized):
                raise error
            await self.connection.reload(sent)
        raise AssertionError("unreachable")

    async def _send(
        self,
        method: str,
        call: Call,
        query: Mapping[str, str],
        data: bytes | None,
        content_type: str,
        bounds: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        assert self._session is not None, "use `async with`"  # noqa: S101
        place: Place = await self.connection.place()
        headers = {"Content-Type": content_type} if data is not None else {}
        if (authorization := await self.connection.authorization()) is not None:
            headers["Authorization"] = authorization
        return await self._session.request(
            method,
            place.host + call.resource.path(call.namespace, call.name, call.subresource),
            params=dict(query),
            data=data,
            headers=headers,
            ssl=place.tls if place.tls is not None else True,
            server_hostname=place.server_name,
            proxy=place.proxy,
            timeout=bounds,
            allow_redirects=False,
        )


def _date_s(written: str | None) -> float | None:
    try:
        return parsedate_to_datetime(written).timestamp() if written else None
    except ValueError:
        return None


@asynccontextmanager
async def _blame(call: Call, timeout_s: float) -> AsyncIterator[None]:
    """Turn what the network does to a call into Unreachable."""
    try:
        yield
    except TimeoutError:
        raise Unreachable(f"{call}: no answer from the API server within {timeout_s:.0f} s") from None
    except (aiohttp.ClientError, OSError) as error:
        # The cause alone: aiohttp's own text has the repr of a TLS context in it.
        cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
        raise Unreachable(f"{call}: the API server cannot be reached: {str(cause) or type(cause).__name__}") from None
    except ValueError as error:
        raise Unreachable(f"{call}: the API server's answer is broken: {error}") from None
