"""How much faster than the official parser a page is read: `python -m loadtests.exposition_bench`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from autoscaler.exposition import SeriesCache, read_page
from autoscaler.modelservers import WANTED

PAGES = Path(__file__).parent.parent / "tests" / "data" / "metrics"
NAMES = ("vllm-0.32.0-busy", "vllm-0.32.0-dp2-busy", "dynamo-frontend-1.6.1-busy")
REPEATS = 15


def best_s(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """The fastest of several calls: what the machine's neighbours disturbed least."""
    times = []
    for _ in range(repeats):
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return min(times)


def main() -> None:
    """Print one row a page."""
    table = Table("page", "bytes", "official ms", "first ms", "again ms", "ratio", title="best of 15, one run")
    for name in NAMES:
        text = (PAGES / f"{name}.txt").read_text()
        cache = SeriesCache(WANTED)
        read_page(text, cache)
        official_s = best_s(lambda t=text: list(text_string_to_metric_families(t)))  # type: ignore[misc]
        first_s = best_s(lambda t=text: read_page(t, SeriesCache(WANTED)))  # type: ignore[misc]
        again_s = best_s(lambda t=text, c=cache: read_page(t, c))  # type: ignore[misc]
        row = (official_s * 1e3, first_s * 1e3, again_s * 1e3)
        table.add_row(name, str(len(text)), *(f"{ms:.2f}" for ms in row), f"{official_s / again_s:.0f}x")
    Console().print(table)


if __name__ == "__main__":
    main()
