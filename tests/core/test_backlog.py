"""What is asked for because requests wait, each by its sentence; a replica carries 2 req/s and works off 3 at most."""

from __future__ import annotations

import pytest

from autoscaler.core.backlog import Waiting, with_backlog
from autoscaler.core.records import Replica, ReplicaPhase
from autoscaler.core.starting import Lead
from autoscaler.core.tracking import Tick

T0 = 1_000_000.0
CARRIES_RPS, MOST_RPS = 2.0, 3.0


def asked(
    serving: int, waiting: float, rate_rps: float, lead_s: float = 120.0, loading: int = 0, floor: int | None = None
) -> int:
    tick = Tick(
        ready=[Replica(f"r{k}", ReplicaPhase.READY) for k in range(serving)],
        coming=[Replica(f"c{k}", ReplicaPhase.STARTING, T0 - 60.0) for k in range(loading)],
        waiting=waiting,
    )
    for_the_rate = round(rate_rps / CARRIES_RPS) if floor is None else floor
    lead = Lead(lead_s, measured=True)
    return with_backlog(for_the_rate, Waiting(tick, 0.0, rate_rps, T0), CARRIES_RPS, MOST_RPS, lead)[0]


def test_a_burst_on_a_fleet_that_serves_is_worked_off_within_a_minute() -> None:
    # 7 serve 18 req/s where 9 would be right, and 900 wait: 540 when new ones serve. To work those off within ten
    # seconds asked for 29, kept for eight minutes: with DeepSeek-R1's tails 1 to 7 % of the GPU-hours.
    assert asked(7, 600.0, 18.0) == 9
    assert asked(7, 900.0, 18.0) == 11


def test_what_waits_for_a_fleet_that_has_yet_to_start_is_worked_off_within_ten_seconds() -> None:
    # One of 9 serves: 18 req/s for two minutes less the 3 it works off. A minute for that cost the demo two points.
    assert asked(1, 20.0, 18.0) == pytest.approx((18.0 + (20.0 + 18.0 * 120.0 - 3.0 * 120.0) / 10.0) / 2.5, abs=1.0)


def test_replicas_that_load_work_on_it_too_from_when_they_serve() -> None:
    # Eight that began a minute ago serve for one of the two minutes: 1,440 requests fewer.
    assert asked(1, 20.0, 18.0, loading=8) == pytest.approx((18.0 + (1820.0 - 8 * 60.0 * 3.0) / 10.0) / 2.5, abs=1.0)


def test_a_few_that_wait_are_no_backlog() -> None:
    # Two a replica and half a second of arrivals are what prefill makes wait anyway.
    assert asked(2, 8.0, 30.0, floor=4) == 4
    assert asked(2, 20.0, 30.0, floor=4) > 4


def test_with_nothing_serving_and_no_rate_what_is_held_is_worked_off_within_ten_seconds() -> None:
    assert asked(0, 200.0, 0.0) == 8
