"""What the planner learns of speed, sizes, forecasts and headroom, each by its sentence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autoscaler.core.asking import AIM_MISSES, Price, asked_share, caution, count_for
from autoscaler.core.attained import Attained, Told
from autoscaler.core.capacity import Curve
from autoscaler.core.forecast import Forecast
from autoscaler.core.headroom import Headroom
from autoscaler.core.histogram import Around
from autoscaler.core.priors import prior
from autoscaler.core.records import Histogram, Objective
from autoscaler.core.series import Window
from autoscaler.core.shapes import Shape, step_limit
from autoscaler.core.speed import Speed

T0 = 1_000_000.0
GENERIC = prior("generic")


def line(steepness: float) -> Curve:
    """A share of 0.95 at 2 req/s that falls by `steepness` per unit of ln(rate)."""
    rates = np.linspace(0.05, 8.0, 400)
    shares = np.clip(0.95 - steepness * np.log(rates / 2.0), 0.0, 1.0)
    return Curve(rates, shares, shares, 8.0, rates)


def pages(attained: Attained, share: float, requests: float = 2000.0, seconds: float = 300.0) -> None:
    """Let pages tell of requests with a share inside the TPOT limit."""
    attained.ttft.add(None, Around(3.0, 3.0, requests, requests, requests))
    attained.tpot.add(None, Around(0.06, 0.06, share * requests, share * requests, requests))
    attained.charge((1.0 - share) * requests, requests, Objective())


# --- speed -----------------------------------------------------------------------------------------------------------


def test_a_step_model_is_learned_from_mean_steps_under_changing_loads() -> None:
    rng, speed, truth = np.random.default_rng(2), Speed(), (1.3, 0.8, 1.5, 0.6)
    step = GENERIC.step
    parts = (step.base_s, step.sequence_s, step.prompt_token_s, step.kv_token_s)
    for _ in range(600):
        n, prompt = rng.uniform(5, 120), rng.uniform(0, 900)
        x = (1.0, n, prompt, n * rng.uniform(500, 4000))
        step_s = sum(f * p * v for f, p, v in zip(truth, parts, x, strict=True)) * rng.normal(1.0, 0.02)
        speed.learn(step, 0.7, step_s, x[1], x[2], x[3], 5.0)
    assert speed.factors == pytest.approx(list(truth), rel=0.15)


def test_what_pages_never_vary_stays_as_believed() -> None:
    speed = Speed()
    for _ in range(500):
        speed.learn(GENERIC.step, 0.7, GENERIC.step.base_s, 1.0, 0.0, 0.0, 5.0)
    assert speed.factors[2:] == [1.0, 1.0]


def test_one_absurd_step_moves_nothing_much() -> None:
    speed = Speed()
    for _ in range(200):
        speed.learn(GENERIC.step, 0.7, 0.03, 20.0, 100.0, 30_000.0, 5.0)
    before = speed.model(GENERIC.step).base_s
    speed.learn(GENERIC.step, 0.7, 30.0, 20.0, 100.0, 30_000.0, 5.0)
    assert speed.model(GENERIC.step).base_s == pytest.approx(before, rel=0.1)


# --- sizes -----------------------------------------------------------------------------------------------------------


def histogram(bounds: tuple[float, ...], counts: tuple[float, ...]) -> Histogram:
    return Histogram((*bounds, math.inf), counts, 0.0)


def test_the_tokens_a_step_holds_are_read_off_where_larger_prompts_came() -> None:
    steps = histogram((256.0, 512.0, 1024.0), (900.0, 1000.0, 1000.0, 1000.0))
    assert step_limit(steps, histogram((500.0, 1000.0), (100.0, 200.0, 300.0))) == 512.0


def test_small_prompts_say_nothing_of_what_a_step_holds() -> None:
    steps = histogram((256.0, 512.0, 1024.0), (900.0, 1000.0, 1000.0, 1000.0))
    assert step_limit(steps, histogram((500.0, 1000.0), (300.0, 300.0, 300.0))) is None


def test_a_shape_keeps_the_mean_that_counters_tell() -> None:
    shape = Shape()
    shape.add(None, histogram((10.0, 100.0, 1000.0), (100.0, 400.0, 990.0, 1000.0)), 1.0)
    sizes = shape.sizes(321.0)
    assert sizes is not None
    assert sizes.mean == pytest.approx(321.0, rel=0.01)
    assert sizes.shares == pytest.approx((0.1, 0.3, 0.59, 0.01))


def test_a_restarted_server_s_buckets_are_a_new_beginning() -> None:
    shape = Shape()
    shape.add(None, histogram((10.0,), (300.0, 300.0)), 1.0)
    shape.add(histogram((10.0,), (300.0, 300.0)), histogram((10.0,), (5.0, 50.0)), 1.0)
    assert shape.counts == [305.0, 45.0]


# --- forecast --------------------------------------------------------------------------------------------------------


def fed(
    rate: float, seconds: float, forecast: Forecast, window: Window, from_s: float
) -> tuple[float, tuple[float, ...]]:
    found: tuple[float, tuple[float, ...]] = (0.0, ())
    for k in range(int(seconds / 5.0)):
        now = from_s + 5.0 * (k + 1)
        window.add(now - 5.0, now, 5.0 * rate)
        found = forecast.observe(window, now, 120.0)
    return found


def test_a_steady_rate_narrows_the_forecast() -> None:
    forecast, window = Forecast(), Window(600.0, 1.0)
    rate, factors = fed(10.0, 3600.0, forecast, window, T0)
    assert rate == pytest.approx(10.0)
    assert factors[-1] - factors[0] < 0.04


def test_on_a_ramp_the_next_forecast_leans_with_the_errors() -> None:
    forecast, window = Forecast(), Window(600.0, 1.0)
    for k in range(40):
        _, factors = fed(10.0 * 1.05**k, 60.0, forecast, window, T0 + 60.0 * k)
    assert sum(factors) / len(factors) > 1.05


def test_no_trend_is_carried_past_its_end() -> None:
    forecast, window = Forecast(), Window(600.0, 1.0)
    for k in range(30):
        fed(10.0 * 1.05**k, 60.0, forecast, window, T0 + 60.0 * k)
    rate, _ = fed(40.0, 600.0, forecast, window, T0 + 1800.0)
    assert rate == pytest.approx(40.0, rel=0.01)


# --- headroom --------------------------------------------------------------------------------------------------------


def learned(curve: Curve, share: float, rate_rps: float, minutes: int = 30) -> float:
    headroom = Headroom()
    for _ in range(12 * minutes):
        requests = 40.0 * rate_rps
        headroom.learn(curve, requests, 40.0, requests, (1.0 - share) * requests, 5.0)
    return headroom.factor


def test_headroom_falls_where_pages_tell_fewer_good_requests_than_the_curve_and_rises_where_more() -> None:
    slope = line(0.15)
    # The curve gives 0.935 to 10 % more than 2 req/s: pages that tell so at 2 req/s make the factor 0.9.
    assert learned(slope, 0.95 - 0.15 * math.log(1.1), 2.0) == pytest.approx(1 / 1.1, abs=0.03)
    assert learned(slope, 0.95 + 0.15 * math.log(1.1), 2.0) == pytest.approx(1.1, abs=0.03)


def test_an_idle_fleet_that_meets_every_limit_proves_nothing() -> None:
    assert learned(line(0.15), 1.0, 0.1) == pytest.approx(1.0, abs=0.01)


def test_a_bad_minute_at_a_cliff_moves_the_factor_by_little() -> None:
    # Plain integral feedback read 0.6 of the share as a factor of 0.6 and oscillated.
    headroom, cliff = Headroom(), line(6.0)
    headroom.learn(cliff, 4800.0, 2400.0, 4800.0, 0.4 * 4800.0, 60.0)
    assert 0.90 < headroom.factor < 0.99


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_attainment_is_a_floor_so_a_little_more_is_aimed_at() -> None:
    assert asked_share(Attained(), Objective(), 10.0, None) == 1.0 - AIM_MISSES * 0.05 > 0.95


def test_what_is_owed_is_asked_of_those_that_follow_and_what_is_ahead_is_spent() -> None:
    behind, ahead = Attained(), Attained()
    pages(behind, 0.90)
    pages(ahead, 0.99)
    assert asked_share(behind, Objective(), 2.0, behind.share(Objective())) > 0.955
    assert asked_share(ahead, Objective(), 2.0, ahead.share(Objective())) < 0.945
    assert (
        caution(ahead, Objective(), 1.0, ahead.share(Objective()))
        < 0.9
        < caution(behind, Objective(), 1.0, behind.share(Objective()))
    )


def test_cheap_nights_never_pay_for_bad_peaks() -> None:
    # Far ahead over the day, but pages show 0.92 now: nothing more is spent.
    attained = Attained(owed=-50_000.0, offered=400_000.0)
    pages(attained, 0.92)
    assert asked_share(attained, Objective(), 10.0, attained.share(Objective())) >= 0.93 - 1e-9
    assert caution(attained, Objective(), 10.0, attained.share(Objective())) >= 1.0


def test_a_request_of_one_token_cannot_miss_its_time_per_token() -> None:
    attained = Attained()
    pages(attained, 0.90, requests=100.0)
    told = Told(firsts=200.0, first_low=200.0, first_high=200.0, eachs=100.0, each_low=90.0, each_high=90.0)
    assert attained.misses(told, Objective()) == pytest.approx(10.0)


def test_a_count_is_the_whole_number_nearest_unless_rounding_down_costs_too_much() -> None:
    steady = (1.0,) * 12
    gentle = count_for(line(0.05), 6.8, steady, 0.95, 1.0, 40, Price())
    assert (gentle.replicas, gentle.real) == (3, pytest.approx(3.4, rel=0.02))
    steep = count_for(line(1.0), 6.8, steady, 0.95, 1.0, 40, Price())
    assert (steep.replicas, steep.real) == (4, pytest.approx(3.4, rel=0.02))


def test_a_light_hour_gets_more_than_the_share_and_a_heavy_one_less() -> None:
    # 2 req/s a replica in the light hour, 1 in the heavy one, the same fall: there a replica wins half as much.
    light, steady = line(0.3), (1.0,) * 12
    heavy = Curve(light.rates_rps / 2.0, light.shares, light.ttft_shares, 4.0, light.running)
    price = Price()
    for _ in range(100):
        price.take(light, 20.0, steady, 0.95, 1.0, 60.0)
        price.take(heavy, 20.0, steady, 0.95, 1.0, 60.0)
    assert count_for(light, 20.0, steady, 0.95, 1.0, 99, price).share > 0.955
    assert count_for(heavy, 20.0, steady, 0.95, 1.0, 99, price).share < 0.945
    # Never further from the share than this: no hour pays for another.
    assert count_for(heavy, 20.0, steady, 0.95, 1.0, 99, price).share > 0.91


def test_where_the_objective_cannot_be_reached_it_comes_near_to_what_can() -> None:
    low = line(0.01)
    capped = Curve(low.rates_rps, np.minimum(low.shares, 0.93), low.ttft_shares, 8.0, low.running)
    assert count_for(capped, 6.0, (1.0,) * 12, 0.95, 1.0, 40, Price()).replicas < 40
