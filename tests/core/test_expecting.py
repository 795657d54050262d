"""What each rule expects: work, not requests."""

from __future__ import annotations

import pytest

from autoscaler.core import Planner
from autoscaler.core.capacity import Mix
from autoscaler.core.demand import SLOT_S, Demand
from autoscaler.core.expecting import Expecting
from autoscaler.core.fitting import Fitted
from autoscaler.core.priors import prior
from autoscaler.core.series import Window
from autoscaler.core.sizes import lognormal
from autoscaler.core.trials import RULES
from tests.fakes.observations import Fleet, run, without_samples

USUAL, SLOW = 0, 2


def fitted(prompt: float, output: float) -> Fitted:
    base = prior("llama-3.1-70b/a100x4")
    mix = Mix(lognormal(prompt, 1.0), lognormal(output, 1.0), held_tokens=1000.0)
    return Fitted(0.0, base.step, base.limits, mix, assumed=False)


def past(parts: list[tuple[float, float, float]]) -> tuple[Window, Demand, float]:
    """Seconds, requests per second and prompt tokens, part after part; gives when it ended."""
    arrivals, demand, at_s = Window(930.0, 1.0), Demand(), 0.0
    for seconds, rate_rps, prompt in parts:
        for _ in range(int(seconds / SLOT_S)):
            arrivals.add(at_s, at_s + SLOT_S, rate_rps * SLOT_S)
            demand.add(at_s, at_s + SLOT_S, rate_rps * SLOT_S, prompt, 100.0)
            at_s += SLOT_S
    return arrivals, demand, at_s


def rates(parts: list[tuple[float, float, float]], prompt: float, held_rps: float | None = None) -> list[float]:
    arrivals, demand, now = past(parts)
    expecting = Expecting()
    expecting.take(arrivals, demand, fitted(prompt, 100.0), held_rps, 120.0, now)
    return expecting.rates_rps


def test_a_request_that_came_while_they_were_small_counts_by_what_it_was() -> None:
    # ServeGen mlarge: 44 req/s of 390 prompt tokens, then 10 of 2,400: a quarter of an hour of it read as 33 of those.
    found = rates([(600.0, 44.0, 390.0), (300.0, 10.0, 2400.0)], 2400.0)
    requests = (600.0 * 44.0 + 300.0 * 10.0) / 900.0
    assert requests > 32.0
    assert 8.0 < found[SLOW] < 10.0  # 44 of them were the work of 8.6
    assert found[USUAL] == pytest.approx(10.0, rel=0.01)


def test_sizes_that_never_changed_change_no_rate() -> None:
    assert rates([(900.0, 8.0, 1000.0)], 1000.0) == pytest.approx([8.0] * len(RULES), rel=0.01)


def test_sizes_that_were_not_measured_weigh_what_they_do_now() -> None:
    assert rates([(300.0, 8.0, 0.0), (600.0, 8.0, 1000.0)], 1000.0) == pytest.approx([8.0] * len(RULES), rel=0.01)


def test_a_surge_is_followed_at_once_by_those_rules_that_follow_surges() -> None:
    found = rates([(840.0, 10.0, 1000.0), (60.0, 40.0, 1000.0)], 1000.0)
    assert found[USUAL] == pytest.approx(40.0, rel=0.02)
    assert found[SLOW] == pytest.approx(12.0, rel=0.02)


def test_while_gateways_hold_what_they_tell_is_all_there_is_to_it() -> None:
    assert rates([(900.0, 8.0, 1000.0)], 1000.0, held_rps=3.0) == [3.0] * len(RULES)


def test_the_largest_rate_is_remembered_for_as_long_as_a_rule_keeps_a_surplus_replica() -> None:
    expecting, one = Expecting(), fitted(1000.0, 100.0)
    arrivals, demand, now = past([(300.0, 30.0, 1000.0), (300.0, 5.0, 1000.0)])
    for at_s in (300.0, now):
        expecting.take(*past([(300.0, 30.0, 1000.0)])[:2] if at_s < now else (arrivals, demand), one, None, 120.0, at_s)
    assert expecting.peaks_rps[USUAL] == pytest.approx(30.0, rel=0.02)  # 504 s
    later_s = 300.0 + RULES[USUAL].kept_s(120.0) + SLOT_S
    expecting.take(arrivals, demand, one, None, 120.0, later_s)
    assert expecting.peaks_rps[USUAL] < 15.0


def test_time_in_which_nobody_watched_does_not_let_the_largest_rate_be_forgotten() -> None:
    expecting, one = Expecting(), fitted(1000.0, 100.0)
    expecting.take(*past([(300.0, 30.0, 1000.0)])[:2], one, None, 120.0, 300.0)
    dark_s = 2.0 * RULES[USUAL].kept_s(120.0)
    expecting.delay(dark_s)
    later, demand, _ = past([(300.0, 5.0, 1000.0)])
    expecting.take(later, demand, one, None, 120.0, 300.0 + dark_s + SLOT_S)
    assert expecting.peaks_rps[USUAL] == pytest.approx(30.0, rel=0.02)


def test_a_planner_that_sees_again_after_a_dark_of_five_minutes_remembers_its_largest_rate_as_if_it_was_none() -> None:
    fleet, planner = Fleet(), Planner()
    run(planner, fleet, [8.0] * 60 + [2.0] * 12, 3)
    past = planner._state.roles[""].expecting.past[SLOW]
    largest_s, _ = past.kept[0]
    for k in range(72, 132):
        planner.observe(without_samples(fleet.observe(fleet.start_s + 5.0 * k, 3, 2.0)), fleet.start_s + 5.0 * k)
    planner.observe(fleet.observe(fleet.start_s + 660.0, 3, 2.0), fleet.start_s + 660.0)
    assert past.kept[0][0] - largest_s == pytest.approx(300.0, abs=20.0)
