"""Flight records as histories: written by the real recorder, read back as what came and what ran."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoscaler.backtest.history import history
from autoscaler.backtest.sources_flight import is_record, read_flight
from autoscaler.core import Planner
from autoscaler.core.errors import ConfigError
from autoscaler.core.records import Decision, Observation, RoleObservation, ServiceId
from autoscaler.simulation.comparison import Kind, Player, play
from autoscaler.simulation.engines import LLAMA_70B_A100X4
from autoscaler.simulation.ours import Ours, spec_of
from autoscaler.simulation.scenario import Scenario, Starts
from autoscaler.simulation.score import score
from autoscaler.simulation.world import World
from autoscaler.telemetry.recorder import Recorder, RecordError
from tests.backtest.histories import small_trace
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


class Recorded(Planner):
    """A planner whose every tick is recorded."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def observe(self, seen: Observation, now_s: float) -> Decision:
        decision = super().observe(seen, now_s)
        self.recorder.publish(seen, decision, 0.0)
        return decision


def test_a_recorded_service_comes_back_as_it_ran(tmp_path: Path) -> None:
    """A simulated service of known truth is recorded; its record, replayed, attains and costs what it did."""
    trace = small_trace(length_s=1800.0)
    scenario = Scenario(trace, 300.0, 1800.0, LLAMA_70B_A100X4, Starts(45.0), initial_replicas=3, max_replicas=20)
    recorder = Recorder(tmp_path, 64_000_000, pytest.fail)
    run = World(scenario, 1).run(Ours(spec_of(scenario, "llama-3.1-70b/a100x4"), Recorded(recorder)))
    recorder.close()
    truth = score(run)

    found = history("x", "flight record", read_flight(tmp_path, seed=1), 0.0)
    assert found.service == "simulated/service"  # settings to paste name it
    assert len(found.trace.arrival_s) == pytest.approx(len(trace.arrival_s), rel=0.01)
    assert found.trace.prompt_tokens.mean() == pytest.approx(trace.prompt_tokens.mean(), rel=0.03)
    assert found.ran is not None
    again = Player(Kind.RAN, "what ran", plan=found.ran)
    played = play(again, replace(scenario, trace=found.trace), 1, (60.0, 30)).score
    assert [count for _, count in found.ran] == [count for _, count in run.steps]
    assert played.attainment == pytest.approx(truth.attainment, abs=0.03)
    assert played.gpu_hours == pytest.approx(truth.gpu_hours, rel=0.01)
