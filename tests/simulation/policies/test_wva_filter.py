"""WVA's tuner on worked examples."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.simulation.policies.wva_filter import BOUNDS, DEFAULT, Seen, Tuner, first_state
from autoscaler.simulation.policies.wva_queue import Queue, Times

TRUE = Times(0.020, 6e-5, 5e-7)


def told(rps: float, times: Times = TRUE, prompt: float = 1000.0, output: float = 200.0) -> Seen:
    """What a replica with these times shows."""
    latencies = Queue(times, prompt, output, 256).latencies(rps)
    assert latencies is not None
    return Seen(rps, prompt, output, latencies.ttft_s, latencies.itl_s, 256)


def test_the_first_state_is_read_off_the_first_observation() -> None:
    # alpha = 0.9 x 20 ms; beta + gamma = (200 - 18) / 1,000; gamma = (20 - 18 - 0.182) / (1,000 + 100 - 1).
    state = first_state(Seen(1.0, 1000.0, 199.0, 0.200, 0.020, 256))
    assert state == pytest.approx([0.018, 182e-6 - 1.654e-6, 1.654e-6], rel=1e-3)


def test_where_that_gives_no_positive_times_it_begins_with_5_ms_50_us_and_50_ns() -> None:
    assert first_state(Seen(1.0, 100.0, 199.0, 0.500, 0.020, 256)).tolist() == [5e-3, 5e-5, 5e-8]


def test_a_step_is_the_kalman_update_of_the_model() -> None:
    # Without load ITL = alpha + (1 + 1.005 tc) beta + (1 + 1.005) tm gamma, tc = 1,200 / 201 and tm = 1,100 (see the
    # model), and TTFT = alpha + 1,000 (beta + gamma) + ITL.
    start, tuner = np.array([0.020, 6e-5, 5e-7]), Tuner(TRUE)
    seen = told(1e-6)._replace(ttft_s=told(1e-6).ttft_s * 1.02, itl_s=told(1e-6).itl_s * 0.99)
    slope = np.array([[2.0, 1007.0, 3205.5], [1.0, 7.0, 2205.5]])
    spread = 2.0 * np.diag((0.05 * start) ** 2)  # the first, and one step's
    noise = np.diag((0.05 / 1.96 * np.array([seen.ttft_s, seen.itl_s])) ** 2)
    gain = spread @ slope.T @ np.linalg.inv(slope @ spread @ slope.T + noise)
    surprise = np.array([seen.ttft_s, seen.itl_s]) - slope @ start
    assert tuner.update(seen)
    assert np.array(tuner.times) == pytest.approx(start + gain @ surprise, rel=1e-3)


def test_it_learns_the_times_from_loads_that_differ() -> None:
    tuner = Tuner(Times(0.022, 5.5e-5, 4.6e-7))
    for k in range(400):
        tuner.update(told(0.2 + 2.0 * (k % 10) / 10.0, prompt=600.0 + 100.0 * (k % 7)))
    assert tuner.times == pytest.approx(TRUE, rel=0.02)


def test_an_outlier_is_taken_back() -> None:
    tuner = Tuner(TRUE)
    before = tuner.times, tuner.covariance.tolist()
    normal = told(1.0)
    assert not tuner.update(normal._replace(ttft_s=2.0 * normal.ttft_s))
    assert (tuner.times, tuner.covariance.tolist()) == before
    assert tuner.update(normal)


def test_more_load_than_the_model_can_carry_teaches_nothing() -> None:
    tuner = Tuner(TRUE)
    busiest = Queue(TRUE, 1000.0, 200.0, 256).full_rps
    assert not tuner.update(told(1.0)._replace(arrivals_rps=1.01 * busiest))
    assert not tuner.update(told(1.0)._replace(arrivals_rps=0.0))
    assert tuner.times == TRUE


def test_a_first_look_near_the_limit_locks_it() -> None:
    # At 85 % of what it carries, nine tenths of the ITL are no base time: so slow a server cannot carry what it does.
    busiest = Queue(TRUE, 1000.0, 200.0, 256).full_rps
    tuner = Tuner()
    assert [tuner.update(told(share * busiest)) for share in (0.85, 0.8, 0.85, 0.9)] == [False] * 4
    assert tuner.times is not None
    assert tuner.times.alpha > 2.0 * TRUE.alpha


def test_times_stay_within_a_hundredth_and_a_hundred_times_the_default() -> None:
    tuner = Tuner(Times(0.6, 5e-5, 5e-8))
    seen = told(1e-6, Times(0.5, 5e-5, 5e-8))
    assert tuner.update(seen)
    assert tuner.times is not None
    assert tuner.times.alpha <= BOUNDS[1] * DEFAULT[0] == 0.5
