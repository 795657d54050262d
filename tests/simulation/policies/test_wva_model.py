"""WVA's model-based analyzer on worked examples and in a small world."""

from __future__ import annotations

import pytest

from autoscaler.core.records import Objective
from autoscaler.simulation.engines import LLAMA_70B_H100X4, Params
from autoscaler.simulation.policies import wva_model
from autoscaler.simulation.policies.wva_model import Tuning, WvaModel
from autoscaler.simulation.scenario import Scenario, Starts
from autoscaler.simulation.view import View
from tests.fakes.small_worlds import SLOW, most_replicas, replicas_at, run_small, small_scenario, steps
from tests.fakes.views import deployment, totals, view

# 100 ms a step, one request of 10 and 1 tokens at a time: 5 a second, and a TTFT of 0.3989 s at 2.5 (see the model).
ONE = Params(0.1, 0.0, 0.0, 0.0, 15.0, 4, 1000.0)
LIMIT = Objective(ttft_s=0.39894, tpot_s=10.0)


def model(tuning: Tuning = Tuning.OFF, *, objective: Objective = LIMIT, share: float = 1.0) -> WvaModel:
    return WvaModel(deployment(profile=ONE, objective=objective), share, tuning)


def page(at_s: float, rps: float, *, ready: int = 2, cached: float = 0.0) -> View:
    """Requests of 10 and 1 tokens, a TTFT of 0.25 s and 0.1 s a token."""
    count = rps * at_s
    told = totals(
        prompt_tokens=10.0 * count,
        cached_tokens=10.0 * cached * count,
        generated_tokens=count,
        finished=count,
        first_tokens=count,
        ttft_s=0.25 * count,
        itl_s=0.1 * count,
        itl_count=count,
    )
    return view(at_s=at_s, waiting=[0] * ready, arrivals=round(count), totals_=told)


def decided(policy: WvaModel, rps: float) -> int:
    """After a minute of this rate."""
    for k in range(5):
        policy._see(page(15.0 * k, rps))
    return policy.decide(page(60.0, rps))


@pytest.mark.parametrize(("rps", "replicas"), [(1.0, 1), (2.4, 1), (6.0, 3), (24.0, 10)])
def test_replicas_are_arrivals_over_what_one_carries_within_the_limits(rps: float, replicas: int) -> None:
    assert decided(model(), rps) == replicas  # over 2.5


def test_a_share_of_the_limits_leaves_less_for_each() -> None:
    # A TTFT of 0.3 s allows 0.1 s of wait: rho / (1 - rho) x 0.2 = 0.1 at rho = 1/3: 1.667 a second.
    tight = model(objective=Objective(ttft_s=0.6, tpot_s=20.0), share=0.5)
    assert decided(tight, 6.0) == 4
    assert tight.most_rps(page(60.0, 6.0), 10.0, 1.0) == pytest.approx(5.0 / 3.0, rel=1e-3)


def test_where_no_rate_keeps_the_limits_it_repeats_itself() -> None:
    policy = model(objective=Objective(ttft_s=0.19, tpot_s=10.0))
    assert decided(policy, 6.0) == 2
    policy.desired = 7
    assert policy.decide(page(60.0, 6.0)) == 7


def test_the_published_settings_are_the_limits_themselves_learnt_or_profiled() -> None:
    chosen = [next(s for s in peer.settings if s.default).build(deployment()) for peer in wva_model.PEERS]
    for policy, (state, is_learning) in zip(chosen, ((None, True), ((0.0167277, 6.25152e-5), False)), strict=True):
        assert isinstance(policy, WvaModel)
        assert (policy.ttft_s, policy.itl_s, policy.is_learning) == (3.0, 0.060, is_learning)
        times = policy.tuner.times
        assert times is state or (times is not None and times[:2] == pytest.approx(state))
        assert policy.keda.up.stabilization_s == 240.0


def test_what_it_learns_from_is_the_last_minute_of_one_replica() -> None:
    policy = model(Tuning.SEEN)
    decided(policy, 3.0)
    assert policy._seen(page(60.0, 3.0), 10.0, 1.0, 1) == pytest.approx((1.5, 10.0, 1.0, 0.25, 0.1, 1))
    assert policy.tuner.times is not None


def test_cached_prompts_are_not_computed() -> None:
    profile = ONE._replace(prompt_token_s=0.05)
    answers = []
    for cached in (0.0, 0.5):
        policy = WvaModel(deployment(profile=profile, objective=Objective(5.0, 10.0)), 1.0, Tuning.OFF)
        for k in range(5):
            policy._see(page(15.0 * k, 6.0, cached=cached))
        answers.append(policy.decide(page(60.0, 6.0, cached=cached)))
    assert answers[1] < answers[0]


SMALL = deployment(profile=SLOW, objective=Objective(ttft_s=2.0, tpot_s=0.064), max_replicas=20)


@pytest.mark.parametrize("tuning", [Tuning.OFF, Tuning.PROFILE])
def test_in_a_small_world_a_step_is_followed_and_left(tuning: Tuning) -> None:
    run = run_small(
        WvaModel(SMALL, 1.0, tuning, is_fast=True),
        small_scenario(steps((120.0, 0.4), (480.0, 2.4), (900.0, 0.4)), 1500.0),
    )
    assert replicas_at(run, 119.0) == 1
    assert most_replicas(run) >= 3
    assert replicas_at(run, 1499.0) == 1


def test_in_a_world_what_it_sees_first_near_a_limit_is_all_it_ever_believes() -> None:
    # 8 a second are about what one replica of the reference takes at 60 ms a token; then twice that.
    trace = steps((300.0, 8.0), (300.0, 16.0), prompt_tokens=1250.0, output_tokens=200.0)
    world = Scenario(trace, 0.0, 600.0, LLAMA_70B_H100X4, Starts(60.0), max_replicas=20)
    seen = run_small(WvaModel(deployment(), 1.0, Tuning.SEEN, is_fast=True), world)
    profiled = run_small(WvaModel(deployment(), 1.0, Tuning.PROFILE, is_fast=True), world)
    assert most_replicas(seen) == 1
    assert replicas_at(profiled, 590.0) >= 3
