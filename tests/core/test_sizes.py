"""Buckets of long prompts are split: whether one can be in time is decided inside a bucket."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.capacity import Mix, curve
from autoscaler.core.priors import Limits, StepModel
from autoscaler.core.records import Objective
from autoscaler.core.sizes import LONG, PARTS, Sizes, from_buckets, lognormal
from autoscaler.simulation.engines import LLAMA_70B_H100X4, SIZE_BOUNDS

P = LLAMA_70B_H100X4
BOUNDS = (*SIZE_BOUNDS, math.inf)


def counts_of(values: np.ndarray) -> tuple[float, ...]:
    edges = np.searchsorted(np.sort(values), BOUNDS, side="right")
    return tuple(float(count) for count in np.diff(np.concatenate([[0], edges])))


def sizes_of(values: np.ndarray, long: float) -> Sizes:
    sizes = from_buckets(BOUNDS, counts_of(values), float(values.mean()), long=long)
    assert sizes is not None
    return sizes


def test_a_prompt_limit_inside_a_bucket_takes_away_parts_of_it_and_not_all_of_it() -> None:
    """Of prompts of 20,000 to 50,000 tokens some are in time, and how many changes with the load a little at a time.

    As one size, 2.8 % of the requests came and went between two rates (512 tokens a step).
    """
    values = np.random.default_rng(3).lognormal(7.5, 1.3, 20_000)
    step = StepModel(P.base_s, P.sequence_s, P.prompt_token_s, P.kv_token_s)
    limits = Limits(P.kv_tokens, P.sequences, 512.0)
    falls = []
    for long in (math.inf, LONG):
        one = curve(step, limits, Mix(sizes_of(values, long), lognormal(800.0, 1.0)), Objective(), 8)
        falls.append(float(-np.diff(one.ttft_shares[:30]).min()))
    whole, split = falls
    assert whole > 0.02
    assert split < whole / 3.0


@given(st.integers(0, 1000), st.floats(5.0, 8.5), st.floats(0.3, 1.5))
def test_split_or_not_the_mean_is_that_of_the_counters_and_shares_are_whole(
    seed: int, middle: float, spread: float
) -> None:
    values = np.random.default_rng(seed).lognormal(middle, spread, 2000).clip(1.0, 180_000.0)
    sizes = sizes_of(values, LONG)
    assert sum(sizes.shares) == pytest.approx(1.0)
    assert sizes.mean == pytest.approx(float(values.mean()), rel=0.02)
    assert sum(t >= LONG / 2.0 for t in sizes.tokens) % PARTS <= 1


def test_the_tail_inside_a_bucket_falls_as_it_does_from_bucket_to_bucket() -> None:
    """A power law of index 2.5: between 10,000 and 20,000 tokens the median is 12,300, not the middle of 14,100."""
    values = 1000.0 * np.random.default_rng(5).random(200_000) ** (-1.0 / 2.5)
    inside = sorted(t for t in sizes_of(values, LONG).tokens if 9_000.0 < t < 20_500.0)
    found = math.sqrt(inside[PARTS // 2 - 1] * inside[PARTS // 2])
    true = float(np.median(values[(values > 10_000.0) & (values < 20_000.0)]))
    assert found == pytest.approx(true, rel=0.06)
