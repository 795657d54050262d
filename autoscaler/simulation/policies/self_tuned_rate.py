"""The rate rule with its constant moved by what clients got: integral feedback, and nothing else.

Source: the self-tuned rate rule of the project's own feasibility study; no one publishes it, it is what twenty lines
can do. Replicas = arrivals per second over rho * mu, mu from the offline profile as in `rate_rule`; the logarithm of
rho moves with the share of requests of the last hour within both limits less the share asked for. Decisions every
15 s; down after one mean start of surplus; through a KEDA external scaler whose answers are obeyed exactly. Ours: the
two shares, interpolated in the page's histograms, are multiplied, as if a request missed them independently. The
settings are the gain: e-folds of rho per hour and unit of share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autoscaler.simulation import hpa
from autoscaler.simulation.engines import TPOT_BOUNDS, TTFT_BOUNDS, Ints
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.rate_rule import OUTPUT_TOKENS, PROMPT_TOKENS, RATE_WINDOW_S, profiled_rps
from autoscaler.simulation.policies.rates import Recent
from autoscaler.simulation.policies.signals import Samples
from autoscaler.simulation.policy import AverageValue, Metric
from autoscaler.simulation.view import View

DECIDE_S = 15.0
SHARE_WINDOW_S = 3600.0
FIRST_RHO = 0.7
LEAST_RHO, MOST_RHO = 0.05, 5.0
LEAST_SEEN = 100  # requests in the window before their share is believed
GAINS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
DEFAULT_GAIN = 2.0


def share_within(bounds: tuple[float, ...], counts: Ints, limit: float) -> float:
    """The share of observations up to the limit, interpolated in its bucket; the last count is +Inf's."""
    cumulated = np.concatenate([[0], np.cumsum(counts[:-1])])
    return float(np.interp(limit, (0.0, *bounds), cumulated)) / float(counts.sum())


class SelfTunedRate:
    """A scaler that decides on its own timer and answers KEDA with the count."""

    scrape_s = DECIDE_S

    def __init__(self, deployment: Deployment, gain: float) -> None:
        self.objective = deployment.objective
        self.mu = profiled_rps(deployment.profile, self.objective.tpot_s, PROMPT_TOKENS, OUTPUT_TOKENS)
        self.gain = gain
        self.rho = FIRST_RHO
        self.keda = hpa.exact(deployment.max_replicas)
        self.rate, self.hour = Recent(RATE_WINDOW_S), Recent(SHARE_WINDOW_S)
        self.asked = Samples(deployment.starts.mean_s + DECIDE_S)
        self.wanted: int | None = None

    def tick(self, view: View, now_s: float) -> float:
        """Move rho, then decide."""
        is_new = not self.rate.kept or view.at_s > self.rate.kept[-1][0]
        self.rate.add(view)
        self.hour.add(view)
        if is_new and self.rate.seconds:
            self._tune()
            self.asked.add(now_s, float(math.ceil(self.rate.arrivals_rps() / (self.rho * self.mu) - 1e-9)))
            self.wanted = int(self.asked.largest())
        return DECIDE_S

    def _tune(self) -> None:
        old, new = self.hour.ends
        ttft, tpot = new.ttft - old.ttft, new.tpot - old.tpot
        if min(ttft.sum(), tpot.sum()) < LEAST_SEEN:
            return
        share = share_within(TTFT_BOUNDS, ttft, self.objective.ttft_s)
        share *= share_within(TPOT_BOUNDS, tpot, self.objective.tpot_s)
        moved = self.gain * (share - self.objective.attainment) * DECIDE_S / 3600.0
        self.rho = min(MOST_RHO, max(LEAST_RHO, self.rho * math.exp(moved)))

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """The count, with a target of 1; an error before the first decision."""
        return (None if self.wanted is None else AverageValue(float(self.wanted), 1.0),)

    def active(self, view: View, now_s: float) -> bool:
        """Whether anything is wanted or held."""
        return self.wanted is None or self.wanted > 0 or view.held > 0


def _setting(gain: float) -> Setting:
    def build(deployment: Deployment) -> SelfTunedRate:
        return SelfTunedRate(deployment, gain)

    return Setting(f"gain={gain:g}", build, default=gain == DEFAULT_GAIN)


PEERS: tuple[Peer, ...] = (
    Peer("self-tuned-rate", "the rate rule with integral feedback", tuple(_setting(gain) for gain in GAINS)),
)
