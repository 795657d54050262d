"""Snapshots in SQLite survive restarts; damage is set aside."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from autoscaler.core.errors import ClusterError
from autoscaler.core.records import ServiceId, Wake
from autoscaler.history.sqlite import SqliteStore

CHAT = ServiceId("default", "chat")


async def test_a_snapshot_is_there_after_a_restart_and_the_newest_wins(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        store = SqliteStore(tmp_path / "s" / "state.sqlite", pytest.fail)
        store.open()
        await store.save(CHAT, content, 5.0)
    again = SqliteStore(tmp_path / "s" / "state.sqlite", pytest.fail)
    again.open()
    saved = await again.load(CHAT)
    assert saved is not None
    assert saved.snapshot == b"two"
    assert await again.load(ServiceId("default", "other")) is None


async def test_a_damaged_file_is_set_aside_and_a_fresh_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"this is not a database, and long enough to be looked at" * 100)
    warnings: list[str] = []
    store = SqliteStore(path, warnings.append)
    store.open()
    assert await store.load(CHAT) is None
    assert "set aside" in warnings[0]
    assert path.with_suffix(".damaged").exists()


def test_a_folder_that_cannot_be_written_is_the_clusters_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ClusterError, match="cannot be written"):
        SqliteStore(tmp_path / "file" / "state.sqlite", pytest.fail).open()


async def test_wakes_are_there_after_a_restart_and_expired_ones_are_dropped(tmp_path: Path) -> None:
    store, other = SqliteStore(tmp_path / "state.sqlite", pytest.fail), ServiceId("default", "other")
    store.open()
    await store.save_wakes(CHAT, (Wake(3, 50.0),))
    await store.save_wakes(CHAT, (Wake(7, 100.0), Wake(2, 400.0)))
    await store.save_wakes(other, (Wake(1, 90.0),))
    again = SqliteStore(tmp_path / "state.sqlite", pytest.fail)
    again.open()
    assert await again.load_wakes(99.0) == {CHAT: (Wake(7, 100.0), Wake(2, 400.0))}
    assert await again.load_wakes(0.0) == {CHAT: (Wake(7, 100.0), Wake(2, 400.0))}
    assert await again.load_wakes(400.0) == {}


async def test_a_state_file_of_a_build_before_wakes_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE snapshots (service TEXT PRIMARY KEY, at_s REAL, snapshot BLOB) WITHOUT ROWID")
        connection.execute("INSERT INTO snapshots VALUES ('default/chat', 5.0, x'6f6c64')")
        connection.execute("PRAGMA user_version = 1")
    store = SqliteStore(path, pytest.fail)
    store.open()
    assert await store.load_wakes(0.0) == {}
    saved = await store.load(CHAT)
    assert saved is not None
    assert saved.snapshot == b"old"


async def test_a_disk_that_takes_no_wake_is_a_warning(tmp_path: Path) -> None:
    warnings: list[str] = []
    store = SqliteStore(tmp_path / "gone" / "state.sqlite", warnings.append)
    await store.save_wakes(CHAT, (Wake(3, 50.0),))
    assert "cannot be used" in warnings[0]
