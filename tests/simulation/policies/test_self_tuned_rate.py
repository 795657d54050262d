"""The self-tuned rate rule on worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autoscaler.simulation.engines import TPOT_BOUNDS, TTFT_BOUNDS
from autoscaler.simulation.policies.self_tuned_rate import SelfTunedRate, share_within
from autoscaler.simulation.policy import AverageValue, TickingPolicy, desired
from autoscaler.simulation.view import View
from tests.fakes.views import deployment, totals, view


def page(at_s: float, rps: float, slow: int = 0, in_time: int = 0) -> View:
    """Requests of which the slow ones miss the TTFT; every TPOT is below 50 ms."""
    ttft, tpot = [0] * (len(TTFT_BOUNDS) + 1), [0] * (len(TPOT_BOUNDS) + 1)
    ttft[TTFT_BOUNDS.index(1.0)], ttft[TTFT_BOUNDS.index(10.0)] = in_time, slow
    tpot[TPOT_BOUNDS.index(0.05)] = in_time + slow
    return view(at_s=at_s, waiting=[0], arrivals=round(rps * at_s), totals_=totals(ttft=ttft, tpot=tpot))


def test_the_share_within_a_limit_is_interpolated_in_its_bucket() -> None:
    counts = np.zeros(len(TTFT_BOUNDS) + 1, dtype=np.int64)
    counts[TTFT_BOUNDS.index(2.5)], counts[TTFT_BOUNDS.index(5.0)], counts[-1] = 80, 10, 10
    # 3 s is a fifth of the way from 2.5 to 5: 80 + 2 of 100.
    assert share_within(TTFT_BOUNDS, counts, 3.0) == pytest.approx(0.82)
    assert share_within(TTFT_BOUNDS, counts, 1000.0) == pytest.approx(0.9)


def test_replicas_are_the_rate_over_rho_mu_and_are_obeyed_exactly() -> None:
    policy = SelfTunedRate(deployment(), gain=2.0)
    assert isinstance(policy, TickingPolicy)
    assert policy.tick(page(0.0, 50.0), 0.0) == 15.0
    assert policy.metrics(page(0.0, 50.0), 0.0) == (None,)
    policy.tick(page(15.0, 50.0), 15.0)
    wanted = math.ceil(50.0 / (0.7 * policy.mu))
    now = page(15.0, 50.0)
    (asked,) = policy.metrics(now, 15.0)
    assert asked == AverageValue(wanted, 1.0)
    assert desired(asked, now, policy.keda) == wanted


def test_rho_moves_with_the_share_less_what_is_asked_for() -> None:
    # 200 requests, 20 of them late: 0.9 - 0.95 for 15 s of an hour at gain 4. Then 1800 more in time: 0.99.
    policy = SelfTunedRate(deployment(), gain=4.0)
    policy.tick(page(0.0, 1.0), 0.0)
    policy.tick(page(15.0, 1.0, slow=20, in_time=180), 15.0)
    first = 0.7 * math.exp(4.0 * (0.9 - 0.95) * 15.0 / 3600.0)
    assert policy.rho == pytest.approx(first)
    policy.tick(page(30.0, 1.0, slow=20, in_time=1980), 30.0)
    assert policy.rho == pytest.approx(first * math.exp(4.0 * (0.99 - 0.95) * 15.0 / 3600.0))


def test_a_share_of_few_requests_is_not_believed() -> None:
    policy = SelfTunedRate(deployment(), gain=4.0)
    policy.tick(page(0.0, 1.0), 0.0)
    policy.tick(page(15.0, 1.0, slow=99), 15.0)
    assert policy.rho == 0.7


def test_down_after_one_start_of_surplus() -> None:
    policy = SelfTunedRate(deployment(start_s=120.0), gain=2.0)
    policy.mu = 10.0 / 0.7  # 10 per second and replica
    requests, wanted = 0, []
    for k in range(20):
        requests += 15 * (40 if k <= 4 else 10)
        policy.tick(view(at_s=15.0 * k, waiting=[0], arrivals=requests), 15.0 * k)
        wanted.append(policy.wanted)
    # The rate of a minute is 40, from 75 s on 32.5, 25, 17.5, 10: 4, 3, 2, 1. The 4 of 75 s counts for 120 s more.
    assert wanted == [None] + [4] * 13 + [3, 2] + [1] * 4


def test_it_is_active_while_anything_is_wanted_or_held() -> None:
    policy = SelfTunedRate(deployment(), gain=2.0)
    for k in range(2):
        policy.tick(view(at_s=15.0 * k, waiting=[]), 15.0 * k)
    assert not policy.active(view(waiting=[]), 15.0)
    assert policy.active(view(waiting=[], held=1), 15.0)
