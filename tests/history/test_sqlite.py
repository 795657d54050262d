"""Snapshots in SQLite survive restarts; damage is set aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscaler.core.errors import ClusterError
from autoscaler.core.records import ServiceId
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
