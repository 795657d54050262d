"""The flight record: what was written replays to the same decisions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core import Planner
from autoscaler.core.codec import CodecError, from_json, to_json
from autoscaler.core.records import Decision, Histogram, Observation, Sample
from autoscaler.telemetry.recorder import Recorder, RecordError, read_record, record_files
from autoscaler.telemetry.replay import replay
from tests.fakes.observations import CHAT, Fleet, run


def recorded(folder: Path, snapshot: bytes | None = None) -> list[Decision]:
    planner, fleet = Planner(), Fleet()
    recorder = Recorder(folder, 8_000_000, pytest.fail)
    recorder.begin(CHAT, snapshot, 0.0)
    decisions = []
    for i in range(50):
        at_s = fleet.start_s + 5.0 * i
        seen = fleet.observe(at_s, 3, 4.0 + i % 7)
        decisions.append(planner.observe(seen, at_s))
        recorder.publish(seen, decisions[-1], 0.0)
    recorder.close()
    return decisions


def test_a_record_replays_to_the_same_decisions(tmp_path: Path) -> None:
    decisions = recorded(tmp_path)
    compared = list(replay(read_record(tmp_path)))
    assert [c.today for c in compared] == decisions
    assert not any(c.changed for c in compared)


def test_a_file_cut_by_a_crash_is_read_up_to_its_last_whole_member(tmp_path: Path) -> None:
    recorded(tmp_path)
    (file,) = record_files(tmp_path)
    file.write_bytes(file.read_bytes()[:-20])
    assert len(list(read_record(file))) < 51


def test_a_file_that_a_crash_left_empty_is_told_and_the_rest_of_the_record_is_read(tmp_path: Path) -> None:
    recorded(tmp_path)
    (whole,) = record_files(tmp_path)
    entries = len(list(read_record(whole)))
    (tmp_path / "flight-00000000000000000001.jsonl.gz").write_bytes(b"")
    warnings: list[str] = []
    assert len(list(read_record(tmp_path, warnings.append))) == entries
    assert warnings == [
        "flight-00000000000000000001.jsonl.gz is cut off after 0 lines: what came after them in it is lost."
    ]
    whole.write_bytes(whole.read_bytes()[:-20])
    assert 0 < len(list(read_record(tmp_path, warnings.append))) < entries
    assert f"{whole.name} is cut off after" in warnings[-1]


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(b"hello")
    with pytest.raises(RecordError):
        list(read_record(path))
    with pytest.raises(RecordError, match="no flight record"):
        list(read_record(tmp_path / "nothing"))


floats = st.none() | st.floats()


@settings(max_examples=50, deadline=None)
@given(floats, floats, st.booleans())
def test_any_sample_survives_the_way_to_json_and_back(waiting: float | None, kv: float | None, asleep: bool) -> None:
    sample = Sample(1.0, "vllm", waiting=waiting, kv_usage=kv, asleep=asleep, ttft=Histogram((1.0,), (2.0,), 3.0))
    assert repr(from_json(Sample, to_json(sample))) == repr(sample)


def test_a_value_that_does_not_fit_names_its_path() -> None:
    good = to_json(Fleet().observe(5.0, 1, 1.0))
    good["roles"][0]["replicas"][0]["phase"] = "flying"
    with pytest.raises(CodecError, match=r"record.roles\[0\].replicas\[0\].phase"):
        from_json(Observation, good)


def test_the_planner_in_a_record_may_begin_warm(tmp_path: Path) -> None:
    planner, fleet = Planner(), Fleet()
    run(planner, fleet, [9.0] * 50, 3)
    recorded(tmp_path, planner.snapshot())
    assert sum(entry.snapshot is not None for entry in read_record(tmp_path)) == 1
