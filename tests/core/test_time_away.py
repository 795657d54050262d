"""Time in which nobody watched is not idle time: what a restart after an outage may take away."""

from __future__ import annotations

from dataclasses import replace

from autoscaler.core import Planner
from tests.fakes.observations import SPEC, Fleet, run

KEEP_WARM_S = 60.0


def _restarted(planner: Planner) -> Planner:
    again = Planner()
    again.restore(planner.snapshot())
    return again


def test_after_an_outage_longer_than_the_keep_warm_time_a_service_is_watched_before_it_goes_to_zero() -> None:
    fleet = Fleet(spec=replace(SPEC, keep_warm_s=KEEP_WARM_S))
    planner, at_s = Planner(), fleet.start_s
    decision = run(planner, fleet, [4.0] * 60, 2)[-1]
    assert decision.active
    back_s = at_s + 300.0 + 10.0 * KEEP_WARM_S
    decision = _restarted(planner).observe(fleet.observe(back_s, 2, 0.0), back_s)
    assert decision.active, decision.reasons
