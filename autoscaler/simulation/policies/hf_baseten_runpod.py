"""Managed platforms: Baseten, Hugging Face Inference Endpoints, RunPod; each from its own documentation.

`baseten`: the mean of requests in flight over 60 s, over 0.7 of a concurrency target (1 by default); up at once, down
when fewer would do for 900 s in a row, half of the excess each time. `hf-endpoints`: one replica more, looked at every
60 s, when the mean use of the GPUs over 60 s reaches 80 % or more than 1.5 requests per replica are pending over 20 s;
fewer every 120 s, not within 300 s of the last change; zero after an hour without requests. `runpod-queue-delay`: a
worker more while the head of the queue waits longer than 4 s; a worker stops when it idles for 5 s. Its guide advises
2 to 3 s, and an idle timeout as long as a start, as the other settings have. `runpod-request-count`: requests queued
and in progress over 4. Published maxima are the deployment's.

Ours, where the documents are silent. Baseten decides every 15 s. A GPU counts as used while its server runs anything,
loading replicas as idle; Hugging Face goes down when one replica fewer would stay below the threshold, and holds
requests at zero, as it does for clients that ask for it. Requests are routed at once here, so RunPod's queue is what is
in flight beyond the concurrency of its workers (30 in its vLLM worker), and idle are serving workers that the requests
in flight would not fill, for request count at two looks in a row; it looks every 5 s. Proxies know what is in flight
without any page. Other settings are around the best in hindsight on eight traces, 2 to 100 requests per replica.
"""

from __future__ import annotations

import math
from collections import deque

from autoscaler.simulation.policies.peer import Deployment, Peer, Setting
from autoscaler.simulation.policies.signals import Samples, in_flight
from autoscaler.simulation.view import View

BASETEN_WINDOW_S, BASETEN_PERIOD_S, BASETEN_DOWN_S = 60.0, 15.0, 900.0
BASETEN_USE, BASETEN_RATE = 0.7, 0.5  # of the target; of the replicas, in one step down
BASETEN_DEFAULT = (1.0, BASETEN_DOWN_S)  # requests per replica, delay
BASETEN_SETTINGS = (BASETEN_DEFAULT, (3.0, 900.0), (20.0, 900.0), (32.0, 300.0), (48.0, 900.0), (90.0, 900.0))
HF_PERIOD_S, HF_UP_S, HF_DOWN_S, HF_HOLD_S, HF_IDLE_S = 10.0, 60.0, 120.0, 300.0, 3600.0
GPU, PENDING = "gpu", "pending"
HF_WINDOW_S = {GPU: 60.0, PENDING: 20.0}
HF_DEFAULT = (GPU, 0.8)
HF_THRESHOLDS = (HF_DEFAULT, (PENDING, 1.5), (PENDING, 10.0), (PENDING, 17.0), (PENDING, 30.0), (PENDING, 48.0))
RUNPOD_PERIOD_S = 5.0
RUNPOD_MEMORY = 720  # looks, an hour: no head of a queue is older
RUNPOD_IDLE_S, RUNPOD_DELAY_S, RUNPOD_CONCURRENCY = 5.0, 4.0, 30
RUNPOD_DEFAULT = (RUNPOD_CONCURRENCY, RUNPOD_DELAY_S, RUNPOD_IDLE_S)
RUNPOD_SETTINGS = (RUNPOD_DEFAULT, *((concurrency, 2.0, 300.0) for concurrency in (2, 12, 20, 30, 50)))
RUNPOD_COUNT = 4.0
RUNPOD_COUNTS = (1.0, RUNPOD_COUNT, 8.0, 13.0, 20.0, 40.0)


class Baseten:
    """Requests in flight over a share of the concurrency target."""

    period_s = scrape_s = BASETEN_PERIOD_S

    def __init__(self, target: float, least: int, most: int, down_s: float = BASETEN_DOWN_S) -> None:
        self.per_replica = BASETEN_USE * target
        self.least, self.most = least, most
        self.down_s = down_s
        self.flying = Samples(BASETEN_WINDOW_S)
        self.below_s: float | None = None  # since when fewer would do

    def decide(self, view: View, now_s: float) -> int:
        """Up at once; half of the excess after the delay."""
        if self.flying.is_new(view.at_s):
            self.flying.add(view.at_s, float(in_flight(view)))
        wanted = min(self.most, max(self.least, math.ceil(self.flying.mean() / self.per_replica - 1e-9)))
        if wanted >= view.spec:
            self.below_s = None
            return wanted
        if self.below_s is None:
            self.below_s = now_s
        if now_s - self.below_s < self.down_s:
            return view.spec
        self.below_s = now_s
        return view.spec - min(math.ceil((view.spec - wanted) / 2), max(1, int(view.spec * BASETEN_RATE)))


class HfEndpoints:
    """One replica more or fewer by GPU use or by pending requests."""

    period_s = scrape_s = HF_PERIOD_S

    def __init__(self, metric: str, threshold: float, least: int) -> None:
        self.metric, self.threshold, self.least = metric, threshold, least
        self.load = Samples(HF_WINDOW_S[metric])
        self.up_s = self.down_s = self.changed_s = self.busy_s = -math.inf

    def decide(self, view: View, now_s: float) -> int:
        """At its two times, one for up and one for down."""
        pending = in_flight(view)
        if self.changed_s == -math.inf:
            self.changed_s = self.busy_s = now_s
        if pending:
            self.busy_s = now_s
        if not view.spec or (self.least == 0 and now_s - self.busy_s >= HF_IDLE_S):
            return int(view.held > 0)
        if self.load.is_new(view.at_s):
            used = pending if self.metric == PENDING else int((view.running > 0).sum())
            self.load.add(view.at_s, used / view.spec)
        load, step = self.load.mean(), 0
        if now_s >= self.up_s:
            self.up_s = now_s + HF_UP_S
            step = int(load > self.threshold or (self.metric == GPU and load == self.threshold))
        if now_s >= self.down_s:
            self.down_s = now_s + HF_DOWN_S
            would_do = view.spec > 1 and load * view.spec / (view.spec - 1) < self.threshold
            if would_do and now_s - self.changed_s >= HF_HOLD_S:
                step = -1
        if step:
            self.changed_s = now_s
        return view.spec + step


class _RunPod:
    """Workers that stop when they idle."""

    period_s = scrape_s = RUNPOD_PERIOD_S

    def __init__(self, least: int, idle_s: float = RUNPOD_IDLE_S) -> None:
        self.least = least
        self.needed = Samples(idle_s + RUNPOD_PERIOD_S / 2.0)  # what is exactly as old counts

    def keep(self, view: View, needed: int) -> int:
        """The workers there are, less those that serve and were not needed at any look of the idle timeout."""
        self.needed.add(view.at_s, float(needed if self.needed.kept else max(needed, view.ready)))
        return view.spec - max(0, view.ready - max(self.least, int(self.needed.largest())))


class RunPodDelay(_RunPod):
    """One worker more while the head of the queue waits too long."""

    def __init__(
        self, concurrency: int, least: int, delay_s: float = RUNPOD_DELAY_S, idle_s: float = RUNPOD_IDLE_S
    ) -> None:
        super().__init__(least, idle_s)
        self.concurrency, self.delay_s = concurrency, delay_s
        self.arrivals: deque[tuple[float, int]] = deque(maxlen=RUNPOD_MEMORY)

    def decide(self, view: View, now_s: float) -> int:
        """By how long the first in line waits."""
        flying = in_flight(view)
        self.arrivals.append((view.at_s, view.arrivals))
        queue = max(0, flying - self.concurrency * view.ready)
        kept = self.keep(view, math.ceil(flying / self.concurrency))
        is_late = queue and (not view.spec or self.waited_s(view, queue) > self.delay_s)
        return view.spec + 1 if is_late else kept

    def waited_s(self, view: View, queue: int) -> float:
        """How long ago the counter of arrivals passed the request that is first in line."""
        head = view.arrivals - queue
        newer_s, newer = self.arrivals[-1]
        for at_s, count in reversed(self.arrivals):
            if count <= head:
                share = (head - count) / (newer - count) if newer > count else 0.0
                return view.at_s - (at_s + share * (newer_s - at_s))
            newer_s, newer = at_s, count
        return view.at_s - newer_s


class RunPodCount(_RunPod):
    """Requests over a number per worker."""

    def __init__(self, per_worker: float, least: int) -> None:
        super().__init__(least)
        self.per_worker = per_worker

    def decide(self, view: View, now_s: float) -> int:
        """Up at once, down by what idles."""
        wanted = math.ceil(in_flight(view) / self.per_worker)
        return max(wanted, self.keep(view, wanted))


def _baseten(target: float, down_s: float) -> Setting:
    def build(deployment: Deployment) -> Baseten:
        return Baseten(target, deployment.min_replicas, deployment.max_replicas, down_s)

    return Setting(f"target={target:g} delay={down_s:g}", build, default=(target, down_s) == BASETEN_DEFAULT)


def _hf(metric: str, threshold: float) -> Setting:
    def build(deployment: Deployment) -> HfEndpoints:
        return HfEndpoints(metric, threshold, deployment.min_replicas)

    return Setting(f"{metric}={threshold:g}", build, default=(metric, threshold) == HF_DEFAULT)


def _delay(concurrency: int, delay_s: float, idle_s: float) -> Setting:
    def build(deployment: Deployment) -> RunPodDelay:
        return RunPodDelay(concurrency, deployment.min_replicas, delay_s, idle_s)

    knobs = f"delay={delay_s:g} concurrency={concurrency} idle={idle_s:g}"
    return Setting(knobs, build, default=(concurrency, delay_s, idle_s) == RUNPOD_DEFAULT)


def _count(per_worker: float) -> Setting:
    def build(deployment: Deployment) -> RunPodCount:
        return RunPodCount(per_worker, deployment.min_replicas)

    return Setting(f"requests={per_worker:g}", build, default=per_worker == RUNPOD_COUNT)


PEERS: tuple[Peer, ...] = (
    Peer("baseten", "Baseten docs, autoscaling", tuple(_baseten(*one) for one in BASETEN_SETTINGS)),
    Peer(
        "hf-endpoints", "Hugging Face Inference Endpoints docs, autoscaling", tuple(_hf(*one) for one in HF_THRESHOLDS)
    ),
    Peer("runpod-queue-delay", "RunPod docs, serverless scaling", tuple(_delay(*one) for one in RUNPOD_SETTINGS)),
    Peer("runpod-request-count", "RunPod docs, serverless scaling", tuple(map(_count, RUNPOD_COUNTS))),
)
