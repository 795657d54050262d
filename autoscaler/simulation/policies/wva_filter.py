"""WVA's tuner: an extended Kalman filter on the times of its queueing model.

Source: llm-d WVA internal/engines/analyzers/queueingmodel (tuner, guess of the first state) and
llm-inferno/kalman-filter. State alpha, beta, gamma, which stay as they are; observations mean TTFT and ITL of one
replica at its arrival rate. Each step may move the state by 5 % (one sigma), observations have 5 % of error at 95 %;
the Jacobian is a symmetric difference of 1 %. An update is taken back if its normalized innovation squared is 7.378 or
more. The first state is read off the first observation, as if the iteration were alpha and alpha nine tenths of the
ITL; where that gives no positive times it is 5 ms, 50 us and 50 ns. A hundredth and a hundred times these bound every
state. Known of it: near one operating point the times cannot be told apart, and after a jump of load every observation
is an outlier.

Ours: TTFT is observed with the model's own one decode in it, as for sizing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from autoscaler.simulation.engines import Floats
from autoscaler.simulation.policies.wva_queue import Queue, Times

CHANGE = 0.05  # of a time, one sigma per step
ERROR, PERCENTILE = 0.05, 1.96
MOST_NIS = 7.378
DIFFERENCE = 0.01
BASE_SHARE = 0.9  # of the ITL, in the first guess
DEFAULT = np.array([5e-3, 5e-5, 5e-8])
BOUNDS = (0.01, 100.0)  # times DEFAULT


class Seen(NamedTuple):
    """Means over the replicas that serve."""

    arrivals_rps: float  # of one replica
    prompt: float  # tokens
    output: float
    ttft_s: float
    itl_s: float
    batch: int  # requests that fit into it


def first_state(seen: Seen) -> Floats:
    """Alpha, beta and gamma from one observation; seconds."""
    alpha = BASE_SHARE * seen.itl_s
    both = (seen.ttft_s - alpha) / seen.prompt
    gamma = (seen.itl_s - alpha - both) / (seen.prompt + (seen.output + 1.0) / 2.0 - 1.0)
    state = np.array([alpha, both - gamma, gamma])
    return state if bool((state > 0.0).all()) else DEFAULT.copy()


class Tuner:
    """The filter of one deployment."""

    def __init__(self, times: Times | None = None) -> None:
        """From a first state, or from the first observation."""
        self.state: Floats | None = None if times is None else np.array(times)
        self.covariance: Floats = np.zeros((3, 3)) if self.state is None else _spread(self.state)

    @property
    def times(self) -> Times | None:
        """The state; None before the first observation."""
        return None if self.state is None else Times(*self.state.tolist())

    def update(self, seen: Seen) -> bool:
        """Take an observation; whether it was believed. Nothing is learnt where a rate, size or latency is 0."""
        if min(seen) <= 0.0:
            return False
        if self.state is None:
            self.state = first_state(seen)
            self.covariance = _spread(self.state)
        state = np.clip(self.state, BOUNDS[0] * DEFAULT, BOUNDS[1] * DEFAULT)
        covariance = self.covariance + _spread(self.state)
        expected, slope = self._told(state, seen), self._slope(state, seen)
        if expected is None or slope is None:
            return False
        observed = np.array([seen.ttft_s, seen.itl_s])
        surprise = observed - expected
        inverse = np.linalg.inv(slope @ covariance @ slope.T + np.diag((ERROR / PERCENTILE * observed) ** 2))
        gain = covariance @ slope.T @ inverse
        moved = np.clip(state + gain @ surprise, BOUNDS[0] * DEFAULT, BOUNDS[1] * DEFAULT)
        if float(surprise @ inverse @ surprise) >= MOST_NIS:
            return False
        self.state, self.covariance = moved, (np.eye(3) - gain @ slope) @ covariance
        return True

    def _told(self, state: Floats, seen: Seen) -> Floats | None:
        told = Queue(Times(*state.tolist()), seen.prompt, seen.output, seen.batch).latencies(seen.arrivals_rps)
        return None if told is None else np.array(told)

    def _slope(self, state: Floats, seen: Seen) -> Floats | None:
        """Rows: TTFT, ITL; columns: alpha, beta, gamma."""
        columns = []
        for k in range(3):
            step = np.zeros(3)
            step[k] = DIFFERENCE * state[k]
            above, below = self._told(state + step, seen), self._told(state - step, seen)
            if above is None or below is None:
                return None
            columns.append((above - below) / (2.0 * step[k]))
        return np.stack(columns, axis=1)


def _spread(state: Floats) -> Floats:
    return np.diag((CHANGE * state) ** 2)
