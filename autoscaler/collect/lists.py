"""Lists of replicas: given, or in a file or behind a URL that may change.

Forms read: one URL a line (`#` comments), a JSON list of URLs, or Prometheus' `file_sd`/`http_sd` JSON with labels
`__scheme__`, `__metrics_path__` and `__meta_created_at_s`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from autoscaler.collect.fetching import Fetcher
from autoscaler.config.records import ListKind, TargetSettings
from autoscaler.core.errors import AutoscalerError, TargetError
from autoscaler.modelservers import profile
from autoscaler.ports import Clock, ListedReplica, Listing

HTTP_TIMEOUT_S = 3.0


class ReplicaListing:
    """The replicas of one target (a `ReplicaSource`); `run` keeps a list that may change fresh."""

    def __init__(self, settings: TargetSettings, fetcher: Fetcher, clock: Clock) -> None:
        self._settings = settings
        self._fetcher = fetcher
        self._clock = clock
        self._stamp: tuple[int, int] | None = None
        self._listing = Listing(None, None)
        if settings.replicas.kind is ListKind.STATIC:
            self._listing = Listing(read_list("\n".join(settings.replicas.urls), settings), clock.now())
        elif settings.replicas.kind is ListKind.FILE:
            self._take_file()

    def listing(self) -> Listing:
        """The newest listing; the last good one stays after a failure, with what failed."""
        return self._listing

    async def run(self) -> None:
        """Read the list again and again; returns at once for a fixed one."""
        source = self._settings.replicas
        if source.kind is ListKind.STATIC:
            return
        while True:
            if source.kind is ListKind.FILE:
                self._take_file()
            else:
                await self._take_http()
            await self._clock.sleep(source.refresh_s)

    def _take_file(self) -> None:
        path = Path(self._settings.replicas.path)
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._take(path.read_text())
                self._stamp = stamp
            elif self._listing.failure is None:
                self._listing = Listing(self._listing.replicas, self._clock.now())
        except OSError as error:
            self._fail(f"replica list {path} cannot be read: {error.strerror}")
        except TargetError as error:
            self._fail(f"replica list {path}: {error}")

    async def _take_http(self) -> None:
        source = self._settings.replicas
        try:
            self._take((await self._fetcher.get(source.url, source.access, self._clock.wall_s(HTTP_TIMEOUT_S))).text)
        except AutoscalerError as error:
            self._fail(f"replica list: {error}")

    def _take(self, text: str) -> None:
        self._listing = Listing(read_list(text, self._settings), self._clock.now())

    def _fail(self, text: str) -> None:
        self._listing = Listing(self._listing.replicas, self._listing.at_s, text)


def read_list(text: str, settings: TargetSettings) -> tuple[ListedReplica, ...]:
    """The replicas a list names, each URL once. Raises TargetError (neither lines nor a list of a known shape)."""
    stripped = text.strip()
    rows: list[tuple[str, dict[str, str]]]
    if stripped.startswith(("[", "{")) and not stripped.startswith("[::"):
        rows = _json_rows(stripped)
    else:
        rows = [(line, {}) for raw in text.splitlines() if (line := raw.split("#", 1)[0].strip())]
    listed: dict[str, ListedReplica] = {}
    for where, labels in rows:
        url = _metrics_url(where, labels, settings)
        created = labels.get("__meta_created_at_s")
        listed.setdefault(url, ListedReplica(url, url, float(created) if created else None))
    return tuple(listed.values())


def _json_rows(text: str) -> list[tuple[str, dict[str, str]]]:
    try:
        document: Any = json.loads(text)
    except ValueError as error:
        raise TargetError(f"found broken JSON ({error}), expected a list; half written?") from None
    rows: list[tuple[str, dict[str, str]]] = []
    for entry in document if isinstance(document, list) else [document]:
        if isinstance(entry, str):
            rows.append((entry, {}))
        elif isinstance(entry, dict) and isinstance(entry.get("targets"), list):
            labels = {str(k): str(v) for k, v in (entry.get("labels") or {}).items()}
            rows += [(str(target), labels) for target in entry["targets"]]
        else:
            raise TargetError(f"found {str(entry)[:60]!r}, expected a URL or {{'targets': [...], 'labels': {{...}}}}")
    return rows


def _metrics_url(where: str, labels: dict[str, str], settings: TargetSettings) -> str:
    """The metrics page of one listed place: a path in the list wins over settings, those over the server's default."""
    if "://" not in where:
        where = f"{labels.get('__scheme__', 'http')}://{where}"
    parts = urlsplit(where)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TargetError(f"found {where!r}, expected http(s)://host:port")
    path = parts.path if parts.path not in ("", "/") else labels.get("__metrics_path__", "")
    if not path:
        default = "/metrics" if settings.server == "auto" else profile(settings.server).path
        path = settings.metrics_path or default
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = settings.metrics_port or parts.port
    netloc = f"{host}:{port}" if port else host
    return urlunsplit(SplitResult(parts.scheme, netloc, path, parts.query, ""))
