"""The flight recorder: every observation and decision as JSON lines, gzip, rotated, written off the loop.

Each decision is a gzip member of its own batch, so a file cut by kill -9 is readable up to its last whole member.
"""

from __future__ import annotations

import gzip
import json
import queue
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoscaler import __version__
from autoscaler.core.codec import from_json, to_json
from autoscaler.core.errors import AutoscalerError, ClusterError
from autoscaler.core.records import Decision, Observation, ServiceId

FORMAT = "llm-autoscaler/flight-record"
VERSION = 1
FILES = 8  # the record is kept in this many files, the oldest dropped
FLUSH_S = 1.0


class RecordError(AutoscalerError):
    """A flight record cannot be read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: a decision with its observation, or the planner's state where a recording began."""

    service: ServiceId
    at_s: float
    observation: Observation | None = None
    decision: Decision | None = None
    snapshot: bytes | None = None


class Recorder:
    """Writes a flight record into a folder (a `DecisionSink`); turns itself off when the folder fails."""

    def __init__(self, folder: Path, limit_bytes: int, warn: Callable[[str], None]) -> None:
        self._folder = folder
        self._file_bytes = max(1, limit_bytes // FILES)
        self._warn = warn
        # About a minute of a thousand services; beyond that the disk is the trouble, and lines are dropped.
        self._queue: queue.Queue[tuple[Any, ...] | None] = queue.Queue(maxsize=20_000)
        self._off = False
        self._thread = threading.Thread(target=self._write, name="flight-recorder", daemon=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ClusterError(f"flight record folder {folder} cannot be written: {error}") from None
        self._thread.start()

    def begin(self, service: ServiceId, snapshot: bytes | None, at_s: float) -> None:
        """Note the state a planner starts with, so that a replay starts with the same."""
        self._put(("begin", service, at_s, snapshot))

    def publish(self, observation: Observation, decision: Decision, took_s: float) -> None:  # noqa: ARG002
        """Take one decision; never blocks."""
        self._put(("tick", observation, decision))

    def _put(self, item: tuple[Any, ...]) -> None:
        if self._off:
            return
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._off = True
            self._warn("flight record: the disk is too slow, recording is turned off")

    def close(self) -> None:
        """Write what is queued and end."""
        self._queue.put(None)
        self._thread.join(timeout=10)

    def _write(self) -> None:
        path: Path | None = None
        try:
            while True:
                batch, last = self._batch()
                if batch:
                    if path is None or path.stat().st_size > self._file_bytes:
                        path = self._rotate()
                    with path.open("ab") as file:
                        file.write(gzip.compress("".join(map(_line, batch)).encode(), compresslevel=5))
                if last:
                    return
        except OSError as error:
            self._off = True
            self._warn(f"flight record: {error}; recording is turned off")

    def _batch(self) -> tuple[list[tuple[Any, ...]], bool]:
        """What came within the flush time; True if it is the last."""
        items: list[tuple[Any, ...]] = []
        until_s = time.monotonic() + FLUSH_S
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                item = self._queue.get(timeout=left_s)
            except queue.Empty:
                break
            if item is None:
                return items, True
            items.append(item)
        return items, False

    def _rotate(self) -> Path:
        for old in record_files(self._folder)[: -(FILES - 1)]:
            old.unlink()
        path = self._folder / f"flight-{time.time_ns():020d}.jsonl.gz"
        header = {"format": FORMAT, "version": VERSION, "software": __version__}
        path.write_bytes(gzip.compress((json.dumps(header) + "\n").encode()))
        return path


def _line(item: tuple[Any, ...]) -> str:
    if item[0] == "begin":
        _, service, at_s, snapshot = item
        row = {"service": str(service), "t": at_s, "snapshot": snapshot.decode() if snapshot else None}
    else:
        _, observation, decision = item
        row = {
            "service": str(decision.service),
            "t": decision.at_s,
            "observation": to_json(observation),
            "decision": to_json(decision),
        }
    return json.dumps(row, separators=(",", ":"), allow_nan=False) + "\n"


def record_files(folder: Path) -> list[Path]:
    """The files of a record, oldest first."""
    return sorted(folder.glob("flight-*.jsonl.gz"))


def _unheard(_: str) -> None:
    pass


def read_record(path: Path, warn: Callable[[str], None] = _unheard) -> Iterator[Entry]:
    """Every entry of a record: one file, or a folder of rotated ones; files that a crash cut short are told to `warn`.

    Raises RecordError.
    """
    files = record_files(path) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise RecordError(f"{path}: found no flight record, expected a flight-*.jsonl.gz file or a folder of them")
    for file in files:
        yield from _read_file(file, warn)


def _read_file(path: Path, warn: Callable[[str], None]) -> Iterator[Entry]:
    lines = _lines(path, warn)
    first = next(lines, None)
    if first is None:
        return  # cut before its header was whole
    try:
        header = json.loads(first)
    except ValueError:
        header = {}
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        found = f"{header.get('format')} version {header.get('version')}"
        raise RecordError(f"{path}: found {found}, expected {FORMAT} version {VERSION}")
    for number, line in enumerate(lines, start=2):
        try:
            yield _entry(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{path}: line {number} is not an entry: {error}") from None


def _entry(row: dict[str, Any]) -> Entry:
    namespace, name = row["service"].split("/", 1)
    service = ServiceId(namespace, name)
    if "observation" not in row:
        snapshot = row.get("snapshot")
        return Entry(service, row["t"], snapshot=snapshot.encode() if snapshot else None)
    observation = from_json(Observation, row["observation"], "observation")
    return Entry(service, row["t"], observation, from_json(Decision, row["decision"], "decision"))


def _lines(path: Path, warn: Callable[[str], None]) -> Iterator[str]:
    """Whole lines of whole gzip members; a tail that a crash cut off is left out, and told."""
    count, is_cut = 0, False
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                is_cut = not line.endswith("\n")
                if not is_cut:
                    count += 1
                    yield line
    except (EOFError, zlib.error):
        is_cut = True
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read as gzip text: {error}") from None
    if is_cut or not count:
        warn(f"{path.name} is cut off after {count} lines: what came after them in it is lost.")
