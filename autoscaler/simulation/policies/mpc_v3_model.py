"""What MPC v3 believes: how many requests come, and what one worker carries; source and choices as in `mpc_v3`."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from autoscaler.simulation.engines import Floats, Params

TICK_S = 5.0
BIN_S = 15.0
TREND_S = 120.0
SNAP_SIGMA, SNAP_LEAST = 2.5, 5.0  # standard deviations of a bin, requests
P80 = 0.84  # standard deviations
KV_FRACTION, MOST_CONCURRENT = 0.9, 256.0
MOST_PREFILL_SHARE = 0.95
BIAS_ALPHA, LEAST_BIAS, MOST_BIAS = 0.1, 0.25, 4.0
FIRST_PROMPT, FIRST_OUTPUT = 512.0, 128.0  # tokens, before any request


class Forecaster:
    """Arrival rate: an EWMA over 15 s bins that restarts at a step, with a trend where it is significant."""

    def __init__(self, tau_s: float, plan_s: float) -> None:
        self.alpha = min(1.0, BIN_S / max(BIN_S, tau_s))
        self.plan_s = plan_s
        self.history: deque[float] = deque(maxlen=round(TREND_S / BIN_S))
        self.known: float | None = None
        self.count = self.seconds = 0.0

    @property
    def level(self) -> float:
        """Requests per second; before the first bin is full, of what there is of it."""
        if self.known is not None:
            return self.known
        return self.count / self.seconds if self.seconds else 0.0

    def add(self, count: float, seconds: float) -> None:
        """Take the arrivals of one tick."""
        self.count += count
        self.seconds += seconds
        if self.seconds < BIN_S - 1e-9:
            return
        rate = self.count / self.seconds
        known = rate if self.known is None else self.known
        expected = known * self.seconds
        if abs(self.count - expected) > max(SNAP_SIGMA * math.sqrt(max(1.0, expected)), SNAP_LEAST):
            self.known = rate
            self.history.clear()
        else:
            self.known = known + self.alpha * (rate - known)
        self.history.append(rate)
        self.count = self.seconds = 0.0

    def trend(self) -> float:
        """Requests per second, per second; 0 within two standard errors of none."""
        n = len(self.history)
        if n < 4:
            return 0.0
        x = BIN_S * (np.arange(n) - (n - 1) / 2.0)
        y = np.array(self.history) - sum(self.history) / n
        spread = float(x @ x)
        slope = float(x @ y) / spread
        left = y - slope * x
        error = math.sqrt(max(float(left @ left), 1e-12) / (n - 2) / spread)
        return slope if abs(slope) > 2.0 * error else 0.0

    def plan(self, steps: int) -> tuple[Floats, float]:
        """Mean rate of every step to come, and what to add for the 80th percentile."""
        level = self.level
        mean = np.clip(level + self.trend() * TICK_S * np.arange(1, steps + 1), 0.5 * level, 2.0 * level)
        variance = level * (self.alpha / ((2.0 - self.alpha) * BIN_S) + 1.0 / self.plan_s)
        return mean, P80 * math.sqrt(variance)


class Plant:
    """What one worker carries at the present sizes: prefill and decode share it."""

    def __init__(self, profile: Params) -> None:
        self.profile = profile
        self.bias = 1.0
        self.resize(FIRST_PROMPT, FIRST_OUTPUT, 0.0)

    def resize(self, prompt: float, output: float, hit: float) -> None:
        """Sizes in tokens, and the share of prompts that the cache has."""
        p = self.profile
        self.output = max(1.0, output)
        self.prefill_s = p.base_s + p.prompt_token_s * max(1.0, prompt * (1.0 - hit))
        self.each_s = p.sequence_s + p.kv_token_s * (prompt + self.output / 2.0)  # of a step, per sequence
        self.cap = max(1.0, min(MOST_CONCURRENT, KV_FRACTION * p.kv_tokens / (prompt + self.output)))
        saturated = max(1.0, min(self.cap, float(p.sequences)))
        full_s = p.base_s + self.each_s * saturated
        self.unbiased_rps = 1.0 / (self.prefill_s + self.output * full_s / saturated)
        self.saturated_itl_s = self.prefill_s + full_s

    @property
    def rps(self) -> float:
        """Requests per second of a saturated worker."""
        return self.bias * self.unbiased_rps

    def itl_s(self, load: Floats) -> Floats:
        """Mean ITL of a worker without a backlog, at its requests per second."""
        base_s = self.profile.base_s
        room = np.maximum(1.0 - load * self.output * self.each_s, 1e-9)
        concurrency = load * (self.prefill_s + self.output * base_s) / room
        step_s = base_s + self.each_s * np.minimum(np.maximum(concurrency, 1.0), self.cap)
        return np.asarray(step_s / (1.0 - np.minimum(MOST_PREFILL_SHARE, load * self.prefill_s)))

    def learn(self, completed_rps: float) -> None:
        """Take what a worker completed through a saturated tick."""
        ratio = min(MOST_BIAS, max(LEAST_BIAS, completed_rps / self.unbiased_rps))
        self.bias += BIAS_ALPHA * (ratio - self.bias)
