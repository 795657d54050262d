"""The HPA on queue and KV cache, as four guides set it up.

Sources. `hpa-queue-kv`: llm-d WVA benchmarks report (v0.4.2), requests waiting over 3 and the sum of KV cache use over
0.6, both AverageValue. `hpa-queue-kv-mean`: llm-d's guide before WVA, 30 and 0.6, each a mean over pods. GKE's best
practices for LLM autoscaling are `hpa-gke-batch`, a Pods metric on the queue (start at 3 to 5) or, for latency, on the
batch size. `hpa-eks-latency`: the EKS guide, KEDA on the queue with the 95th percentile of the whole latency as a
guardrail, Value. The HPA's default behaviour; published maxima (50 in the report) are the deployment's.

Ours: that llm-d's former guide meant Pods metrics. `hpa-eks-latency` takes a queue of 5, the usual one, and as no guide
gives a threshold in seconds (a load sweep does) it is a share of the latency at the objective for the traffic's mean
output, 1 by default; the latency is the 95th percentile to the first token plus that per output token times the mean
output, for want of a histogram of the whole. Prometheus Adapter calls an empty query an error, KEDA calls it 0. The
other thresholds reach from what a replica at its objective holds here, KV use 0.01 (code) to 0.8 (long outputs) and 2
to 230 requests, to less, as headroom for a start; on eight traces the best in hindsight are 0.007 to 0.6 and 2 to 75.
"""

from __future__ import annotations

from collections.abc import Sequence

from autoscaler.core.records import Objective
from autoscaler.simulation.hpa import DEFAULT_DOWN, DEFAULT_UP, KedaParams
from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.prometheus import (
    RATE_WINDOW_S,
    SCRAPE_S,
    is_gone,
    mean_output_tokens,
    tpot_quantile,
    ttft_quantile,
)
from autoscaler.simulation.policies.rates import Recent
from autoscaler.simulation.policy import AverageValue, Metric, Pods, Value
from autoscaler.simulation.view import View

REPORT = (3.0, 0.6)  # requests waiting, KV use; per replica
QUEUE_KV = (REPORT, (3.0, 0.3), (3.0, 0.09), (3.0, 0.045), (3.0, 0.015), (3.0, 0.007))
FORMER = (30.0, 0.6)
QUEUE_KV_MEAN = (FORMER, (30.0, 0.3), (30.0, 0.09), (30.0, 0.045), (30.0, 0.015), (30.0, 0.007))
QUEUE, BATCH = "queue", "batch"
GKE = (QUEUE, 5.0)
PER_POD = (GKE, (QUEUE, 0.4), (BATCH, 2.0), (BATCH, 15.0), (BATCH, 22.0), (BATCH, 42.0))
EKS_WAITING = 5.0
LATENCY_QUANTILE = 0.95
LATENCY_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the latency at the objective


class _Hpa:
    """An HPA by itself: nothing goes to zero."""

    scrape_s = SCRAPE_S

    def __init__(self) -> None:
        self.keda = KedaParams(DEFAULT_UP, DEFAULT_DOWN)

    def active(self, view: View, now_s: float) -> bool:
        """Always."""
        return True


class HpaQueueKv(_Hpa):
    """The larger of two sums over their targets."""

    def __init__(self, waiting: float, kv_use: float) -> None:
        super().__init__()
        self.waiting, self.kv_use = waiting, kv_use

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """Requests waiting and KV cache use, summed over servers."""
        if is_gone(view, now_s):
            return (None, None)
        return (
            AverageValue(float(view.waiting.sum()), self.waiting),
            AverageValue(float(view.kv_usage.sum()), self.kv_use),
        )


class HpaQueueKvMean(HpaQueueKv):
    """The larger of two means over their targets."""

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """Requests waiting and KV cache use of every pod."""
        if is_gone(view, now_s):
            return (None, None)
        return (
            Pods(tuple(view.waiting.astype(float).tolist()), self.waiting),
            Pods(tuple(view.kv_usage.tolist()), self.kv_use),
        )


class HpaPerPod(_Hpa):
    """A mean over pods: of the queue, or of the batch."""

    def __init__(self, metric: str, target: float) -> None:
        super().__init__()
        self.metric, self.target = metric, target

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """One value per pod."""
        if is_gone(view, now_s):
            return (None,)
        values = view.waiting if self.metric == QUEUE else view.running
        return (Pods(tuple(values.tolist()), self.target),)


class HpaLatency(_Hpa):
    """The queue, and the tail of the latency as a guardrail."""

    def __init__(self, objective: Objective, share: float) -> None:
        super().__init__()
        self.objective, self.share = objective, share
        self.recent = Recent(RATE_WINDOW_S)

    def metrics(self, view: View, now_s: float) -> Sequence[Metric | None]:
        """Requests waiting; the latency's tail in seconds, 0 while nothing is told."""
        self.recent.add(view)
        waiting = 0.0 if is_gone(view, now_s) else float(view.waiting.sum())
        latency_s, limit_s = self._tail(view, now_s)
        return (AverageValue(waiting, EKS_WAITING), Value(latency_s, limit_s))

    def _tail(self, view: View, now_s: float) -> tuple[float, float]:
        """The latency's tail, and its threshold."""
        more = max(0.0, mean_output_tokens(self.recent) - 1.0)
        limit_s = self.share * (self.objective.ttft_s + more * self.objective.tpot_s)
        if is_gone(view, now_s, RATE_WINDOW_S):
            return 0.0, limit_s
        first_s = ttft_quantile(self.recent, LATENCY_QUANTILE) or 0.0
        each_s = tpot_quantile(self.recent, LATENCY_QUANTILE) or 0.0
        return first_s + more * each_s, limit_s


def _queue_kv(rule: type[HpaQueueKv], waiting: float, kv_use: float) -> Setting:
    def build(_: Deployment) -> HpaQueueKv:
        return rule(waiting, kv_use)

    return Setting(f"queue={waiting:g} kv={kv_use:g}", build, default=(waiting, kv_use) in (REPORT, FORMER))


def _per_pod(metric: str, target: float) -> Setting:
    def build(_: Deployment) -> HpaPerPod:
        return HpaPerPod(metric, target)

    return Setting(f"{metric}={target:g}", build, default=(metric, target) == GKE)


def _latency(share: float) -> Setting:
    def build(deployment: Deployment) -> HpaLatency:
        return HpaLatency(deployment.objective, share)

    return Setting(f"share={share:g}", build, default=share == 1.0)


PEERS: tuple[Peer, ...] = (
    Peer("hpa-queue-kv", "llm-d WVA v0.4.2 benchmarks report", tuple(_queue_kv(HpaQueueKv, *one) for one in QUEUE_KV)),
    Peer(
        "hpa-queue-kv-mean",
        "llm-d/llm-d guide on the HPA, before WVA",
        tuple(_queue_kv(HpaQueueKvMean, *one) for one in QUEUE_KV_MEAN),
    ),
    Peer("hpa-gke-batch", "GKE best practices for autoscaling LLM inference", tuple(_per_pod(*one) for one in PER_POD)),
    Peer("hpa-eks-latency", "EKS guide, KEDA on vLLM's queue and latency", tuple(_latency(s) for s in LATENCY_SHARES)),
)
