"""What coarse buckets tell of a limit between their bounds."""

from __future__ import annotations

import bisect
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core import histogram as hist
from autoscaler.core.records import Histogram

VLLM_TPOT = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, math.inf)


def filled(values: list[float], bounds: tuple[float, ...] = VLLM_TPOT) -> Histogram:
    counts = [0] * len(bounds)
    for value in values:
        counts[bisect.bisect_left(bounds, value)] += 1
    total = 0
    cumulative = [float(total := total + count) for count in counts]
    return Histogram(bounds, tuple(cumulative), sum(values))


@pytest.mark.parametrize("spread", [0.1, 0.2, 0.35])
@pytest.mark.parametrize("median_s", [0.04, 0.048, 0.055])
def test_a_limit_inside_a_bucket_is_read_within_two_points_where_times_are_lognormal(
    spread: float, median_s: float
) -> None:
    # vLLM's bounds 50 and 75 ms leave 60 ms in doubt: straight interpolation read 0.955 as 0.93 in the demo.
    rng = random.Random(1)
    values = [median_s * math.exp(rng.gauss(0.0, spread)) for _ in range(4000)]
    share = hist.share_within(filled(values), 0.06)
    assert share is not None
    truth = sum(value <= 0.06 for value in values) / len(values)
    assert share.middle == pytest.approx(truth, abs=0.02)
    assert share.low <= truth <= share.high


@given(st.lists(st.floats(1e-4, 5.0), min_size=1, max_size=200), st.floats(1e-3, 4.0))
def test_the_truth_lies_between_low_and_high_and_so_does_the_middle(values: list[float], limit: float) -> None:
    share = hist.share_within(filled(values), limit)
    assert share is not None
    truth = sum(value <= limit for value in values) / len(values)
    assert share.low - 1e-9 <= truth <= share.high + 1e-9
    assert share.low <= share.middle <= share.high


def test_a_limit_on_a_bound_is_exact_and_one_past_the_last_bound_claims_nothing() -> None:
    shape = filled([0.04, 0.06, 3.0])
    on = hist.share_within(shape, 0.05)
    past = hist.share_within(shape, 2.6)
    assert on is not None
    assert past is not None
    assert (on.low, on.middle, on.high) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert (past.low, past.middle) == pytest.approx((2 / 3, 2 / 3))


def test_two_separate_histograms_bound_what_meets_both_limits() -> None:
    one, other = hist.Share(0.9, 0.95, 1.0, 100), hist.Share(0.8, 0.9, 0.95, 50)
    both = hist.joint(one, other)
    assert (both.low, both.high) == pytest.approx((0.7, 0.95))
    assert both.middle == pytest.approx(0.855)
