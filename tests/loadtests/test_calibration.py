"""The calibration: what is read, how it is split, and that a fit finds the coefficients that made the data."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoscaler.core.errors import ConfigError
from autoscaler.simulation.engines import Params
from autoscaler.simulation.kernel import HAS_COMPILER
from loadtests.calibration_data import Point, halves, read_sweeps
from loadtests.calibration_fit import fit, off, simulate

EXCERPT = Path(__file__).parent.parent / "data" / "calibration" / "sweeps-excerpt.csv"
TRUE = Params(7e-3, 3e-5, 2.5e-5, 5e-8, 444_640.0, 1024, 8192.0, 0.0, 9e-3, 0.6)


def point(prompt: int, output: int, rate_rps: float, *, alone: bool = False) -> Point:
    return Point("model", (prompt, output), alone, rate_rps, 60.0, float(prompt), 0.02, 0.01)


def test_rows_are_runs_and_what_the_source_got_wrong_is_told() -> None:
    points = read_sweeps(EXCERPT)
    llama = [p for p in points if p.model == "Llama-3.1-8B"]
    assert [(p.alone, p.duration_s) for p in llama[:2]] == [(True, 359.9986), (False, 359.9991)]
    assert [p.rate_rps for p in llama[1:]] == [8.14, 15.69, 23.23, 30.77]
    assert [p.highest for p in llama] == [False] * 4 + [True]
    assert llama[1].ttft_s == pytest.approx(0.0190815)
    assert llama[1].itl_s == pytest.approx(0.0072726)
    assert math.isnan(llama[-1].ttft_s)  # the source's mean is minus 1.8 days
    assert llama[-1].itl_s == pytest.approx(0.0094329)


def test_a_sweep_without_a_synchronous_run_has_it_first_and_rates_count_what_did_not_finish() -> None:
    qwen = [p for p in read_sweeps(EXCERPT) if p.model == "Qwen2.5-14B"]
    assert [p.alone for p in qwen] == [True, False, False]
    # 0.08 requests/s finished within 600 s, each after 48.1 s: those of the last 48.1 s did not.
    assert qwen[1].rate_rps == pytest.approx(0.08 / (1.0 - (0.04113 + 0.01191 * 4037.43) / 600.0))


def test_every_value_that_is_no_number_is_an_error_with_its_line(tmp_path: Path) -> None:
    lines = EXCERPT.read_text().splitlines()
    lines[1] = lines[1].replace(",6.5698,", ",fast,")
    lines[3] = lines[3].replace(",64,256,", ",64,,")
    (tmp_path / "sweeps.csv").write_text("\n".join(lines))
    with pytest.raises(ConfigError) as error:
        read_sweeps(tmp_path / "sweeps.csv")
    assert [(p.path, p.found) for p in error.value.problems] == [
        ("line 2, itl_ms", "'fast'"),
        ("line 4, nominal_out", "''"),
    ]


def test_halves_are_a_checkerboard() -> None:
    points = [point(i, o, 1.0) for i in (64, 256) for o in (64, 256, 1024)]
    even, odd = halves(points)
    assert [p.shape for p in even] == [(64, 64), (64, 1024), (256, 256)]
    assert [p.shape for p in odd] == [(64, 256), (256, 64), (256, 1024)]


def test_one_request_at_a_time_takes_its_own_steps_and_nothing_waits() -> None:
    seen = simulate(TRUE._replace(overlap=0.0), point(100, 51, 1.0, alone=True))
    # Sizes are uniform around 100 and 51; their means over 60 requests are within 4 standard errors.
    assert seen.ttft_s == pytest.approx(7e-3 + 2.5e-5 * 100 + 9e-3, abs=4 * 2.5e-5 * 29 / 60**0.5)
    assert seen.itl_s == pytest.approx(7e-3 + 3e-5 + 5e-8 * 127, rel=0.001)


@pytest.mark.skipif(not HAS_COMPILER, reason="thousands of simulated runs: needs the lab extra")
@pytest.mark.parametrize(("seed", "ruined"), [(0, False), (7, True)])
def test_a_fit_finds_the_coefficients_that_made_the_data(seed: int, ruined: bool) -> None:
    shapes = [
        *((64, 64, (20.0, 60.0)), (64, 512, (4.0, 12.0)), (512, 64, (10.0, 30.0))),
        *((2048, 128, (2.0, 6.0)), (1024, 512, (2.0, 5.0))),
    ]
    asked = [point(i, o, rate) for i, o, rates in shapes for rate in rates]
    made = [replace(p, ttft_s=seen.ttft_s, itl_s=seen.itl_s) for p in asked if (seen := simulate(TRUE, p, seed))]
    if ruined:  # a saturated front end; and all sizes are others than the fit's own
        made.append(replace(point(512, 512, 5.0), ttft_s=1.0, itl_s=0.1))
    found = fit(made)
    assert np.nanmedian(np.abs(off(found, made))) < (0.02 if ruined else 0.005)
    close = {"base_s": 0.03, "prompt_token_s": 0.1, "overhead_s": 0.1, "sequence_s": 0.25, "kv_token_s": 0.25}
    for name, within in close.items():
        assert getattr(found, name) == pytest.approx(getattr(TRUE, name), rel=within if ruined else 0.05), name
    assert found.overlap == pytest.approx(TRUE.overlap, abs=0.25 if ruined else 0.1)
