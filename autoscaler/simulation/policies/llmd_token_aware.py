"""llm-d's token-aware KEDA blueprint, prefill and decode in the same servers.

Source: llm-d/llm-d guides/workload-autoscaling/keda-epp-token-aware (after TokenScale, arXiv 2512.03416). Prompt
tokens dispatched but not prefilled, less cached ones, over the prompt tokens per second of one idle replica are
seconds of backlog, AverageValue 1.5; the sum of KV cache use, AverageValue 0.8; the larger counts. One pod up in
180 s, one down in 300 s after a window of 300 s. Published bounds (1 to 10) are the deployment's.

Ours: the speed is what the guide's calibration would measure, one full step of the profile; the backlog is requests
without a first token times the mean prompt of five minutes; at least one replica stays, for both signals are 0 at
zero. The guide's own advice, 60 to 70 % of the TTFT limit less the prompt's time, is near its 1.5 s; a replica at its
objective has 0.1 s and a KV use of 0.01 to 0.15, with long outputs up to 0.8, so the other settings lower both. At the
HPA's default pace a backlog buys before what was bought last has started (four times the replica-hours of a rate rule
here), so their pace is that of `llmd_saturation`: as published, or doubling after a window as long as a start.
"""

from __future__ import annotations

from collections.abc import Sequence

from autoscaler.simulation.engines import Params
from autoscaler.simulation.hpa import KedaParams
from autoscaler.simulation.policies.llmd_saturation import Pace, behavior
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import SCRAPE_S, SIZES_WINDOW_S, hit_share, is_gone, mean_prompt_tokens
from autoscaler.simulation.policies.rates import Recent
from autoscaler.simulation.policy import AverageValue, Metric
from autoscaler.simulation.view import View

# Seconds of backlog and KV use per replica, pace.
Knobs = tuple[float, float, Pace]
DEFAULT: Knobs = (1.5, 0.8, Pace.PUBLISHED)
KNOBS: tuple[Knobs, ...] = (
    DEFAULT,
    (0.3, 0.3, Pace.PUBLISHED),
    (1.5, 0.08, Pace.PUBLISHED),
    (0.12, 0.1, Pace.PUBLISHED),
    (0.12, 0.1, Pace.START),
    (0.06, 0.06, Pace.START),
)


def peak_prefill(params: Params) -> float:
    """Prompt tokens per second of a replica that does nothing else: a full step over its time."""
    step_s = params.base_s + params.sequence_s + params.prompt_token_s * params.batched_tokens
    return params.batched_tokens / step_s


class LlmdTokenAware:
    """Seconds of prefill backlog, and KV caches in use."""

    scrape_s = SCRAPE_S

    def __init__(self, peak_tokens_s: float, backlog_s: float, kv_use: float, keda: KedaParams) -> None:
        self.peak_tokens_s = peak_tokens_s
        self.backlog_s, self.kv_use = backlog_s, kv_use
        self.keda = keda
        self.recent = Recent(SIZES_WINDOW_S)

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """Both sums over the pool; without a page the KV use reads 0, as its query says."""
        self.recent.add(view)
        dispatched = max(0.0, view.arrivals - view.held - view.totals.first_tokens)  # and without a first token
        tokens = dispatched * mean_prompt_tokens(self.recent) * (1.0 - hit_share(self.recent))
        kv_use = 0.0 if is_gone(view, now_s) else float(view.kv_usage.sum())
        return (AverageValue(tokens / self.peak_tokens_s, self.backlog_s), AverageValue(kv_use, self.kv_use))

    def active(self, view: View, now_s: float) -> bool:
        """Always."""
        self.recent.add(view)
        return True


def _setting(knobs: Knobs) -> Setting:
    backlog_s, kv_use, pace = knobs

    def build(deployment: Deployment) -> LlmdTokenAware:
        keda = behavior(pace, deployment.starts.mean_s)
        return LlmdTokenAware(peak_prefill(deployment.profile), backlog_s, kv_use, keda)

    name = f"backlog={backlog_s:g} kv={kv_use:g} behavior={pace.value}"
    return Setting(name, build, default=knobs == DEFAULT)


PEERS: tuple[Peer, ...] = (
    Peer(
        "llmd-token-aware",
        "llm-d/llm-d guides/workload-autoscaling/keda-epp-token-aware",
        tuple(map(_setting, KNOBS)),
    ),
)
