"""Flight records as histories: written by the real recorder, read back as what came and what ran."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoscaler.backtest.sources_flight import is_record, read_flight
from autoscaler.core import Planner
from autoscaler.core.errors import ConfigError
from autoscaler.core.records import RoleObservation, ServiceId
from autoscaler.telemetry.recorder import Recorder, RecordError
from tests.fakes.observations import CHAT, SPEC, Fleet

OTHER = ServiceId("default", "other")


def record(folder: Path, *, services: tuple[ServiceId, ...] = (CHAT,), blind: range = range(0)) -> Fleet:
    """Ten minutes of 5 s: two replicas, from the fifth minute three, 6 requests a second."""
    recorder = Recorder(folder, 8_000_000, pytest.fail)
    fleet = Fleet()
    for service in services:
        planner, fleet = Planner(), Fleet(replace(SPEC, service=service))
        recorder.begin(service, None, fleet.start_s)
        for k in range(121):
            at_s, count = fleet.start_s + 5.0 * k, 2 if k < 60 else 3
            seen = fleet.observe(at_s, count, 6.0)
            role = seen.roles[0]
            if k == 59:  # the third is listed before it serves
                third = replace(fleet.observe(at_s, 3, 0.0, 0.0).roles[0].replicas[2], sample=None)  # type: ignore[index]
                third = replace(third, phase=type(third.phase).STARTING)
                role = replace(role, replicas=(*(role.replicas or ()), third))
            seen = replace(seen, roles=(replace(role, spec_replicas=count),))
            if k in blind:
                seen = replace(seen, roles=(RoleObservation("", None),))
            recorder.publish(seen, planner.observe(seen, at_s), 0.0)
    recorder.close()
    return fleet


def test_requests_and_replicas_come_back_from_a_record(tmp_path: Path) -> None:
    fleet = record(tmp_path)
    told = read_flight(tmp_path, seed=1)
    assert len(told.arrival_s) == pytest.approx(600 * 6, abs=12)
    per_minute = np.bincount(((told.arrival_s - fleet.start_s) // 60.0).astype(int))
    assert per_minute[:9] == pytest.approx(360, abs=12)
    assert told.prompt_tokens.mean() == pytest.approx(1200.0, rel=0.05)
    assert told.output_tokens.mean() == pytest.approx(200.0, rel=0.05)
    assert told.ran == ((fleet.start_s, 2), (fleet.start_s + 300.0, 3))
    assert not told.ran_are_ready
    assert "Reconstructed from counters" in (told.reconstructed or "")
    assert is_record(tmp_path)
    assert not is_record(tmp_path / "requests.csv")


def test_times_without_observations_are_gaps(tmp_path: Path) -> None:
    fleet = record(tmp_path, blind=range(30, 60))
    told = read_flight(tmp_path, seed=1)
    (gap,) = told.gaps
    assert (gap.from_s - fleet.start_s, gap.until_s - fleet.start_s) == (145.0, 300.0)
    assert not ((told.arrival_s > gap.from_s) & (told.arrival_s < gap.until_s)).any()


def test_one_of_several_services_is_to_be_chosen(tmp_path: Path) -> None:
    record(tmp_path, services=(CHAT, OTHER))
    with pytest.raises(ConfigError, match="--service with one of default/chat, default/other"):
        read_flight(tmp_path, seed=1)
    assert len(read_flight(tmp_path, seed=1, service="default/other").arrival_s) > 3000
    with pytest.raises(ConfigError, match="one of default/chat, default/other"):
        read_flight(tmp_path, seed=1, service="default/nobody")


def test_a_folder_without_a_record_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no flight record"):
        read_flight(tmp_path, seed=1)
