"""The HTTP server: /metrics, /healthz, /readyz, /v1/services, POST /v1/wake."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from autoscaler.core.codec import to_json
from autoscaler.core.errors import ClusterError, ConfigError, Problem
from autoscaler.core.records import Decision, ServiceId, Wake
from autoscaler.ports import Clock
from autoscaler.web.tokens import TokenFile
from autoscaler.web.wakes import MOST_REPLICAS, MOST_TTL_S, Wakes


@dataclass(frozen=True, slots=True)
class Views:
    """What the pages show, from whoever knows it."""

    metrics: Callable[[], bytes]
    unready: Callable[[], Sequence[str]]  # why we are not ready; empty: ready
    services: Callable[[], Sequence[ServiceId]]
    decision: Callable[[ServiceId], Decision | None]


class WebServer:
    """Our HTTP face on one address."""

    def __init__(self, host: str, port: int, views: Views, wakes: Wakes, clock: Clock, token_file: Path | None) -> None:
        self._host = host
        self._port = port
        self._views = views
        self._wakes = wakes
        self._clock = clock
        self._token = TokenFile(token_file) if token_file is not None else None
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; gives the port bound. Raises ConfigError if the address cannot be used."""
        application = web.Application(client_max_size=64 * 1024)
        application.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/v1/services", self._services),
                web.get("/v1/services/{namespace}/{service}", self._service),
                web.post("/v1/wake/{namespace}/{service}", self._wake),
            ]
        )
        runner = web.AppRunner(application, access_log=None, handle_signals=False)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            problem = Problem("address", f"{self._host}:{self._port}", f"a free address ({error.strerror})")
            raise ConfigError("--http", (problem,)) from None
        self._runner = runner
        return int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening and let answers in flight finish."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._views.metrics(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        unready = list(self._views.unready())
        return web.json_response({"ready": not unready, "waiting_for": unready}, status=503 if unready else 200)

    async def _services(self, _: web.Request) -> web.Response:
        decisions = {str(service): self._views.decision(service) for service in self._views.services()}
        return web.json_response({name: to_json(decision) for name, decision in decisions.items()})

    async def _service(self, request: web.Request) -> web.Response:
        service = self._named(request)
        return web.json_response(to_json(self._views.decision(service)))

    def _named(self, request: web.Request) -> ServiceId:
        service = ServiceId(request.match_info["namespace"], request.match_info["service"])
        if service not in self._views.services():
            raise _error(web.HTTPNotFound, f"no service {service} in the targets file")
        return service

    async def _wake(self, request: web.Request) -> web.Response:
        self._authorise(request)
        service = self._named(request)
        replicas, ttl_s = _wish(await _json(request))
        try:
            await self._wakes.admit(service, Wake(replicas, self._clock.now() + ttl_s))
        except ClusterError as error:
            raise _error(web.HTTPServiceUnavailable, str(error)) from None
        return web.json_response({"service": str(service), "replicas": replicas, "ttl_s": ttl_s}, status=202)

    def _authorise(self, request: web.Request) -> None:
        if self._token is None:
            raise _error(web.HTTPForbidden, "the wake API is off: start serve with --wake-token-file")
        try:
            admitted = self._token.admits(request.headers.get("Authorization", ""))
        except ClusterError as error:
            raise _error(web.HTTPServiceUnavailable, str(error)) from None
        if not admitted:
            raise _error(web.HTTPUnauthorized, "expected the header `Authorization: Bearer TOKEN`")


def _error(kind: type[web.HTTPError], text: str) -> web.HTTPError:
    return kind(text=json.dumps({"error": text}) + "\n", content_type="application/json")


async def _json(request: web.Request) -> Any:
    try:
        return await request.json() if request.can_read_body else {}
    except ValueError as error:
        raise _error(web.HTTPBadRequest, f"the body is not JSON: {error}") from None


def _wish(body: Any) -> tuple[int, float]:
    if not isinstance(body, dict):
        raise _error(web.HTTPBadRequest, 'expected {"replicas": n, "ttl_s": seconds}')
    unknown = sorted(body.keys() - {"replicas", "ttl_s"})
    replicas, ttl_s = body.get("replicas", 1), body.get("ttl_s", 300)
    if unknown:
        raise _error(web.HTTPBadRequest, f"unknown keys {unknown}, expected replicas and ttl_s")
    if type(replicas) is not int or not 1 <= replicas <= MOST_REPLICAS:
        raise _error(web.HTTPBadRequest, f"replicas: found {replicas!r}, expected 1 to {MOST_REPLICAS}")
    number = isinstance(ttl_s, (int, float)) and not isinstance(ttl_s, bool)
    if not number or not math.isfinite(ttl_s) or not 0 < ttl_s <= MOST_TTL_S:
        raise _error(web.HTTPBadRequest, f"ttl_s: found {ttl_s!r}, expected seconds up to {MOST_TTL_S:.0f}")
    return replicas, float(ttl_s)
