"""What a Prometheus in between makes of pages: series that end with a failed scrape, means and quantiles of a window.

Law: the window is a `Recent` that its owner feeds; nothing here keeps state.
"""

from __future__ import annotations

from autoscaler.simulation.engines import TPOT_BOUNDS, TTFT_BOUNDS
from autoscaler.simulation.policies.rates import Recent, bucket_quantile
from autoscaler.simulation.view import View

SCRAPE_S = 15.0
GAUGE_S = 1.5 * SCRAPE_S  # a failed scrape ends a gauge's series; half a scrape more tells late from failed
RATE_WINDOW_S = 60.0
SIZES_WINDOW_S = 300.0


def is_gone(view: View, now_s: float, after_s: float = GAUGE_S) -> bool:
    """Whether nothing was scraped for so long that a query is empty; a rate's window is empty only after its length."""
    return now_s - view.at_s > after_s


def mean_prompt_tokens(recent: Recent) -> float:
    """Tokens of a prompt, cached ones included; 0 without first tokens in the window."""
    old, new = recent.ends
    count = new.first_tokens - old.first_tokens
    return (new.prompt_tokens - old.prompt_tokens) / count if count > 0 else 0.0


def mean_output_tokens(recent: Recent) -> float:
    """Tokens generated for each request that finished; 0 without any in the window."""
    old, new = recent.ends
    count = new.finished - old.finished
    return (new.generated_tokens - old.generated_tokens) / count if count > 0 else 0.0


def hit_share(recent: Recent) -> float:
    """The share of prompt tokens found in the prefix cache."""
    old, new = recent.ends
    tokens = new.prompt_tokens - old.prompt_tokens
    return (new.cached_tokens - old.cached_tokens) / tokens if tokens > 0 else 0.0


def ttft_quantile(recent: Recent, share: float) -> float | None:
    """Seconds to the first token that this share of the window's requests kept; None without any."""
    old, new = recent.ends
    return bucket_quantile(TTFT_BOUNDS, new.ttft - old.ttft, share)


def tpot_quantile(recent: Recent, share: float) -> float | None:
    """Seconds per output token that this share of the window's requests kept; None without any."""
    old, new = recent.ends
    return bucket_quantile(TPOT_BOUNDS, new.tpot - old.tpot, share)
