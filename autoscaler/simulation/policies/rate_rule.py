"""The load-proportional rule: arriving requests per second over what one replica is said to carry.

Source: KEDA's Prometheus scaler on a request rate, as in its documentation; AverageValue, threshold = requests per
second per replica, default behaviour of the HPA, polling every 30 s. It is the rule to beat: with its constant chosen
in hindsight nothing reactive is better while the mix of sizes stays the same. Published default: none; here 0.7 of
what the offline profile carries at a mean step as long as the TPOT limit, the usual advice. The settings are shares of
that profile.
"""

from __future__ import annotations

from collections.abc import Sequence

from autoscaler.simulation.engines import Params
from autoscaler.simulation.hpa import DEFAULT_DOWN, DEFAULT_UP, KedaParams
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.rates import Recent
from autoscaler.simulation.policy import AverageValue, Metric
from autoscaler.simulation.view import View

PROMPT_TOKENS, OUTPUT_TOKENS = 1246.0, 204.0  # the profile's mix: Azure 2023 conversation, what benchmarks use
RATE_WINDOW_S = 60.0
SHARES = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4)


def profiled_rps(params: Params, tpot_s: float, prompt_tokens: float, output_tokens: float) -> float:
    """Requests per second at which the mean step is as long as the TPOT limit; fluid, no queueing."""
    held = prompt_tokens + output_tokens / 2.0
    per_sequence_s = (
        params.sequence_s + params.kv_token_s * held + params.prompt_token_s * prompt_tokens / output_tokens
    )
    fitting = min(float(params.sequences), 0.9 * params.kv_tokens / held)
    running = min(fitting, (tpot_s - params.base_s) / per_sequence_s)
    step_s = params.base_s + running * per_sequence_s
    return running / (output_tokens * step_s)


class RateRule:
    """Arrivals over a constant, through KEDA and the HPA."""

    scrape_s = 15.0

    def __init__(self, per_replica_rps: float) -> None:
        self.per_replica_rps = per_replica_rps
        self.keda = KedaParams(DEFAULT_UP, DEFAULT_DOWN)
        self.recent = Recent(RATE_WINDOW_S)

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """The rate over the last minute."""
        self.recent.add(view)
        if not self.recent.seconds:
            return (None,)
        return (AverageValue(self.recent.arrivals_rps(), self.per_replica_rps),)

    def active(self, view: View, now_s: float) -> bool:
        """Whether anything came in the last minute."""
        self.recent.add(view)
        return self.recent.arrivals_rps() > 0.0 or not self.recent.seconds


def _setting(share: float) -> Setting:
    def build(deployment: Deployment) -> RateRule:
        return RateRule(
            share * profiled_rps(deployment.profile, deployment.objective.tpot_s, PROMPT_TOKENS, OUTPUT_TOKENS)
        )

    return Setting(f"share={share}", build, default=share == 0.7)


PEER = Peer("rate-rule", "KEDA docs, Prometheus scaler on a request rate", tuple(_setting(share) for share in SHARES))
