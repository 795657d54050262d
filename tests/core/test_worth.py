"""Past the knee more replicas are not bought, however little of what is asked was reached."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.worth import WORTH, knee

LOGS = np.log(np.linspace(0.1, 2.0, 39))


def test_a_share_that_creeps_up_by_tenths_of_a_point_is_left_at_its_knee() -> None:
    # DeepSeek-R1, 512 tokens a step: from 0.986 at 1.5 req/s a replica up to 0.991 at 0.2. Asked 0.99, replicas were
    # sized for 0.3 req/s: 29 instead of 6.
    shares = np.interp(np.exp(LOGS), [0.1, 1.5, 1.8, 2.0], [0.991, 0.986, 0.9, 0.5])
    assert 1.45 <= math.exp(knee(LOGS, shares, 0.01)) <= 1.56


def test_on_a_slope_every_doubling_is_worth_it_until_what_is_asked_is_reached() -> None:
    # Times per token: half the rate saves two thirds of what misses.
    rates = np.exp(LOGS)
    shares = 1.0 - 0.05 * (rates / rates[-1]) ** 1.5
    asked = float(np.interp(-0.99, -shares, LOGS))
    assert knee(LOGS, shares, 0.01) < asked


def test_where_nothing_ever_misses_the_fastest_rate_is_the_knee() -> None:
    assert knee(LOGS, np.ones(len(LOGS)), 0.05) == LOGS[-1]


@given(st.lists(st.floats(0.0, 0.1), min_size=39, max_size=39), st.floats(0.001, 0.2))
def test_at_the_knee_half_the_rate_saves_less_than_it_must_and_above_it_never(
    falls: list[float], allowed: float
) -> None:
    shares = np.clip(1.0 - np.cumsum(falls), 0.0, 1.0)
    at = knee(LOGS, shares, allowed)
    gains = np.interp(LOGS - math.log(2.0), LOGS, shares) - shares
    for log, gain in zip(LOGS, gains, strict=True):
        assert log != at or gain < WORTH * allowed
        assert log <= at or gain >= WORTH * allowed
