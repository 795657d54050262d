"""The benchmark from end to end on a folder of small traces."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from autoscaler.simulation.policies.registry import peers
from autoscaler.simulation.trace import Trace
from loadtests.benchmark import command
from loadtests.benchmark.command import app
from loadtests.benchmark.grid import family_of
from loadtests.benchmark.pool import Queue, run_all
from loadtests.benchmark.runner import Job, Made

FIELDS = {
    "trace", "family", "lead_time_s", "fleet", "fault", "policy", "knobs", "seed", "attainment", "attainment_asked",
    "gpu_hours", "clairvoyant_gpu_hours", "step_tokens", "worst_hour_attainment", "goodput_per_gpu_s",
    "scale_events_per_hour", "requests", "fleet_multiplier", "policy_default", "interval", "undisturbed_attainment",
    "undisturbed_gpu_hours", "replicas_lost",
}  # fmt: skip


def write(folder: Path, name: str, minutes: float, rate_rps: float) -> None:
    rng = np.random.default_rng(4)
    count = int(minutes * 60 * rate_rps)
    arrival_s = np.sort(rng.uniform(0.0, minutes * 60.0, count))
    sizes = rng.lognormal(6.5, 0.8, count).astype(int) + 1, rng.lognormal(4.0, 0.8, count).astype(int) + 1
    lines = [f"{a:.3f},{p},{o}" for a, p, o in zip(arrival_s, *sizes, strict=True)]
    with gzip.open(folder / f"{name}.csv.gz", "wt") as file:
        file.write("arrival_s,prompt_tokens,output_tokens\n" + "\n".join(lines) + "\n")


def run(traces: Path, out: Path, *options: str) -> list[dict[str, object]]:
    arguments = ["benchmark", "--traces", str(traces), "--out", str(out), "--quick", "--jobs", "1", *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows: list[dict[str, object]] = json.loads((out / "results.json").read_text())
    return rows


@pytest.mark.timeout(180)  # numba compiles once per machine
def test_a_folder_of_traces_becomes_rows_once_and_the_same_rows_again(tmp_path: Path) -> None:
    write(tmp_path, "even", 12.0, 5.0)
    some = ("--policies", "ours,static")
    rows = run(tmp_path, tmp_path / "out", *some)
    assert all(set(row) == FIELDS for row in rows)
    names = {row["policy"] for row in rows}
    assert names == {"ours", "static", "clairvoyant-hindsight", "clairvoyant-fluid", "clairvoyant-ceiling"}
    assert {(row["fleet"], row["step_tokens"]) for row in rows} == {
        (fleet, tokens) for fleet in ("small", "large") for tokens in (2048, 512)
    }
    text = (tmp_path / "out" / "report.md").read_text()
    assert "A quick run cannot show: starts of 30, 300 and 600 s" in text
    assert "## Losing cases" in text
    assert (tmp_path / "out" / "plots" / "gpu_hours_95.png").exists()
    assert run(tmp_path, tmp_path / "out", *some) == rows  # nothing is run twice
    assert sorted(map(str, run(tmp_path, tmp_path / "again", *some))) == sorted(map(str, rows))


@pytest.mark.timeout(180)
def test_a_peer_that_knows_no_attainment_is_run_once_for_all_and_odd_traces_are_fine(tmp_path: Path) -> None:
    for name, lines in (("lonely", "3.5,100,10\n"), ("gap", "0.0,100,10\n1.0,50,5\n2000.0,80,1\n"), ("none", "")):
        (tmp_path / f"{name}.csv").write_text("arrival_s,prompt_tokens,output_tokens\n" + lines)
    rows = run(tmp_path, tmp_path / "out", "--policies", "static", "--asked", "0.95,0.99")
    assert {row["trace"] for row in rows} == {"lonely", "gap"}
    for one in (row for row in rows if row["policy"] == "static"):
        same = {**one, "attainment_asked": 1.94 - float(str(one["attainment_asked"]))}
        same["clairvoyant_gpu_hours"] = None
        assert same in [{**row, "clairvoyant_gpu_hours": None} for row in rows]


def test_rows_of_a_quick_run_and_of_a_whole_one_do_not_meet(tmp_path: Path) -> None:
    write(tmp_path, "even", 2.0, 1.0)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kind.json").write_text("another")
    arguments = ["benchmark", "--traces", str(tmp_path), "--out", str(tmp_path / "out"), "--quick"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "another" in result.output


def test_an_unknown_policy_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["benchmark", "--traces", str(tmp_path), "--out", str(tmp_path), "--policies", "knativ"]
    )
    assert result.exit_code == 2
    assert "knativ" in result.output
    assert "knative" in result.output


def test_every_peer_has_its_published_default_and_at_most_six_settings() -> None:
    found = peers()
    assert len(found) >= 15
    assert all(sum(s.default for s in peer.settings) == 1 and len(peer.settings) <= 6 for peer in found.values())
    assert all(peer.source for peer in found.values())


def test_families_are_told_by_the_trace_alone() -> None:
    rng = np.random.default_rng(1)

    def of(arrival_s: np.ndarray) -> str:
        return family_of(Trace(np.sort(arrival_s), np.ones(len(arrival_s)), np.ones(len(arrival_s))))

    hours = 3600.0
    assert of(rng.uniform(0, 6 * hours, 40_000)) == "smooth"
    assert of(rng.uniform(0, 30 * hours, 200_000)) == "daily"
    assert of(rng.uniform(0, 6 * hours, 300)) == "idle"
    bursts = np.concatenate([rng.uniform(k * 1800, k * 1800 + 60, 2000) for k in range(12)])
    assert of(np.concatenate([rng.uniform(0, 6 * hours, 40_000), bursts])) == "bursty"


@pytest.mark.timeout(180)
def test_a_run_that_is_killed_leaves_the_results_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "even", 12.0, 5.0)

    def cut(queue: Queue, *others: Any) -> Iterator[tuple[Job, Made]]:
        yield next(run_all(queue, *others))
        raise SystemExit(143)

    monkeypatch.setattr(command, "run_all", cut)
    monkeypatch.setattr(command, "WRITE_S", 0.0)
    out = tmp_path / "out"
    options = ("--quick", "--jobs", "1", "--policies", "ours,static")
    result = CliRunner().invoke(app, ["benchmark", "--traces", str(tmp_path), "--out", str(out), *options])
    assert result.exit_code == 143
    assert {row["policy"] for row in json.loads((out / "results.json").read_text())} > {"ours"}
