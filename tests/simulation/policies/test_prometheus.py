"""What a Prometheus makes of pages, by hand."""

from __future__ import annotations

import pytest

from autoscaler.simulation.engines import TPOT_BOUNDS, TTFT_BOUNDS
from autoscaler.simulation.policies.prometheus import (
    hit_share,
    is_gone,
    mean_output_tokens,
    mean_prompt_tokens,
    tpot_quantile,
    ttft_quantile,
)
from autoscaler.simulation.policies.rates import Recent
from tests.fakes.views import totals, view


def two_pages() -> Recent:
    """In a minute: 40 first tokens of 50,000 prompt tokens, 10,000 of them cached; 20 finished after 5,000 tokens."""
    ttft, tpot = [0] * (len(TTFT_BOUNDS) + 1), [0] * (len(TPOT_BOUNDS) + 1)
    ttft[TTFT_BOUNDS.index(0.5)], ttft[TTFT_BOUNDS.index(1.0)] = 30, 10
    tpot[TPOT_BOUNDS.index(0.05)] = 20
    before = totals(prompt_tokens=7e3, cached_tokens=1e3, generated_tokens=2e3, finished=9.0, first_tokens=9.0)
    after = totals(
        prompt_tokens=57e3,
        cached_tokens=11e3,
        generated_tokens=7e3,
        finished=29.0,
        first_tokens=49.0,
        ttft=ttft,
        tpot=tpot,
    )
    recent = Recent(60.0)
    recent.add(view(at_s=0.0, totals_=before))
    recent.add(view(at_s=60.0, totals_=after))
    return recent


def test_means_are_increases_over_increases() -> None:
    assert mean_prompt_tokens(two_pages()) == 1250.0
    assert mean_output_tokens(two_pages()) == 250.0
    assert hit_share(two_pages()) == 0.2


def test_quantiles_are_interpolated_within_their_bucket() -> None:
    # 30 up to 0.5 s (above 0.25), 10 up to 1 s (above 0.75): 0.95 is the 38th, 8 of 10 into the last bucket.
    assert ttft_quantile(two_pages(), 0.95) == pytest.approx(0.75 + 0.8 * 0.25)
    assert ttft_quantile(two_pages(), 0.5) == pytest.approx(0.25 + 20 / 30 * 0.25)
    assert tpot_quantile(two_pages(), 0.5) == pytest.approx(0.025 + 0.5 * 0.025)


def test_a_window_in_which_nothing_happened_has_no_mean_and_no_quantile() -> None:
    recent = Recent(60.0)
    recent.add(view(at_s=0.0))
    assert mean_prompt_tokens(recent) == mean_output_tokens(recent) == hit_share(recent) == 0.0
    assert ttft_quantile(recent, 0.95) is None
    assert tpot_quantile(recent, 0.95) is None


def test_a_series_ends_with_the_scrape_that_failed_and_a_rate_with_its_window() -> None:
    page = view(at_s=100.0)
    # The next scrape is due at 115 s; half a scrape later it has failed.
    assert [is_gone(page, now_s) for now_s in (100.0, 115.0, 122.5, 122.6)] == [False, False, False, True]
    assert [is_gone(page, now_s, 60.0) for now_s in (160.0, 160.1)] == [False, True]
