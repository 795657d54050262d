"""Measured load sweeps of real servers: what a row says, and which rows cannot be taken as they stand.

One file, one row a run: a model, a nominal (prompt, output) shape, one client at a time (`synchronous`) or evenly
spaced arrivals (`constant`), and what GuideLLM saw. `throughput` rows (everything at once) are left out.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from autoscaler.core.errors import ConfigError, Problem

NUMBERS = ("nominal_in", "nominal_out", "rps", "prompt_tokens", "output_tokens", "ttft_ms", "itl_ms")
UNSAID_DURATION_S = 600.0  # of the sweeps that do not say it (llm-inferno/model-trainer exp2: max_seconds 600)


@dataclass(frozen=True, slots=True)
class Point:
    """One run: its load, and the means over the requests that finished within it."""

    model: str
    shape: tuple[int, int]  # nominal tokens in and out; single requests are uniform within half of it either way
    alone: bool  # one request at a time
    rate_rps: float
    duration_s: float
    prompt_tokens: float  # mean
    ttft_s: float  # NaN where the source's mean is impossible
    itl_s: float
    highest: bool = False  # the sweep's highest rate


def read_sweeps(path: Path) -> list[Point]:
    """Every synchronous and constant run of a file. Raises ConfigError with every value that is no number."""
    with path.open(newline="") as file:
        rows = [(number, row) for number, row in enumerate(csv.DictReader(file), start=2)]
    wrong = [
        Problem(f"line {number}, {name}", repr(row.get(name)), "a number")
        for number, row in rows
        for name in NUMBERS
        if not _is_number(row.get(name))
    ]
    if wrong or not rows:
        raise ConfigError(str(path), tuple(wrong) or (Problem("line 1", "no rows", ",".join(NUMBERS)),))
    points = [_point(row) for _, row in rows if row["strategy"] in ("synchronous", "constant")]
    points.sort(key=lambda p: (p.model, p.shape, p.rate_rps))
    sweeps = itertools.groupby(points, key=lambda p: (p.model, p.shape))
    return [point for _, sweep in sweeps for point in _marked(list(sweep))]


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and math.isfinite(float(text))
    except ValueError:
        return False


def _point(row: dict[str, str]) -> Point:
    """One row; a rate that was not written down is worked out from the requests that finished.

    Those that began within a latency of the end did not: offered = finished / (1 - latency / duration).
    """
    duration_s = float(row["duration_s"] or UNSAID_DURATION_S)
    ttft_s, itl_s = float(row["ttft_ms"]) / 1e3, float(row["itl_ms"]) / 1e3
    latency_s = max(0.0, ttft_s) + itl_s * float(row["output_tokens"])
    rate_rps = float(row["offered_rps"] or 0.0) or float(row["rps"]) / (1.0 - latency_s / duration_s)
    return Point(
        row["model"],
        (int(row["nominal_in"]), int(row["nominal_out"])),
        row["strategy"] == "synchronous",
        rate_rps,
        duration_s,
        float(row["prompt_tokens"]),
        # Six of these means are below zero by days: single requests without a first token count from the epoch.
        ttft_s if ttft_s > 0.0 else math.nan,
        itl_s,
    )


def _marked(sweep: list[Point]) -> list[Point]:
    """Runs of one sweep by rate. One without a synchronous run has it first, under the wrong name.

    A GuideLLM sweep always begins with it (model-trainer's exp2: the rates of its raw files say which one it is).
    """
    marked = [replace(sweep[0], alone=sweep[0].alone or not any(p.alone for p in sweep)), *sweep[1:]]
    return [*marked[:-1], replace(marked[-1], highest=True)]


def halves(points: Iterable[Point]) -> tuple[list[Point], list[Point]]:
    """A checkerboard over the shapes: (even, odd) by the sum of their places among the sizes in and out."""
    listed = list(points)
    sizes_in, sizes_out = (sorted({p.shape[k] for p in listed}) for k in (0, 1))

    def parity(point: Point) -> int:
        return (sizes_in.index(point.shape[0]) + sizes_out.index(point.shape[1])) % 2

    return [p for p in listed if parity(p) == 0], [p for p in listed if parity(p) == 1]
