"""Requests as RBAC sees them and answers as the real API server words them, for the fake one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiohttp import web

from autoscaler.kube import resources as kinds
from autoscaler.kube.resources import Resource
from tests.fakes.kube_store import Json, Scope

VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as RBAC and a reader of the log see it."""

    verb: str
    resource: Resource
    namespace: str
    name: str
    subresource: str
    user: str
    query: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Write:
    """One write that came in: who, what, its body, and the status it was answered with."""

    asked: Asked
    body: Json
    status: int


@dataclass(frozen=True, slots=True)
class Denial:
    """What is forbidden; None: any."""

    verbs: frozenset[str]
    resource: Resource | None
    namespace: str | None
    user: str | None
    subresource: str | None

    def hits(self, asked: Asked) -> bool:
        """Whether a request falls under it."""
        return (
            (not self.verbs or asked.verb in self.verbs)
            and self.resource in (None, asked.resource)
            and self.namespace in (None, asked.namespace)
            and self.user in (None, asked.user)
            and self.subresource in (None, asked.subresource)
        )


def read_request(request: web.Request, user: str, installed: Iterable[Resource]) -> Asked | None:
    """What a request asks for; None: its path is of no kind that we or this server know."""
    parts = request.path.strip("/").split("/")
    group, parts = (parts[1], parts[2:]) if parts[0] == "apis" else ("", parts[1:])
    version, parts = parts[0] if parts else "", parts[1:]
    namespace = ""
    if len(parts) > 2 and parts[0] == "namespaces":
        namespace, parts = parts[1], parts[2:]
    plural, name, subresource = (*parts, "", "", "")[:3]
    known = [r for r in vars(kinds).values() if isinstance(r, Resource)] + list(installed)
    fits = [r for r in known if (r.group, r.version, r.plural) == (group, version, plural)]
    if not fits:
        return None
    verb = VERBS[request.method]
    if verb == "get" and not name:
        verb = "watch" if request.query.get("watch") == "true" else "list"
    return Asked(verb, fits[0], namespace, name, subresource, user, dict(request.query))


def discovery_of(path: str, installed: Iterable[Resource]) -> Json | None:
    """What the API says of its groups at `/apis/GROUP` and `/apis/GROUP/VERSION`; None for other paths and groups."""
    parts = path.strip("/").split("/")
    if parts[0] != "apis" or len(parts) not in (2, 3):
        return None
    kinds_of = [one for one in installed if one.group == parts[1]]
    versions = list(dict.fromkeys(one.version for one in sorted(kinds_of, key=lambda one: one.version, reverse=True)))
    if len(parts) == 2:
        named = [{"groupVersion": f"{parts[1]}/{version}", "version": version} for version in versions]
        return (
            {"kind": "APIGroup", "name": parts[1], "versions": named, "preferredVersion": named[0]} if named else None
        )
    if parts[2] not in versions:
        return None
    rows = [
        {"name": f"{one.plural}{below}", "namespaced": one.namespaced, "kind": "Scale" if below else one.kind}
        for one in kinds_of
        for below in ("", "/scale")
        if one.version == parts[2]
    ]
    return {"kind": "APIResourceList", "groupVersion": "/".join(parts[1:]), "resources": rows}


def scope_of(asked: Asked) -> Scope:
    """The objects a list or watch is about."""
    return Scope(asked.namespace, asked.query.get("labelSelector", ""), asked.query.get("fieldSelector", ""))


def answer_json(document: Json, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=json.dumps(document).encode(), status=status, content_type="application/json")


def status_of(code: int, reason: str, text: str, details: Json | None = None) -> Json:
    """A `Status` that says no."""
    status: Json = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
    return status | {"message": text, "metadata": {}} | ({"details": details} if details else {})


def refusal(code: int, reason: str, text: str, headers: dict[str, str] | None = None) -> web.Response:
    """A refusal as an answer."""
    answer = answer_json(status_of(code, reason, text), code)
    answer.headers.update(headers or {})
    return answer


def not_found(asked: Asked) -> web.Response:
    """404 on one object, which names it."""
    details = {"name": asked.name, "group": asked.resource.group, "kind": asked.resource.plural}
    return answer_json(status_of(404, "NotFound", f'{asked.resource} "{asked.name}" not found', details), 404)


def gone_event() -> Json:
    """The watch event of a version that is too old."""
    return {"type": "ERROR", "object": status_of(410, "Expired", "too old resource version")}


def bookmark_of(resource: Resource, version: int) -> Json:
    """A bookmark."""
    metadata = {"resourceVersion": str(version)}
    item = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return {"type": "BOOKMARK", "object": item}
