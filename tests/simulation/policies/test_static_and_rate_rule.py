"""The two simplest peers on worked examples."""

from __future__ import annotations

import pytest

from autoscaler.simulation.engines import LLAMA_70B_H100X4
from autoscaler.simulation.policies import rate_rule, static
from autoscaler.simulation.policy import AverageValue
from tests.fakes.views import deployment, view


def test_a_static_fleet_is_the_share_of_the_most_allowed_whatever_happens() -> None:
    quarter = next(s for s in static.PEER.settings if s.default).build(deployment(max_replicas=30))
    assert quarter.decide(view(waiting=[50, 50]), 60.0) == 8


def test_the_rate_rule_divides_what_came_in_the_last_minute() -> None:
    rule = rate_rule.RateRule(per_replica_rps=2.5)
    assert rule.metrics(view(at_s=0.0, arrivals=0), 0.0) == (None,)
    for k in range(1, 9):
        asked = rule.metrics(view(at_s=15.0 * k, arrivals=150 * k), 15.0 * k)
    assert asked == (AverageValue(10.0, 2.5),)


def test_the_profiled_rate_is_the_fluid_rate_at_the_limit() -> None:
    # 512 in, 512 out on the reference replica: 16.73 ms + n (35.5 us + 62.5 us prefill + 22.4 us KV) = 60 ms: n = 359.
    rps = rate_rule.profiled_rps(LLAMA_70B_H100X4, 0.060, 512.0, 512.0)
    assert rps == pytest.approx(359.4 / (512 * 0.060), rel=0.01)
