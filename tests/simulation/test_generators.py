"""Every generator against the distribution it claims."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.simulation import fleet as fleets
from autoscaler.simulation.engines import FINISHED, LLAMA_70B_H100X4, new_requests
from autoscaler.simulation.fleet import create, new_fleet
from autoscaler.simulation.kernel import compiled
from autoscaler.simulation.scenario import Scenario, Starts
from autoscaler.simulation.trace import Trace
from autoscaler.simulation.traffic import (
    SHIFT_S,
    flash_crowd,
    mix_shift,
    multiply,
    poisson,
    ramp_rate,
    step_rate,
    window,
)
from autoscaler.simulation.world import World
from tests.simulation.significance import NORMAL, exponential, fits, same_mix, standard_normal, uniform

HOUR_S = 3600.0
SIZES = np.random.default_rng(11)
MIX = Trace(np.zeros(500), SIZES.lognormal(6.0, 1.0, 500).round() + 1.0, SIZES.lognormal(4.0, 1.0, 500).round() + 1.0)


def hour_with_a_ramp(rps: float = 4.0) -> Trace:
    """An hour whose rate trebles, the busier the longer its prompts."""
    rng = np.random.default_rng(1)
    trace = poisson(ramp_rate(rps / 2.0, 1.5 * rps, 0.0, HOUR_S), 0.0, HOUR_S, 2.0 * rps, MIX, rng)
    return trace._replace(prompt_tokens=trace.prompt_tokens + np.floor(trace.arrival_s))


# --- starts ----------------------------------------------------------------------------------------------------------


def test_starts_are_uniform_within_their_jitter_and_node_waits_are_independent_of_them() -> None:
    rng = np.random.default_rng(2)
    node_s, start_s = np.array([Starts(120.0, 45.0, 0.2).draw(rng) for _ in range(4000)]).T
    assert uniform(start_s, 96.0, 144.0)
    assert uniform(node_s, 36.0, 54.0)
    # The correlation of n independent pairs has a standard error of 1 / sqrt(n).
    assert abs(np.corrcoef(node_s, start_s)[0, 1]) < NORMAL / np.sqrt(4000)
    assert Starts(120.0, 45.0).mean_s == 165.0


def test_without_jitter_every_start_is_the_same() -> None:
    rng = np.random.default_rng(2)
    assert {Starts(120.0, 45.0, 0.0).draw(rng) for _ in range(10)} == {(45.0, 120.0)}


# --- more and less traffic -------------------------------------------------------------------------------------------


def test_thinning_keeps_each_request_with_one_chance_and_moves_none() -> None:
    trace = hour_with_a_ramp()
    thin = multiply(trace, 0.3, np.random.default_rng(3))
    assert np.isin(thin.arrival_s, trace.arrival_s).all()
    whole, kept = (np.histogram(t.arrival_s, 60, (0.0, HOUR_S))[0] for t in (trace, thin))
    assert standard_normal((kept - 0.3 * whole) / np.sqrt(0.21 * whole))  # each minute's count is binomial
    assert abs(kept.sum() - 0.3 * whole.sum()) < NORMAL * np.sqrt(0.21 * whole.sum())
    assert same_mix(thin.prompt_tokens, trace.prompt_tokens)
    assert same_mix(thin.output_tokens, trace.output_tokens)


@pytest.mark.parametrize("factor", [3.0, 2.6])
def test_copies_follow_the_one_minute_rate_curve_smeared_by_half_a_minute(factor: float) -> None:
    trace = hour_with_a_ramp()
    more = multiply(trace, factor, np.random.default_rng(4))
    minutes = np.arange(60) * 60.0
    # The chance that a request at t lands in a minute is the overlap of [t - 30, t + 30] with it.
    low, high = trace.arrival_s[:, None] - SHIFT_S, trace.arrival_s[:, None] + SHIFT_S
    chance = np.clip(np.minimum(high, minutes + 60.0) - np.maximum(low, minutes), 0.0, None) / (2.0 * SHIFT_S)
    whole, part = int(factor), factor - int(factor)
    expected = factor * chance.sum(axis=0)
    variance = (whole * chance * (1.0 - chance) + part * chance * (1.0 - part * chance)).sum(axis=0)
    counts = np.histogram(more.arrival_s, 60, (0.0, HOUR_S))[0]
    inner = slice(1, 59)  # copies that would fall outside the trace are cut at its ends
    assert standard_normal(((counts - expected) / np.sqrt(variance))[inner])
    # Smearing leaves the ramp itself alone: the counts follow its rate as the original's own do.
    rate = 120.0 + 240.0 * (minutes + 30.0) / HOUR_S
    deviations = (counts - factor * rate) / np.sqrt(variance + factor**2 * rate)
    assert standard_normal(deviations[inner])
    assert abs(counts[inner].sum() / (factor * rate[inner].sum()) - 1.0) < NORMAL / np.sqrt(rate[inner].sum())


def test_copies_keep_the_mix_in_every_part_of_the_hour() -> None:
    trace = hour_with_a_ramp()
    more = multiply(trace, 4.0, np.random.default_rng(5))
    pairs = set(zip(trace.prompt_tokens.tolist(), trace.output_tokens.tolist(), strict=True))
    assert pairs.issuperset(zip(more.prompt_tokens.tolist(), more.output_tokens.tolist(), strict=True))
    for from_s in (300.0, 2700.0):
        copies, original = window(more, from_s, from_s + 600.0), window(trace, from_s, from_s + 600.0)
        for ours, theirs in zip(copies[1:], original[1:], strict=True):
            # Four copies of one sample: its mean may be off by the requests that cross the edges alone.
            spread = theirs.std() / np.sqrt(len(theirs))
            assert abs(ours.mean() - theirs.mean()) < NORMAL * spread


# --- made traffic ----------------------------------------------------------------------------------------------------


def test_a_poisson_stream_has_independent_exponential_gaps_and_the_sizes_of_its_mix() -> None:
    trace = poisson(step_rate(3.0, 3.0, 0.0), 100.0, 1600.0, 6.0, MIX, np.random.default_rng(6))
    gaps = np.diff(trace.arrival_s)
    assert exponential(gaps, 1.0 / 3.0)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < NORMAL / np.sqrt(len(gaps))
    assert abs(len(trace.arrival_s) - 4500) < NORMAL * np.sqrt(4500)
    assert same_mix(trace.prompt_tokens, MIX.prompt_tokens)
    assert same_mix(trace.output_tokens, MIX.output_tokens)
    pairs = set(zip(MIX.prompt_tokens.tolist(), MIX.output_tokens.tolist(), strict=True))
    assert pairs.issuperset(zip(trace.prompt_tokens.tolist(), trace.output_tokens.tolist(), strict=True))


def test_a_ramp_and_a_step_are_poisson_in_the_time_of_their_own_rate() -> None:
    rng = np.random.default_rng(7)
    ramp = poisson(ramp_rate(1.0, 9.0, 200.0, 800.0), 0.0, 1000.0, 10.0, MIX, rng).arrival_s
    inner = np.clip(ramp - 200.0, 0.0, 600.0)
    work = np.minimum(ramp, 200.0) + inner + inner**2 * 8.0 / 1200.0 + 9.0 * np.clip(ramp - 800.0, 0.0, None)
    assert exponential(np.diff(work))
    step = poisson(step_rate(2.0, 8.0, 300.0), 0.0, 600.0, 8.0, MIX, rng).arrival_s
    assert exponential(np.diff(2.0 * np.minimum(step, 300.0) + 8.0 * np.clip(step - 300.0, 0.0, None)))
    assert fits([(step < 300.0).sum(), (step >= 300.0).sum()], [600.0, 2400.0], fixed_total=False)


def test_a_rate_above_the_bound_it_was_given_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected 0 to 2"):
        poisson(step_rate(1.0, 3.0, 10.0), 0.0, 20.0, 2.0, MIX, np.random.default_rng(8))


def test_a_flash_crowd_multiplies_one_span_and_touches_nothing_else() -> None:
    trace = poisson(step_rate(5.0, 5.0, 0.0), 0.0, 1200.0, 5.0, MIX, np.random.default_rng(9))
    crowd = flash_crowd(trace, 400.0, 4.5, 200.0, np.random.default_rng(10))
    before, inside = window(trace, 0.0, 400.0), window(trace, 400.0, 600.0)
    for ours, theirs in zip(window(crowd, 0.0, 400.0), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(window(crowd, 600.0, 1200.0), window(trace, 600.0, 1200.0), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    many = window(crowd, 400.0, 600.0)
    count = len(inside.arrival_s)
    assert np.isin(inside.arrival_s, many.arrival_s).all()
    assert abs(len(many.arrival_s) - 4.5 * count) < NORMAL * np.sqrt(0.25 * count)
    assert uniform(many.arrival_s[~np.isin(many.arrival_s, inside.arrival_s)], 400.0, 600.0)
    assert same_mix(many.prompt_tokens, inside.prompt_tokens)
    assert (np.diff(crowd.arrival_s) >= 0.0).all()


def test_a_flash_crowd_of_factor_one_is_the_trace_itself_and_less_is_an_error() -> None:
    trace = hour_with_a_ramp()
    for ours, theirs in zip(flash_crowd(trace, 600.0, 1.0, 60.0, np.random.default_rng(0)), trace, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="expected 1 or more"):
        flash_crowd(trace, 600.0, 0.5, 60.0, np.random.default_rng(0))


def test_a_mix_shift_scales_sizes_from_its_moment_on_to_whole_tokens() -> None:
    trace = Trace(np.array([0.0, 9.9, 10.0, 11.0]), np.array([7.0, 7.0, 7.0, 1.0]), np.array([3.0, 3.0, 3.0, 1.0]))
    shifted = mix_shift(trace, 10.0, 2.5, 0.4)
    assert shifted.prompt_tokens.tolist() == [7.0, 7.0, 18.0, 2.0]
    assert shifted.output_tokens.tolist() == [3.0, 3.0, 1.0, 1.0]
    np.testing.assert_array_equal(shifted.arrival_s, trace.arrival_s)


# --- routing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("routing", [fleets.RANDOM, fleets.LEAST_LOADED])
def test_random_routing_and_the_choice_among_equals_are_uniform(routing: int) -> None:
    count, replicas = 5000, 7
    # So far apart that every replica is idle at every arrival: for least-loaded routing all are equal.
    requests = new_requests(np.arange(count) * 10.0, np.full(count, 10.0), np.full(count, 2.0))
    luck = np.random.default_rng(12).random(count)
    fleet = new_fleet(requests, LLAMA_70B_H100X4, replicas, luck, routing)
    for _ in range(replicas):
        create(fleet, -1.0, 0.0, 0.0)
    compiled(fleets.run)(fleet, LLAMA_70B_H100X4, count * 10.0)
    assert fits(fleet.engines.ints[:, FINISHED], np.full(replicas, count / replicas))


def test_a_worlds_routing_luck_is_uniform_and_differs_by_seed() -> None:
    scenario = Scenario(hour_with_a_ramp(), 0.0, HOUR_S, LLAMA_70B_H100X4)
    one, other = (World(scenario, seed).fleet.luck for seed in (0, 1))
    assert uniform(one)
    assert uniform(other)
    assert abs(np.corrcoef(one, other)[0, 1]) < NORMAL / np.sqrt(len(one))
