"""WVA's throughput analyzer on worked examples and in a small world."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.simulation.engines import ITL_COUNT, ITL_S, LLAMA_70B_H100X4, Floats
from autoscaler.simulation.policies import wva_throughput
from autoscaler.simulation.policies.wva_throughput import Line, WvaThroughput
from autoscaler.simulation.view import View
from tests.fakes.small_worlds import SLOW, most_replicas, replicas_at, run_small, small_scenario, steps
from tests.fakes.views import deployment, totals, view

SHAPE = (1000.0, 200.0)


def seen(line: Line, at_s: float, *pairs: tuple[float, float], shape: tuple[float, float] = SHAPE) -> float | None:
    kv_use, itl_s = np.array(pairs).reshape(-1, 2).T
    line.observe(at_s, kv_use, itl_s, shape)
    return line.saturated_s(kv_use, itl_s)


def on_line(*kv_use: float) -> list[tuple[float, float]]:
    """ITL of 20 ms and 50 ms for a full cache."""
    return [(k, 0.020 + 0.050 * k) for k in kv_use]


def test_ten_pairs_with_a_spread_of_0_3_make_a_line() -> None:
    line = Line()
    assert seen(line, 0.0, *on_line(*np.linspace(0.2, 0.5, 10))) == pytest.approx(0.060)  # 20 + 0.8 x 50 ms
    assert line.base_s == pytest.approx(0.020)


@pytest.mark.parametrize("kv_use", [np.linspace(0.2, 0.5, 9), np.linspace(0.2, 0.49, 10), np.linspace(0.01, 0.14, 20)])
def test_until_then_it_is_drawn_from_6_ms_through_what_the_replicas_show(kv_use: Floats) -> None:
    # Slope: sum of (ITL - 6 ms) k over sum of k squared.
    slope = float(((0.014 + 0.050 * kv_use) * kv_use).sum() / (kv_use**2).sum())
    assert seen(Line(), 0.0, *on_line(*kv_use)) == pytest.approx(0.006 + 0.8 * slope)


def test_twenty_pairs_of_thirty_minutes_between_0_15_and_0_85_are_kept() -> None:
    line = Line()
    seen(line, 0.0, *on_line(0.1, 0.2, 0.9, 0.8))
    assert len(line.pairs) == 2
    seen(line, 1800.0, *on_line(*[0.3] * 3))
    assert len(line.pairs) == 5
    seen(line, 1801.0, *on_line(0.3))
    assert len(line.pairs) == 4
    seen(line, 1802.0, *on_line(*[0.4] * 30))
    assert len(line.pairs) == 20


def test_a_shift_of_sizes_by_a_fifth_clears_the_line_but_keeps_where_it_began() -> None:
    line = Line()
    seen(line, 0.0, *on_line(*np.linspace(0.2, 0.5, 10)))
    seen(line, 30.0, *on_line(0.5), shape=(1190.0, 200.0))
    assert len(line.pairs) == 11
    # One pair on the line: through 20 ms and (0.5, 45 ms) it is the same line.
    assert seen(line, 60.0, *on_line(0.5), shape=(1190.0, 250.0)) == pytest.approx(0.060)
    assert len(line.pairs) == 1


def test_where_no_line_rises_there_is_none() -> None:
    assert seen(Line(), 0.0) is None
    assert seen(Line(), 0.0, (0.5, 0.004)) is None  # faster than its 6 ms
    line = Line()
    line.base_s = -0.050
    assert seen(line, 0.0, (0.5, -0.045)) is None  # rises, and is below zero at saturation


def page(at_s: float, rps: float, *, kv: float, itl_s: float, held: int = 0, ready: int = 2) -> View:
    """1,000 in and 200 out, as many finished as came; a cache of 110,000 tokens."""
    count = rps * at_s
    told = totals(prompt_tokens=1000.0 * count, generated_tokens=200.0 * count, finished=count, first_tokens=count)
    now = view(
        at_s=at_s,
        waiting=[0] * ready,
        kv_usage=[kv] * ready,
        kv_tokens=110_000.0,
        held=held,
        arrivals=round(count),
        totals_=told,
    )
    now.floats[:, ITL_COUNT] = 100.0 * at_s
    now.floats[:, ITL_S] = itl_s * 100.0 * at_s
    return now


def fed(rps: float, *, kv: float, itl_s: float, held: int = 0) -> tuple[WvaThroughput, View]:
    """After a minute of it."""
    policy = WvaThroughput(deployment())
    for k in range(4):
        policy._see(page(15.0 * k, rps, kv=kv, itl_s=itl_s))
    now = page(60.0, rps, kv=kv, itl_s=itl_s, held=held)
    policy._see(now)
    return policy, now


def test_supply_is_what_0_8_of_the_cache_makes_at_its_itl() -> None:
    # Through 6 ms and (0.5, 31 ms): 46 ms at 0.8. 88,000 / 1,100 = 80 sequences / 46 ms = 1,739 tokens a second.
    # 12 a second want 2,400: over 0.85 of a supply 1.62 of 2 replicas; over 0.70 1.97.
    policy, now = fed(12.0, kv=0.5, itl_s=0.031)
    assert policy.throughput(now) == pytest.approx((0.0, 2.0 - 2400 / 0.7 / (80 / 0.046)))
    policy, now = fed(18.0, kv=0.5, itl_s=0.031)
    assert policy.throughput(now) == pytest.approx((3600 / 0.85 / (80 / 0.046) - 2.0, 0.0))
    assert policy.decide(now) == 3


def test_what_is_held_is_to_be_drained_in_two_itls_of_saturation() -> None:
    policy, now = fed(12.0, kv=0.5, itl_s=0.031, held=184)
    # 184 / (2 x 46 ms) = 2,000 tokens a second more.
    told = policy.throughput(now)
    assert told is not None
    assert told[0] == pytest.approx(4400 / 0.85 / (80 / 0.046) - 2.0)


def test_it_adds_where_v2_sees_room_and_v2_stays_where_it_would_take_away() -> None:
    # At 0.27 V2 would give one back: 59,400 / 0.70 / 88,000 = 0.96 of 2. Through 6 ms and (0.27, 28.5 ms): 72.7 ms at
    # 0.8, 1,101 tokens a second: 3,600 over 0.85 of it are 3.8.
    policy, now = fed(18.0, kv=0.27, itl_s=0.0285)
    required, spare = policy.analysis(now)
    assert (required, spare > 1.0) == (0.0, True)
    assert policy.decide(now) == 4
    # At 0.65 V2 has nothing to spare, and 200 tokens a second need no second replica.
    policy, now = fed(1.0, kv=0.65, itl_s=0.010)
    told = policy.throughput(now)
    assert told is not None
    assert (told[0], told[1] > 1.5) == (0.0, True)
    assert policy.decide(now) == 2


def test_without_traffic_v2_decides_alone() -> None:
    policy = WvaThroughput(deployment())
    idle = view(at_s=0.0, waiting=[0, 0])
    policy._see(idle)
    assert policy.throughput(idle) is None
    assert policy.decide(idle) == 1


def test_a_large_model_that_holds_little_looks_slow_so_that_more_replicas_supply_less_each() -> None:
    # At 17 ms a token the 6 ms are wrong: a third of the load in each of three times the replicas is read as less
    # supply: (18 - 6) / 0.15 x 0.8 + 6 = 70 ms, (17.3 - 6) / 0.05 x 0.8 + 6 = 187 ms.
    supplies = []
    for kv, itl_s in ((0.15, 0.018), (0.05, 0.0173)):
        line = Line()
        saturated_s = seen(line, 0.0, (kv, itl_s))
        assert saturated_s is not None
        supplies.append(1.0 / saturated_s)
    assert supplies[1] / supplies[0] == pytest.approx(70 / 186.8, rel=1e-2)


def test_the_published_share_is_0_85() -> None:
    policy = next(s for s in wva_throughput.PEERS[0].settings if s.default).build(deployment())
    assert isinstance(policy, WvaThroughput)
    assert policy.more == 0.85
    assert policy.batched_tokens == LLAMA_70B_H100X4.batched_tokens


def test_in_a_small_world_a_step_is_followed() -> None:
    # 50 to 66 ms a token read from 6 ms: at 0.4 of the cache 0.106 s at 0.8; 16 sequences / 0.106 s = 151 tokens a
    # second, 1.5 requests; a replica makes 1.2.
    policy = WvaThroughput(deployment(profile=SLOW, max_replicas=20), is_fast=True)
    run = run_small(policy, small_scenario(steps((120.0, 0.4), (600.0, 3.6)), 720.0))
    assert replicas_at(run, 119.0) <= 2
    assert replicas_at(run, 400.0) >= 3


def test_in_a_small_world_it_is_left_only_when_both_can_spare() -> None:
    policy = WvaThroughput(deployment(profile=SLOW, max_replicas=20), is_fast=True)
    run = run_small(policy, small_scenario(steps((120.0, 0.4), (480.0, 3.6), (900.0, 0.4)), 1500.0))
    assert replicas_at(run, 1499.0) < most_replicas(run)
