"""A plain JSON client of the API server for tests: verbs, server-side apply by discovery, list and watch."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

Object = dict[str, Any]
OWNER = "e2e"


@dataclass(frozen=True, slots=True)
class Access:
    """Where an API server is, and as whom to speak to it."""

    url: str
    ca_file: Path
    token: str


class ApiError(Exception):
    """The API server refused."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:600]}")
        self.status = status


class Api:
    """One user's view of the API server; use as an async context manager."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._resources: dict[str, dict[str, Object]] = {}
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Api:
        trust = ssl.create_default_context(cafile=str(self.access.ca_file))
        self._session = aiohttp.ClientSession(
            self.access.url,
            connector=aiohttp.TCPConnector(ssl=trust, limit=0),
            headers={"Authorization": f"Bearer {self.access.token}"},
            read_bufsize=2**22,  # a watch event is one line, and a CustomResourceDefinition is a long one
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()
        await asyncio.sleep(
            0.25
        )  # aiohttp does not wait for the end of its TLS connections (its docs: "graceful shutdown")

    async def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """One request, its JSON answer. Raises ApiError."""
        data = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": kind}
        async with self._session.request(method, path, data=data, headers=headers) as answer:
            text = await answer.text()
            if answer.status >= 300:
                raise ApiError(answer.status, text)
        return json.loads(text) if text.startswith(("{", "[")) else text

    async def get(self, path: str) -> Any:
        """Read."""
        return await self.call("GET", path)

    async def merge(self, path: str, patch: Object) -> Any:
        """Merge-patch an object or a subresource."""
        return await self.call("PATCH", path, patch, "application/merge-patch+json")

    async def delete(self, path: str, **options: Any) -> None:
        """Delete; one that is gone already is fine."""
        try:
            await self.call("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", **options})
        except ApiError as error:
            if error.status != 404:
                raise

    async def apply(self, *objects: Object) -> list[Object]:
        """Server-side apply, in order; gives the stored objects."""
        query = f"?fieldManager={OWNER}&force=true"
        return [
            await self.call("PATCH", await self.path(one) + query, one, "application/apply-patch+yaml")
            for one in objects
        ]

    async def path(self, one: Object) -> str:
        """The path of an object, by what the server says of its kind."""
        version, kind, metadata = one["apiVersion"], one["kind"], one["metadata"]
        known = self._resources.get(version, {})
        if kind not in known:
            listed = (await self.get(f"{_root(version)}"))["resources"]
            known = {entry["kind"]: entry for entry in listed if "/" not in entry["name"]}
            self._resources[version] = known
        resource = known[kind]
        scope = f"/namespaces/{metadata['namespace']}" if resource["namespaced"] else ""
        return f"{_root(version)}{scope}/{resource['name']}/{metadata['name']}"

    async def follow(self, path: str) -> AsyncIterator[tuple[str, Object]]:
        """Every object of a collection, then every change, for ever: (ADDED | MODIFIED | DELETED, object)."""
        seen: dict[str, Object] = {}
        while True:
            try:
                listed = await self.get(path)
                items = {item["metadata"]["uid"]: item for item in listed["items"]}
                for uid in seen.keys() - items.keys():
                    yield "DELETED", seen.pop(uid)
                for uid, item in items.items():
                    seen[uid] = item
                    yield "ADDED", item
                async for event, item in self._watch(path, listed["metadata"]["resourceVersion"]):
                    if event == "DELETED":
                        seen.pop(item["metadata"]["uid"], None)
                    else:
                        seen[item["metadata"]["uid"]] = item
                    yield event, item
            except (aiohttp.ClientError, ApiError, TimeoutError):
                await asyncio.sleep(0.2)

    async def _watch(self, path: str, version: str) -> AsyncIterator[tuple[str, Object]]:
        query = f"{'&' if '?' in path else '?'}watch=1&resourceVersion={version}"
        timeout = aiohttp.ClientTimeout(total=None, sock_read=None)
        async with self._session.get(path + query, timeout=timeout) as answer:
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["type"], event["object"]


def _root(version: str) -> str:
    return f"/api/{version}" if "/" not in version else f"/apis/{version}"
