"""What MPC v3 believes, on worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autoscaler.simulation.engines import Params
from autoscaler.simulation.policies.mpc_v3_model import Forecaster, Plant

# 10 ms, 0.1 ms a sequence, 0.01 ms a prompt token; a cache of 1 100 000, 200 sequences.
PROFILE = Params(0.010, 0.0001, 0.00001, 0.0, 1.1e6, 200, 2048.0)


def fed(*bins: int) -> Forecaster:
    """A forecaster for a cold start of 30 s and a plan of 55 s, after bins of 15 s in three ticks."""
    forecaster = Forecaster(30.0, 55.0)
    for count in bins:
        for _ in range(3):
            forecaster.add(count / 3.0, 5.0)
    return forecaster


def test_the_level_is_an_average_over_one_cold_start_of_bins_of_15_s() -> None:
    assert fed(30).level == pytest.approx(2.0)
    # alpha = 15 / 30; 36 is within max(2.5 x sqrt(30), 5) = 13.7 of 30: 2 + 0.5 x (2.4 - 2).
    assert fed(30, 36).level == pytest.approx(2.2)


def test_before_the_first_bin_is_full_the_level_is_what_there_is() -> None:
    forecaster = Forecaster(30.0, 55.0)
    assert forecaster.level == 0.0
    forecaster.add(10, 5.0)
    assert forecaster.level == 2.0


def test_a_step_beyond_two_and_a_half_standard_errors_restarts_level_and_history() -> None:
    forecaster = fed(30, 30, 30, 60)  # 30 off, 13.7 allowed
    assert forecaster.level == pytest.approx(4.0)
    assert list(forecaster.history) == [4.0]


def test_few_requests_may_be_five_off() -> None:
    assert fed(1, 6).level == pytest.approx(0.5 * (1 + 6) / 15)  # max(2.5 x 1, 5) = 5
    assert fed(1, 7).level == pytest.approx(7 / 15)


def test_a_significant_trend_is_followed() -> None:
    forecaster = fed(30, 33, 36, 39)  # 0.2 per second in 15 s, on a line
    assert forecaster.trend() == pytest.approx(0.2 / 15.0)
    mean, _ = forecaster.plan(11)
    assert mean[0] == pytest.approx(forecaster.level + 5.0 * 0.2 / 15.0)
    assert mean[10] == pytest.approx(forecaster.level + 55.0 * 0.2 / 15.0)


def test_a_trend_within_two_standard_errors_or_of_three_bins_is_none() -> None:
    assert fed(30, 36, 28, 34, 29).trend() == 0.0
    assert fed(30, 33, 36).trend() == 0.0


def test_the_mean_stays_within_half_and_twice_the_level() -> None:
    forecaster = fed(30, 33, 36, 39)
    mean, _ = forecaster.plan(60)
    assert mean[-1] == 2.0 * forecaster.level


def test_the_80th_percentile_adds_the_estimators_and_the_plans_variance() -> None:
    # 2 x (0.5 / (1.5 x 15) + 1 / 55) = 0.0808.
    _, more = fed(30).plan(11)
    assert more == pytest.approx(0.84 * math.sqrt(0.0808), rel=1e-3)


def sized() -> Plant:
    plant = Plant(PROFILE)
    plant.resize(1000.0, 100.0, 0.0)
    return plant


def test_capacity_is_that_of_a_worker_filled_to_its_cap() -> None:
    plant = sized()
    assert plant.prefill_s == pytest.approx(0.020)  # 10 + 1000 x 0.01 ms
    # 0.9 x 1 100 000 / 1100 = 900 fit, 256 count, 200 sequences run: a step of 10 + 20 ms.
    assert plant.cap == 256.0
    assert plant.saturated_itl_s == pytest.approx(0.050)
    assert plant.rps == pytest.approx(1.0 / (0.020 + 100 * 0.030 / 200))
    plant.resize(1000.0, 100.0, 0.5)
    assert plant.prefill_s == pytest.approx(0.015)


def test_without_a_backlog_the_itl_is_a_shared_processors() -> None:
    # At 10 per second c = 10 x (0.02 + 100 x (0.010 + 0.0001 c)): c = 10.2 / 0.9 = 11.33, a step of 11.13 ms; prefill
    # takes 0.2 of the time: 13.92 ms. At 60 prefill would take more than all: 0.95, at the cap: (10 + 25.6) / 0.05.
    itl = sized().itl_s(np.array([10.0, 0.001, 60.0, 120.0]))
    assert itl[0] == pytest.approx(0.0139167, rel=1e-5)
    assert itl[1] == pytest.approx(0.0101, rel=1e-3)  # never less than one sequence
    assert itl[3] == pytest.approx(0.0356 / 0.05)


def test_the_bias_moves_a_tenth_of_the_way_to_what_was_completed() -> None:
    plant = sized()
    plant.learn(0.5 * plant.unbiased_rps)
    assert plant.bias == pytest.approx(0.95)
    plant.learn(100.0 * plant.unbiased_rps)  # counts as four times
    assert plant.bias == pytest.approx(0.95 + 0.1 * 3.05)
    assert plant.rps == pytest.approx(plant.bias * plant.unbiased_rps)
