"""Planner snapshots in SQLite, one row per service, and accepted wakes, written off the loop."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import ParamSpec, TypeVar

from autoscaler.core.errors import ClusterError
from autoscaler.core.records import ServiceId, Wake
from autoscaler.ports import Saved

P = ParamSpec("P")
R = TypeVar("R")
SCHEMA_VERSION = 1
# Tables that are only added leave the version as it is: a build rolled back reads what it knows and keeps its state.
_CREATE = (
    "CREATE TABLE IF NOT EXISTS snapshots (service TEXT PRIMARY KEY, at_s REAL NOT NULL, snapshot BLOB NOT NULL)"
    " WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS wakes"
    " (namespace TEXT NOT NULL, name TEXT NOT NULL, replicas INTEGER NOT NULL, expires_at_s REAL NOT NULL)",
    "CREATE INDEX IF NOT EXISTS wakes_of ON wakes (namespace, name)",
)


class SqliteStore:
    """Keeps snapshots in one file (a `StateStore`); a damaged file is renamed and a fresh one begun."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn
        self._lock = asyncio.Lock()
        self._turn = threading.Lock()
        # Kept open: closing the last connection writes the whole journal back, 23 ms a save on a busy machine, and a
        # thousand services save 33 times a second. Threads take turns, by the lock.
        self._open: sqlite3.Connection | None = None

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def open(self) -> None:
        """Create or check the file. Raises ClusterError if the folder cannot be written."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._prepare()
            except sqlite3.DatabaseError as error:
                aside = self._path.with_suffix(".damaged")
                self._path.replace(aside)
                self._warn(
                    f"state file {self._path} is damaged ({error}): set aside as {aside.name}, a fresh one begun"
                )
                self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise ClusterError(f"state folder {self._path.parent} cannot be written: {error}") from None

    def _prepare(self) -> None:
        with closing(self._connect()) as connection, connection:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found > SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"schema version {found}, expected at most {SCHEMA_VERSION}")
            for statement in _CREATE:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _kept(self) -> sqlite3.Connection:
        if self._open is None:
            self._open = self._connect()
        return self._open

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=5, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    async def load(self, service: ServiceId) -> Saved | None:
        """The newest snapshot of the service, None if there is none. Raises ClusterError."""
        return await self._run(self._load, service)

    async def save(self, service: ServiceId, snapshot: bytes, at_s: float) -> None:
        """Keep a snapshot; storage that fails is a warning, since scaling goes on without it."""
        try:
            await self._run(self._save, service, snapshot, at_s)
        except ClusterError as error:
            self._warn(str(error))

    async def load_wakes(self, now: float) -> Mapping[ServiceId, tuple[Wake, ...]]:
        """Wakes of every service that have not expired; drops the others. Raises ClusterError."""
        return await self._run(self._load_wakes, now)

    async def save_wakes(self, service: ServiceId, wakes: tuple[Wake, ...]) -> None:
        """Keep the wakes of a service; storage that fails is a warning: a wake counts as long as this process lives."""
        try:
            await self._run(self._save_wakes, service, wakes)
        except ClusterError as error:
            self._warn(str(error))

    async def _run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        def alone() -> R:
            # A caller that was cancelled has let go of the loop's lock, and its thread is still at work.
            with self._turn:
                return call(*args, **kwargs)

        async with self._lock:
            try:
                return await asyncio.to_thread(alone)
            except (OSError, sqlite3.Error) as error:
                self.close()
                raise ClusterError(f"state file {self._path} cannot be used: {error}") from None

    def _load(self, service: ServiceId) -> Saved | None:
        sql = "SELECT at_s, snapshot FROM snapshots WHERE service = ?"
        row = self._kept().execute(sql, (str(service),)).fetchone()
        return Saved(float(row[0]), bytes(row[1])) if row else None

    def _save(self, service: ServiceId, snapshot: bytes, at_s: float) -> None:
        with self._kept() as connection:
            connection.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)", (str(service), at_s, snapshot))

    def _load_wakes(self, now: float) -> Mapping[ServiceId, tuple[Wake, ...]]:
        found: dict[ServiceId, tuple[Wake, ...]] = {}
        with self._kept() as connection:
            connection.execute("DELETE FROM wakes WHERE expires_at_s <= ?", (now,))
            for namespace, name, replicas, expires_at_s in connection.execute("SELECT * FROM wakes ORDER BY rowid"):
                service = ServiceId(namespace, name)
                found[service] = (*found.get(service, ()), Wake(int(replicas), float(expires_at_s)))
        return found

    def _save_wakes(self, service: ServiceId, wakes: tuple[Wake, ...]) -> None:
        key = (service.namespace, service.name)
        with self._kept() as connection:
            connection.execute("DELETE FROM wakes WHERE namespace = ? AND name = ?", key)
            rows = [(*key, wake.replicas, wake.expires_at_s) for wake in wakes]
            connection.executemany("INSERT INTO wakes VALUES (?, ?, ?, ?)", rows)
