"""What one role's samples add up to over time: arrivals, sizes, speed, latencies, start-up times.

Law: every replica's counters are compared with its own last sample only; what cannot be compared is a baseline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from autoscaler.core import histogram as hist
from autoscaler.core.records import Histogram, Replica, ReplicaPhase, RoleObservation, Sample
from autoscaler.core.series import Window, increase, usable

SIZES_SPAN_S = 300.0  # token means: they drift (Azure 2023 conversation: 31 % in 5 min); 1,500 requests at 5 req/s
RATE_SPAN_S = 600.0
LATENCY_FADE_S = 600.0  # observations of latency lose half of their weight in about seven minutes
STARTS_KEPT = 20


@dataclass(slots=True)
class Seen:
    """The last usable sample of one replica, reduced to what the next is compared with."""

    at_s: float
    counter: float | None = None
    pending: float | None = None
    rejected: float | None = None
    prompt: float | None = None
    cached: float | None = None
    generated: float | None = None
    finished: float | None = None
    waiting: float = 0.0
    running: float = 0.0
    kv_usage: float = 0.0
    ttft: hist.Around | None = None  # since the server's start
    tpot: hist.Around | None = None
    itl_total_s: float = 0.0
    itl_count: float = 0.0


@dataclass(slots=True)
class Evidence:
    """Recent observations of one latency around its limit, older ones faded, and what the model made of them."""

    floor: float = 0.0
    ceiling: float | None = None  # None: no finite bound above the limit
    low: float = 0.0
    high: float = 0.0
    count: float = 0.0

    def add(self, former: hist.Around | None, current: hist.Around | None, fade: float) -> None:
        """Take what was observed between two pages of one replica."""
        self.low, self.high, self.count = self.low * fade, self.high * fade, self.count * fade
        if current is None or (former is not None and former.count > current.count):
            return
        base = former if former is not None and former.floor == current.floor else None
        self.floor = current.floor
        self.ceiling = current.ceiling if math.isfinite(current.ceiling) else None
        self.low += max(0.0, current.low - (base.low if base else 0.0))
        self.high += max(0.0, current.high - (base.high if base else 0.0))
        self.count += max(0.0, current.count - (base.count if base else 0.0))

    def share(self, limit_s: float) -> hist.Share | None:
        """The share within the limit; None without observations."""
        if self.count < 1.0:
            return None
        ceiling = self.ceiling if self.ceiling is not None else math.inf
        return hist.share_of(hist.Around(self.floor, ceiling, self.low, self.high, self.count), limit_s)


@dataclass(slots=True)
class Tracked:
    """The learned state of one role; plain values only, so that a snapshot is a typed walk."""

    seen: dict[str, Seen] = field(default_factory=dict)
    starting: list[str] = field(default_factory=list)  # ids seen before they served: their counters start at zero
    arrivals: Window = field(default_factory=lambda: Window(RATE_SPAN_S, 1.0))
    # requests begun, prompt, cached and generated tokens, growth of what runs
    sizes: Window = field(default_factory=lambda: Window(SIZES_SPAN_S, 15.0))
    kv_capacity_tokens: float | None = None
    max_running: float | None = None
    slowness: float = 1.0  # measured step time over the model's
    headroom: float = 1.0  # learned factor on capacity
    ttft: Evidence = field(default_factory=Evidence)
    tpot: Evidence = field(default_factory=Evidence)
    expected: float = 0.0  # sum of the shares the model expected of the requests behind `tpot`
    starts_s: list[float] = field(default_factory=list)  # newest last
    reacts_s: list[float] = field(default_factory=list)  # decision to created
    asked_at_s: float | None = None  # when more was last asked for and not yet created
    asked_count: int = 0


@dataclass(slots=True)
class Tick:
    """What one observation told about one role, beyond what is learned."""

    ready: list[Replica] = field(default_factory=list)
    coming: list[Replica] = field(default_factory=list)
    blind: list[Replica] = field(default_factory=list)  # were ready, say nothing now
    listed: int = 0
    waiting: float = 0.0
    running: float = 0.0
    duplicates: int = 0
    discarded: int = 0
    kv_tokens: float = 0.0
    itl_s: float | None = None  # mean time per token over this tick
    judged: float = 0.0  # requests whose time per token was told this tick


def _clean(value: float | None, tick: Tick) -> float | None:
    if value is None:
        return None
    if usable(value):
        return value
    tick.discarded += 1
    return None


def observe_role(
    state: Tracked, role: RoleObservation, now: float, stale_after_s: float, limits: tuple[float, float]
) -> Tick:
    """Take one observation of one role; `limits` are the TTFT and TPOT limits, seconds."""
    tick = Tick()
    unique: dict[str, Replica] = {}
    for replica in role.replicas or ():
        if replica.replica_id in unique:
            tick.duplicates += 1
        unique.setdefault(replica.replica_id, replica)
    tick.listed = sum(r.phase is not ReplicaPhase.DRAINING for r in unique.values())
    flow = _Flow()
    for replica in unique.values():
        _one(state, tick, flow, replica, now, stale_after_s, limits)
    if role.replicas is not None:
        for gone in [key for key in state.seen if key not in unique]:
            del state.seen[gone]
        state.starting = [key for key in state.starting if key in unique]
    if flow.until_s > flow.since_s:
        # Replicas are read at different instants: overlapping spans would count seconds twice and rates too low.
        if state.arrivals.entries and flow.since_s < state.arrivals.entries[-1][1] < flow.until_s:
            flow.since_s = state.arrivals.entries[-1][1]
        state.arrivals.add(flow.since_s, flow.until_s, max(0.0, flow.arrived))
        begun = max(0.0, flow.arrived - flow.queued)
        state.sizes.add(flow.since_s, flow.until_s, begun, flow.prompt, flow.cached, flow.generated, flow.grown)
    tick.judged = flow.judged
    if flow.itl_count > 0:
        tick.itl_s = flow.itl_total_s / flow.itl_count
    return tick


@dataclass(slots=True)
class _Flow:
    """Changes of one tick, over all replicas."""

    since_s: float = float("inf")
    until_s: float = 0.0
    arrived: float = 0.0
    queued: float = 0.0  # change of what waits: arrived, but no token of it was computed
    grown: float = 0.0  # change of what runs
    prompt: float = 0.0
    cached: float = 0.0
    generated: float = 0.0
    itl_total_s: float = 0.0
    itl_count: float = 0.0
    judged: float = 0.0  # observations of time per token


def _one(
    state: Tracked,
    tick: Tick,
    flow: _Flow,
    replica: Replica,
    now: float,
    stale_after_s: float,
    limits: tuple[float, float],
) -> None:
    if replica.phase is ReplicaPhase.DRAINING:
        return
    if replica.phase is not ReplicaPhase.READY:
        tick.coming.append(replica)
        if replica.replica_id not in state.starting and replica.replica_id not in state.seen:
            state.starting.append(replica.replica_id)
            _reacted(state, replica, now)
        return
    sample = replica.sample
    if sample is None or replica.failure is not None or now - sample.at_s > stale_after_s:
        tick.blind.append(replica)
        last = state.seen.get(replica.replica_id)
        if last is not None:
            tick.waiting += last.waiting
            tick.running += last.running
        return
    if not sample.asleep:
        tick.ready.append(replica)
    _sample(state, tick, flow, replica, sample, limits)


def _reacted(state: Tracked, replica: Replica, now: float) -> None:
    """A replica appeared: how long the cluster took to act on the last raise."""
    created_s = replica.created_at_s if replica.created_at_s is not None else now
    if state.asked_at_s is not None and created_s >= state.asked_at_s:
        state.reacts_s = [*state.reacts_s, created_s - state.asked_at_s][-STARTS_KEPT:]
        state.asked_at_s = None


def _started(state: Tracked, replica: Replica) -> bool:
    """Whether this replica's life was watched from its start; its start-up time is learned once.

    One that was merely not read yet has served for long: its counters are a baseline, not the load of a second.
    """
    if replica.replica_id not in state.starting:
        return False
    state.starting.remove(replica.replica_id)
    if replica.created_at_s is None or replica.ready_at_s is None:
        return False
    if replica.ready_at_s > replica.created_at_s:
        state.starts_s = [*state.starts_s, replica.ready_at_s - replica.created_at_s][-STARTS_KEPT:]
    return True


def _sample(
    state: Tracked, tick: Tick, flow: _Flow, replica: Replica, sample: Sample, limits: tuple[float, float]
) -> None:
    last = state.seen.get(replica.replica_id)
    fresh = Seen(
        sample.at_s,
        _clean(sample.arrivals_counter, tick),
        _clean(sample.arrivals_pending, tick),
        _clean(sample.rejected, tick),
        _clean(sample.prompt_tokens, tick),
        _clean(sample.cached_prompt_tokens, tick),
        _clean(sample.generation_tokens, tick),
        _clean(sample.finished, tick),
        _clean(sample.waiting, tick) or 0.0,
        _clean(sample.running, tick) or 0.0,
        min(1.0, _clean(sample.kv_usage, tick) or 0.0),
        _around(sample.ttft, limits[0]),
        # Times between single tokens are no stand-in: one prefill among a hundred steps misses there, not in the mean.
        _around(sample.tpot, limits[1]),
        *_mean_parts(sample.itl if sample.itl is not None else sample.tpot),
    )
    tick.waiting += fresh.waiting
    tick.running += fresh.running
    state.kv_capacity_tokens = _clean(sample.kv_capacity_tokens, tick) or state.kv_capacity_tokens
    state.max_running = _clean(sample.max_running, tick) or state.max_running
    if state.kv_capacity_tokens:
        tick.kv_tokens += fresh.kv_usage * state.kv_capacity_tokens
    if last is None and _started(state, replica):
        since_s = replica.ready_at_s or sample.at_s
        last = Seen(min(since_s, sample.at_s) - 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    state.seen[replica.replica_id] = fresh
    if last is None or sample.at_s <= last.at_s:
        return
    flow.since_s, flow.until_s = min(flow.since_s, last.at_s), max(flow.until_s, sample.at_s)
    reset = fresh.counter is not None and last.counter is not None and fresh.counter < last.counter
    if not reset:
        flow.arrived += increase(last.counter, fresh.counter) or 0.0
        if fresh.pending is not None and last.pending is not None and fresh.counter is not None:
            flow.arrived += fresh.pending - last.pending
    flow.arrived += increase(last.rejected, fresh.rejected) or 0.0
    flow.prompt += increase(last.prompt, fresh.prompt) or 0.0
    flow.cached += increase(last.cached, fresh.cached) or 0.0
    flow.generated += increase(last.generated, fresh.generated) or 0.0
    flow.queued += fresh.waiting - last.waiting
    flow.grown += fresh.running - last.running
    if not reset:
        _latencies(state, flow, last, fresh)


def _around(histogram: Histogram | None, limit_s: float) -> hist.Around | None:
    return hist.around(histogram, limit_s) if hist.sound(histogram) else None


def forget_latencies(state: Tracked) -> None:
    """Start the evidence anew: a fleet that is waking or growing says nothing of what a settled one carries."""
    state.ttft, state.tpot, state.expected = Evidence(), Evidence(), 0.0


def _mean_parts(histogram: Histogram | None) -> tuple[float, float]:
    if histogram is None or not hist.sound(histogram):
        return (0.0, 0.0)
    return (histogram.total, histogram.counts[-1])


def _latencies(state: Tracked, flow: _Flow, last: Seen, fresh: Seen) -> None:
    """Share of first tokens and of token times within the limits, from what was observed since the last page."""
    flow.itl_total_s += max(0.0, fresh.itl_total_s - last.itl_total_s)
    flow.itl_count += max(0.0, fresh.itl_count - last.itl_count)
    fade = math.exp(-(fresh.at_s - last.at_s) / LATENCY_FADE_S / max(1, len(state.seen)))
    before = state.tpot.count
    state.ttft.add(last.ttft, fresh.ttft, fade)
    state.tpot.add(last.tpot, fresh.tpot, fade)
    state.expected *= fade
    flow.judged += max(0.0, state.tpot.count - before * fade)
