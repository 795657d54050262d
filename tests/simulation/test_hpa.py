"""KEDA and the HPA against worked examples, and against what a real control plane did."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.simulation import hpa
from autoscaler.simulation.hpa import Answers, KedaParams, KedaState, desired_replicas, exact, new_keda, step
from autoscaler.simulation.kernel import compiled

UNSET = KedaParams(hpa.DEFAULT_UP, hpa.DEFAULT_DOWN, has_behavior=False)


def answers(*rows: tuple[float, float, bool, bool]) -> Answers:
    at, value, active, known = zip(*rows, strict=True)
    return Answers(np.array(at, float), np.array(value, float), np.array(active), np.array(known))


def asked(*rows: tuple[float, float]) -> Answers:
    return answers(*((at, value, value > 0, True) for at, value in rows))


def steps(state: KedaState) -> list[tuple[float, int, int]]:
    return [
        (float(state.step_s[i]), int(state.step_to[i]), int(state.step_by[i])) for i in range(state.ints[hpa.STEPS])
    ]


@pytest.mark.parametrize(
    ("replicas", "first_up", "first_down"),
    [(1, 2, 0), (9, 10, 8), (10, 12, 8), (20, 23, 17), (30, 34, 26), (50, 56, 44)],
)
def test_the_dead_band_of_the_default_tolerance(replicas: int, first_up: int, first_down: int) -> None:
    def acts(value: int) -> bool:
        return desired_replicas(float(value), 1.0, replicas, 0.1, 0.1) != replicas

    assert not any(acts(value) for value in range(first_down + 1, first_up))
    assert acts(first_up)
    assert acts(first_down)


def test_a_number_a_thousandth_above_n_asks_for_one_more() -> None:
    assert desired_replicas(5.001, 1.0, 3, 0.0, 0.0) == 6
    assert desired_replicas(5.0004, 1.0, 3, 0.0, 0.0) == 5


def test_without_behavior_it_doubles_or_takes_four() -> None:
    state = new_keda(UNSET, 1)
    step(UNSET, state, asked((0, 40)), 75)
    assert [to for _, to, _ in steps(state)] == [4, 8, 16, 32, 40]


def test_without_behavior_a_decrease_waits_for_the_window() -> None:
    state = new_keda(UNSET, 10)
    step(UNSET, state, asked((0, 10), (31, 5)), 1000)
    # Asked 10 last at the sync of 30 s; the first sync more than 300 s after it is that of 330 s.
    assert steps(state) == [(330.0, 5, hpa.BY_HPA)]


def test_what_the_hpa_finds_is_held_for_a_window() -> None:
    state = new_keda(UNSET, 10)
    step(UNSET, state, asked((0, 5)), 1000)
    # Asked 5 from the beginning; the 10 it found at 0 s count up to 300 s.
    assert steps(state) == [(300.0, 5, hpa.BY_HPA)]


def test_tolerance_zero_takes_every_step_exactly() -> None:
    params = exact(40)
    state = new_keda(params, 12)
    wanted = [12, 13, 12, 30, 29, 31, 1]
    step(params, state, asked(*((15.0 * i + 1, n) for i, n in enumerate(wanted))), 15.0 * len(wanted))
    assert [to for _, to, _ in steps(state)] == wanted[1:]


def test_asked_thirteen_of_twelve_stays_at_twelve_with_the_default_tolerance() -> None:
    state = new_keda(UNSET, 12)
    assert step(UNSET, state, asked((0, 13)), 3600) == 12


def test_a_push_wakes_at_once_and_the_hpa_adds_the_rest_at_its_next_sync() -> None:
    params = exact(40)
    state = new_keda(params, 0)
    step(params, state, asked((0, 0), (18, 7)), 60)
    assert steps(state) == [(18.0, 1, hpa.BY_PUSH), (30.0, 7, hpa.BY_HPA)]


def test_without_push_zero_waits_for_the_poll() -> None:
    params = exact(40)._replace(has_push=False)
    state = new_keda(params, 0)
    step(params, state, asked((0, 0), (18, 7)), 60)
    assert steps(state)[0] == (30.0, 1, hpa.BY_POLL)


def test_inactive_goes_from_any_number_to_zero_after_the_cooldown() -> None:
    params = exact(40)._replace(cooldown_s=100.0)
    state = new_keda(params, 5)
    # The value stays 5 so that the HPA has no part; the last active poll is that of 30 s.
    step(params, state, answers((0, 5, True, True), (40, 5, False, True)), 1000)
    assert steps(state) == [(150.0, 0, hpa.BY_POLL)]


def test_with_idle_replicas_zero_the_minimum_holds_only_while_active() -> None:
    params = exact(40, min_replicas=3)._replace(cooldown_s=100.0, idles_at_zero=True)
    state = new_keda(params, 5)
    # Asked 5 throughout; active until 40 s and from 700 s on. Back from zero to the minimum, and the HPA does the rest.
    step(params, state, answers((0, 5, True, True), (40, 5, False, True), (700, 5, True, True)), 1000)
    assert steps(state) == [(150.0, 0, hpa.BY_POLL), (700.0, 3, hpa.BY_PUSH), (705.0, 5, hpa.BY_HPA)]


def test_below_the_minimum_of_an_idling_object_only_activity_raises_it() -> None:
    params = exact(40, min_replicas=3)._replace(idles_at_zero=True)
    assert hpa.poll(params, new_keda(params, 2), 0.0, True, True) == 3
    assert hpa.poll(params._replace(initial_cooldown_s=60.0), new_keda(params, 2), 0.0, False, True) == 2
    assert hpa.poll(params._replace(idles_at_zero=False), new_keda(params, 2), 0.0, False, True) == 3


def test_an_object_never_active_has_no_cooldown_but_the_initial_one() -> None:
    for initial_s, zero_s in ((0.0, 0.0), (45.0, 60.0)):
        params = exact(40)._replace(initial_cooldown_s=initial_s)
        state = new_keda(params, 5)
        step(params, state, answers((0, 5, False, True)), 1000)
        assert steps(state)[0] == (zero_s, 0, hpa.BY_POLL)


def test_errors_hold_at_any_number() -> None:
    for replicas in (0, 7):
        state = new_keda(exact(40), replicas)
        assert step(exact(40), state, answers((0, 30, True, False)), 3600) == replicas
        assert not steps(state)


def test_at_zero_the_hpa_is_disabled() -> None:
    state = new_keda(exact(40), 0)
    assert hpa.sync(exact(40), state, 15.0, 0, 30.0, True) == 0


def test_outside_its_bounds_the_hpa_moves_without_reading_the_metric() -> None:
    params = exact(10, min_replicas=3)
    assert hpa.sync(params, new_keda(params, 12), 15.0, 12, 0.0, False) == 10
    assert hpa.sync(params, new_keda(params, 1), 15.0, 1, 0.0, False) == 3


def test_policies_count_what_their_period_already_added() -> None:
    up = hpa.policies((hpa.PODS, 4.0, 60.0), tolerance=0.0)
    params = KedaParams(up, hpa.DEFAULT_DOWN)
    state = new_keda(params, 2)
    step(params, state, asked((0, 20)), 80)
    assert [(at, to) for at, to, _ in steps(state)] == [(15.0, 6), (75.0, 10)]


def test_select_min_takes_the_slower_policy_and_disabled_none() -> None:
    two = ((hpa.PODS, 2.0, 15.0), (hpa.PERCENT, 100.0, 15.0))
    for select, after in ((hpa.SELECT_MAX, 16), (hpa.SELECT_MIN, 10), (hpa.DISABLED, 8)):
        params = KedaParams(hpa.policies(*two, select=select), hpa.DEFAULT_DOWN)
        assert hpa.sync(params, new_keda(params, 8), 15.0, 8, 50.0, True) == after
    for select, after in ((hpa.SELECT_MAX, 4), (hpa.SELECT_MIN, 6), (hpa.DISABLED, 8)):
        down = hpa.policies((hpa.PODS, 2.0, 15.0), (hpa.PERCENT, 50.0, 15.0), select=select)
        params = KedaParams(hpa.DEFAULT_UP, down)
        assert hpa.sync(params, new_keda(params, 8), 15.0, 8, 1.0, True) == after


def test_a_scale_up_window_waits_for_the_smallest_recommendation() -> None:
    params = KedaParams(hpa.policies((hpa.PODS, 50.0, 15.0), stabilization_s=60.0), hpa.DEFAULT_DOWN)
    state = new_keda(params, 4)
    step(params, state, asked((0, 4), (16, 9)), 200)
    assert steps(state)[0] == (75.0, 9, hpa.BY_HPA)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(1, 90), st.integers(0, 60), st.booleans()), min_size=1, max_size=20),
    st.lists(st.floats(0, 2000), max_size=10),
    st.sampled_from([UNSET, exact(40), KedaParams(hpa.DEFAULT_UP, hpa.DEFAULT_DOWN, max_replicas=25)]),
)
def test_stepping_more_often_changes_nothing_and_bounds_hold(
    rows: list[tuple[float, int, bool]], stops: list[float], params: KedaParams
) -> None:
    times = np.cumsum([gap for gap, _, _ in rows])
    given_answers = answers(*((float(t), n, n > 0, known) for t, (_, n, known) in zip(times, rows, strict=True)))
    once, often = new_keda(params, 3), new_keda(params, 3)
    step(params, once, given_answers, 2000)
    for stop in sorted(stops):
        step(params, often, given_answers, stop)
    step(params, often, given_answers, 2000)
    assert steps(once) == steps(often)
    assert all(0 <= to <= params.max_replicas for _, to, _ in steps(once))


def test_compiled_and_plain_agree() -> None:
    pytest.importorskip("numba", reason="needs the lab extra")
    rng = np.random.default_rng(5)
    given_answers = answers(
        *(
            (float(i * 7), int(rng.integers(0, 30)), bool(rng.random() < 0.7), bool(rng.random() < 0.9))
            for i in range(200)
        )
    )
    params = KedaParams(hpa.DEFAULT_UP, hpa.policies((hpa.PODS, 3.0, 30.0), stabilization_s=60.0), cooldown_s=40.0)
    plain, fast = new_keda(params, 2), new_keda(params, 2)
    assert step(params, plain, given_answers, 1500.0) == compiled(step)(params, fast, given_answers, 1500.0)
    assert steps(plain) == steps(fast)
    assert len(steps(plain)) > 20
