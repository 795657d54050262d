"""The replica's coefficients from measured runs: those with which the simulator itself comes closest.

Levenberg and Marquardt on the logarithms of simulated over measured TTFT and ITL, with a pseudo-Huber loss: what
is off by much more than 10 % (saturated front ends) counts by its size, not by its square.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from autoscaler.simulation import fleet as fleets
from autoscaler.simulation.engines import Floats, Params, new_requests
from autoscaler.simulation.fleet import create, new_fleet
from autoscaler.simulation.kernel import compiled
from loadtests.calibration_data import Point

ALONE = 60  # requests of a simulated synchronous run
SPREAD = 0.5  # sizes are uniform within this share of the nominal ones, either way
SCALE = 0.1  # of the loss, in logarithms
NUDGE = 0.05  # for slopes; runs end with whole requests, so that smaller steps measure noise
MOST_STEPS = 20  # of the search
ENOUGH = 1e-3  # a step in logarithms below which a fit is done
KV_TOKENS, SEQUENCES, STEP_TOKENS = 444_640.0, 1024, 8192.0  # Llama-3.1-8B on an H100 with vLLM's own defaults

_run = compiled(fleets.run)


class Seen(NamedTuple):
    """What a client measures: means over the requests that finished within the run."""

    ttft_s: float
    itl_s: float


def simulate(params: Params, point: Point, seed: int = 0) -> Seen:
    """One run of a sweep on one simulated replica; NaN if nothing finishes."""
    rng = np.random.default_rng(seed)
    longest_s = 10.0 * point.itl_s * point.shape[1] + 60.0
    count = ALONE if point.alone else max(1, math.floor(point.rate_rps * point.duration_s))
    gap_s = longest_s if point.alone else 1.0 / point.rate_rps
    until_s = (count + 1) * gap_s if point.alone else point.duration_s
    share = rng.uniform(1.0 - SPREAD, 1.0 + SPREAD, (2, count))
    sizes: Floats = np.rint(share * [[point.prompt_tokens], [point.shape[1]]]).astype(np.float64)
    requests = new_requests(np.arange(count, dtype=np.float64) * gap_s, sizes[0], sizes[1])
    fleet = new_fleet(requests, params, 1, np.zeros(count))
    create(fleet, -1.0, 0.0, 0.0)
    _run(fleet, params, until_s)
    done = (requests.finish_s >= 0.0) & (requests.finish_s <= until_s)
    if not done.any():
        return Seen(math.nan, math.nan)
    spent_s, gaps = (requests.finish_s - requests.first_s)[done].sum(), (requests.output_tokens - 1.0)[done].sum()
    return Seen(float((requests.first_s - requests.arrival_s)[done].mean()), float(spent_s / max(1.0, gaps)))


def off(params: Params, points: Sequence[Point], seed: int = 0) -> Floats:
    """Simulated over measured (TTFT, ITL) less 1, a row a point; NaN where one of them is not known."""
    pairs = [(*simulate(params, p, seed), p.ttft_s, p.itl_s) for p in points]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 4)
    ratio: Floats = table[:, :2] / table[:, 2:] - 1.0
    return ratio


def fit(
    points: Sequence[Point],
    kv_tokens: float = KV_TOKENS,
    sequences: int = SEQUENCES,
    step_tokens: float = STEP_TOKENS,
    each: Callable[[], object] = lambda: None,
) -> Params:
    """base, sequence, prompt token, KV token, overhead and overlap that bring the simulator closest to the points.

    `each` is called once per simulation of all points.
    """
    base_s = min(p.itl_s for p in points)
    # Where the search begins, as shares of the fastest step; dense models of 8 to 70 billion parameters are near it.
    theta = np.log([*(base_s * np.array([1.0, 3e-3, 3.5e-3, 7e-6, 1.0])), 1.0])

    def params_of(logs: Floats) -> Params:
        a, b_d, b_p, c, overhead, odds = (float(value) for value in np.exp(logs))
        return Params(a, b_d, b_p, c, kv_tokens, sequences, step_tokens, 0.0, overhead, odds / (1.0 + odds))

    def logs_off(logs: Floats) -> Floats:
        each()
        found: Floats = np.log1p(off(params_of(logs), points)).ravel()
        return found

    here, damping = logs_off(theta), 1e-2
    slope: Floats | None = None
    for _ in range(MOST_STEPS):
        if slope is None:
            sides = [(logs_off(theta + NUDGE * one), logs_off(theta - NUDGE * one)) for one in np.eye(len(theta))]
            slope = np.stack([(above - below) / (2.0 * NUDGE) for above, below in sides], axis=1)
        known = np.isfinite(here) & np.isfinite(slope).all(axis=1)
        weight = 1.0 / np.sqrt(1.0 + (here[known] / SCALE) ** 2)
        square = slope[known].T @ (slope[known] * weight[:, None])
        pull = slope[known].T @ (weight * here[known])
        step = -np.linalg.solve(square + damping * np.diag(np.diag(square)), pull)
        there = logs_off(theta + step)
        if _loss(there) < _loss(here):
            theta, here, damping, slope = theta + step, there, damping / 3.0, None
            if np.abs(step).max() < ENOUGH and damping < 1.0:
                break
        elif (damping := damping * 5.0) > 1e6:
            break
    return params_of(theta)


def _loss(logs: Floats) -> float:
    return float(np.nansum(np.sqrt(1.0 + (logs / SCALE) ** 2) - 1.0))
