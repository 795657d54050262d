"""What a rule would have attained and cost, rehearsed: each law with the numbers of the failure it prevents."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.demand import SLOT_S, Demand
from autoscaler.core.rehearsal import AIMS, NEVER, Carried, Load, Rule, load_of, rehearse
from autoscaler.core.trials import RULES, Trials, Yard
from tests.fakes.curves import cliff, line

RULE = Rule(180.0, 240.0, 2.2, 0.999)
WEIGHTS_S = (1e-4, 1e-4)  # of a prompt token, of an output token
REQUEST_S = 0.11  # 1,000 and 100 of them


def record(rates: Sequence[float], prompts: Sequence[float], outputs: Sequence[float]) -> Demand:
    return Demand(array("d", rates), array("d", prompts), array("d", outputs))


def demand_of(rates: list[float], prompt: float = 1000.0) -> Demand:
    return record(rates, [prompt] * len(rates), [100.0] * len(rates))


def load(rates: list[float], cv2: float = 0.0) -> Load:
    return load_of(demand_of(rates), WEIGHTS_S, REQUEST_S, cv2, len(rates))


def at(one_load: Load, aim_rps: float, lead_s: float = 120.0) -> tuple[float, float]:
    shares, paid = rehearse(RULE, one_load, cliff(4.0), np.array([aim_rps]), Carried(), lead_s, 3.0, 100)
    return float(shares[0]), float(paid[0])


def test_a_steady_rate_below_what_replicas_clear_misses_nothing_and_above_it_everything() -> None:
    steady = load([36.0] * 400)
    assert at(steady, 3.6) == (1.0, 10.0)
    share, paid = at(steady, 4.5)  # 8 replicas carry 4.5 each, and clear 4
    assert paid == 8.0
    assert share < 0.1


def test_bursts_within_minutes_fill_the_queue_long_before_the_mean_rate_is_what_a_fleet_clears() -> None:
    # Static fleets under Azure 2024 conversation missed 7 % at 0.88 of what they clear; the closed form said none.
    rng = np.random.default_rng(1)
    # A quarter from slot to slot: what 18 % of counted bursts were taken for when sizes were added to them once more.
    rough = load([float(rate) for rate in 36.0 * rng.gamma(15.0, 1.0 / 15.0, 400)], cv2=1.0)
    steady = load([36.0] * 400)
    assert at(steady, 3.65)[0] == 1.0
    assert at(rough, 3.65)[0] < 0.97


def test_sizes_that_vary_add_to_the_spread_of_a_slot() -> None:
    rng = np.random.default_rng(1)
    rates = [float(rate) for rate in 36.0 * rng.gamma(100.0, 0.01, 400)]
    assert at(load(rates, cv2=3.0), 3.65)[0] < at(load(rates, cv2=0.0), 3.65)[0]


def test_bursts_that_are_in_the_count_already_are_not_added_once_more_for_the_sizes() -> None:
    # Azure 2023 code, 512 tokens a step: 17 replicas kept all first tokens in time and were rehearsed at 0.90 without.
    rng = np.random.default_rng(4)
    counts = rng.negative_binomial(20.0, 20.0 / (20.0 + 36.0 * SLOT_S), 600)  # 28 times the variance of a Poisson one
    bursts, smooth = load([float(n) / SLOT_S for n in counts], cv2=1.0), load([float(n) / SLOT_S for n in counts])
    assert bursts.rough_rps.std() == pytest.approx(smooth.rough_rps.std(), rel=0.05)
    poisson = [float(n) / SLOT_S for n in rng.poisson(36.0 * SLOT_S, 600)]
    varied, even = load(poisson, cv2=1.0), load(poisson)
    assert varied.rough_rps.std() > 1.3 * even.rough_rps.std()  # sqrt(1 + 1) of what prompts are


@pytest.mark.parametrize("seed", range(4))
def test_bursts_shorter_than_a_start_cost_less_where_they_are_not_followed(seed: int) -> None:
    # Bursts of a minute, every few minutes and of any height, starts of two minutes: what a burst asks for serves when
    # it is over, and is kept for the next. The Azure 2023 code trace was served by twice the fleet it needs.
    rng, rates = np.random.default_rng(seed), []
    for _ in range(40):
        rates += [float(13.0 * rng.lognormal(1.0, 0.7))] * int(rng.integers(2, 6)) + [13.0] * int(rng.integers(15, 40))
    bursts, aims, costs = load(rates), np.geomspace(0.5, 8.0, 60), []
    for rule in (RULE, Rule(900.0, 600.0, 2.0, 0.999, NEVER)):
        shares, paid = rehearse(rule, bursts, cliff(4.0), aims, Carried(), 135.0, 3.0, 60)
        costs.append(float(paid[shares >= 0.95].min()))
    assert costs[1] < 0.8 * costs[0]


def test_a_step_up_is_missed_for_as_long_as_new_replicas_take() -> None:
    rates = [20.0] * 200 + [36.0] * 200
    late, later = at(load(rates), 3.0, 60.0)[0], at(load(rates), 3.0, 300.0)[0]
    assert later < late < 1.0


def test_larger_requests_weigh_more_than_they_count() -> None:
    demand = record([10.0] * 40, [1000.0] * 20 + [2000.0] * 20, [100.0] * 40)
    found = load_of(demand, WEIGHTS_S, 0.21, 0.0, 40)
    assert found.rates_rps[-1] == pytest.approx(10.0)
    assert found.rates_rps[0] < found.rates_rps[-1]


def test_sizes_that_were_not_measured_are_taken_as_today_s() -> None:
    # Assumed sizes of 1,000 and 200 before 1,300 and 1,500 were measured read as a fivefold burst of work, and a fleet
    # of reasoning requests was kept twice as large for hours.
    demand = record([2.0] * 40, [0.0] * 20 + [1000.0] * 20, [0.0] * 20 + [100.0] * 20)
    found = load_of(demand, WEIGHTS_S, REQUEST_S, 0.0, 40)
    assert found.rates_rps == pytest.approx(np.full(40, 2.0))


def test_a_night_is_rehearsed_at_the_day_s_level_with_the_grain_of_the_day() -> None:
    rng = np.random.default_rng(2)
    night = [float(count) / SLOT_S for count in rng.poisson(3.0 * SLOT_S, 600)]
    found = load(night + [30.0] * 300)
    assert found.rates_rps[100:300].mean() == pytest.approx(30.0, rel=0.1)
    # Relative to its level it shrinks with the root of it: 3 req/s in 15 s vary by 15 %, 30 by 5.
    assert found.rates_rps[100:300].std() / 30.0 < 0.07


def test_outputs_spread_over_a_request_s_life_so_their_sizes_make_no_bursts() -> None:
    # DeepSeek-R1: prompts vary with a squared coefficient of 8, but seven tenths of the work is decoding.
    rng = np.random.default_rng(3)
    rates = [float(rate) for rate in 4.0 * rng.gamma(30.0, 1.0 / 30.0, 400)]
    demand = record(rates, [1000.0] * 400, [1500.0] * 400)
    prompts_only = load_of(demand, (2.5e-4, 0.0), 0.25, 8.0, 400)
    decoding = load_of(demand, (1e-4, 1e-4), 0.25, 8.0, 400)
    assert decoding.rough_rps.std() < 0.6 * prompts_only.rough_rps.std()


def test_a_record_that_has_just_begun_is_not_blamed_for_what_came_before_it() -> None:
    # Twenty minutes after a restart a fleet of 3 was thought to need 14.
    young = load([36.0] * 12)
    assert at(young, 3.6)[0] == 1.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.0, 200.0), min_size=10, max_size=200),
    st.floats(0.0, 10.0),
    st.floats(0.0, 900.0),
    st.sampled_from(RULES),
)
def test_a_larger_aim_never_attains_more_and_never_costs_more(
    rates: list[float], cv2: float, lead_s: float, rule: Rule
) -> None:
    aims = 3.0 * np.array(AIMS)
    shares, paid = rehearse(rule, load(rates, cv2), line(0.2), aims, Carried(), lead_s, 3.0, 50)
    assert (np.diff(shares) <= 1e-12).all()
    assert (np.diff(paid) <= 1e-9).all()
    assert ((shares >= 0.0) & (shares <= 1.0 + 1e-9)).all()
    assert ((paid >= 1.0) & (paid <= 50.0)).all()


YARD = Yard(cliff(4.0), Carried(), 4.0, WEIGHTS_S, 1.0, 135.0, 3.0, 100)


def rehearsed(rates: list[float]) -> Trials:
    trials = Trials()
    for _ in range(20):
        trials.go_on(demand_of(rates), YARD, 0.95)
    return trials


def test_the_usual_rule_is_followed_while_it_is_not_much_dearer_than_another() -> None:
    rng = np.random.default_rng(4)
    trials = rehearsed([float(rate) for rate in 36.0 * rng.gamma(100.0, 0.01, 600)])
    assert trials.following == 0


def test_bursts_every_few_minutes_make_it_keep_what_the_last_ones_needed() -> None:
    # Azure 2023 code: next to nothing for minutes, then a minute of 60 req/s; replicas take two minutes.
    rates = ([1.0] * 56 + [60.0] * 4) * 15
    trials = rehearsed(rates)
    assert trials.rule.keep_s == 1800.0


def test_before_anything_was_rehearsed_a_replica_stays_well_below_what_it_clears() -> None:
    # The closed form gave 6.5 of 6.9 req/s to each of three replicas of a new service: 0.13 were in time.
    aim = Trials().aim(0.95, YARD, 0.0)
    assert 0.7 * 4.0 < aim.rate_rps < 0.85 * 4.0
    assert aim.share >= 0.95 - 1e-9


def test_leaning_moves_the_aim_by_just_so_much() -> None:
    straight, leaning = (Trials().aim(0.95, YARD, lean) for lean in (0.0, 0.1))
    assert math.log(leaning.rate_rps / straight.rate_rps) == pytest.approx(0.1)
    assert leaning.share < straight.share
