"""What one role's samples add up to over time: arrivals, sizes, speed, latencies, start-up times.

Law: every replica's counters are compared with its own last sample only; what cannot be compared is a baseline.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autoscaler.core import histogram as hist
from autoscaler.core.attained import Attained, Told
from autoscaler.core.records import Histogram, Replica, ReplicaPhase, RoleObservation, Sample
from autoscaler.core.series import LARGEST, Window, increase
from autoscaler.core.shapes import Shapes, step_limit
from autoscaler.core.speed import Speed

SIZES_SPAN_S = 300.0  # token means: they drift (Azure 2023 conversation: 31 % in 5 min); 1,500 requests at 5 req/s
RATE_SPAN_S = 600.0
SHAPES_EVERY_S = 60.0  # buckets of sizes are read so often: shapes drift slowly, and reading them costs
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
    waiting: float = 0.0
    running: float = 0.0
    kv_tokens: float | None = None
    ttft: hist.Around | None = None  # since the server's start
    tpot: hist.Around | None = None
    itl_s: float = 0.0
    itl_count: float = 0.0
    shapes_at_s: float | None = None
    prompt_sizes: Histogram | None = None
    output_sizes: Histogram | None = None


@dataclass(slots=True)
class Tracked:
    """The learned state of one role; plain values only, so that a snapshot is a typed walk."""

    seen: dict[str, Seen] = field(default_factory=dict)
    starting: list[str] = field(default_factory=list)  # ids seen before they served: their counters start at zero
    arrivals: Window = field(default_factory=lambda: Window(RATE_SPAN_S, 1.0))
    # requests begun, prompt, cached and generated tokens, growth of what runs
    sizes: Window = field(default_factory=lambda: Window(SIZES_SPAN_S, 15.0))
    means: list[float] = field(default_factory=list)  # prompt and output tokens, cached share: the last that were known
    shapes: Shapes = field(default_factory=Shapes)
    kv_capacity_tokens: float | None = None
    max_running: float | None = None
    batched_tokens: float | None = None  # the most a step was seen to hold, where larger prompts came
    speed: Speed = field(default_factory=Speed)
    # What is to be learned of steps: seconds, time between tokens, tokens, and by tokens sequences, prompts, KV read.
    steps: list[float] = field(default_factory=lambda: [0.0] * 6)
    attained: Attained = field(default_factory=Attained)
    held_s: float = 0.0  # KV tokens held, and running requests, over recent time, faded
    running_s: float = 0.0
    starts_s: list[float] = field(default_factory=list)  # newest last
    reacts_s: list[float] = field(default_factory=list)  # decision to created
    asked_at_s: float | None = None  # when more was last asked for and not yet created


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
    since_s: float = float("inf")
    until_s: float = 0.0
    seconds: float = 0.0  # sum over replicas of the time between their two samples
    arrived: float = 0.0
    queued: float = 0.0  # change of what waits: arrived, but no token of it was computed
    grown: float = 0.0  # change of what runs
    prompt: float = 0.0
    cached: float = 0.0
    generated: float = 0.0
    itl_s: float = 0.0
    itl_count: float = 0.0
    # Sums over replicas that tell of steps: by tokens generated, of the sequences and KV tokens of a step; and of
    # prompt tokens computed, by the sequences that waited for them.
    sequences: float = 0.0
    kv_read: float = 0.0
    prompt_waits: float = 0.0
    kv_token_s: float = 0.0  # KV tokens held, times seconds
    running_s: float = 0.0
    told: Told = field(default_factory=Told)


def _clean(value: float | None, tick: Tick) -> float | None:
    if value is None:
        return None
    if 0.0 <= value <= LARGEST:  # false for NaN as well
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
        else:
            unique[replica.replica_id] = replica
    for replica in unique.values():
        _one(state, tick, replica, now, stale_after_s, limits)
    if role.replicas is not None:
        for gone in [key for key in state.seen if key not in unique]:
            del state.seen[gone]
        if state.starting:
            state.starting = [key for key in state.starting if key in unique]
    if tick.until_s > tick.since_s:
        # Replicas are read at different instants: overlapping spans would count seconds twice and rates too low.
        if state.arrivals.entries and tick.since_s < state.arrivals.entries[-1][1] < tick.until_s:
            tick.since_s = state.arrivals.entries[-1][1]
        state.arrivals.add(tick.since_s, tick.until_s, max(0.0, tick.arrived))
        begun = max(0.0, tick.arrived - tick.queued)
        state.sizes.add(tick.since_s, tick.until_s, begun, tick.prompt, tick.cached, tick.generated, tick.grown)
    return tick


def _one(
    state: Tracked, tick: Tick, replica: Replica, now: float, stale_after_s: float, limits: tuple[float, float]
) -> None:
    phase = replica.phase
    if phase is ReplicaPhase.DRAINING:
        return
    tick.listed += 1
    if phase is not ReplicaPhase.READY:
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
    _sample(state, tick, replica, sample, limits)


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


def _sample(state: Tracked, tick: Tick, replica: Replica, sample: Sample, limits: tuple[float, float]) -> None:
    last = state.seen.get(replica.replica_id)
    capacity = _clean(sample.kv_capacity_tokens, tick)
    usage = _clean(sample.kv_usage, tick)
    state.kv_capacity_tokens = capacity or state.kv_capacity_tokens
    state.max_running = _clean(sample.max_running, tick) or state.max_running
    fresh = Seen(
        sample.at_s,
        _clean(sample.arrivals_counter, tick),
        _clean(sample.arrivals_pending, tick),
        _clean(sample.rejected, tick),
        _clean(sample.prompt_tokens, tick),
        _clean(sample.cached_prompt_tokens, tick),
        _clean(sample.generation_tokens, tick),
        _clean(sample.waiting, tick) or 0.0,
        _clean(sample.running, tick) or 0.0,
        min(1.0, usage) * state.kv_capacity_tokens if usage is not None and state.kv_capacity_tokens else None,
        hist.around(sample.ttft, limits[0]),
        # Times between single tokens are no stand-in: one prefill among a hundred steps misses there, not in the mean.
        hist.around(sample.tpot, limits[1]),
        *hist.mean_parts(sample.itl if sample.itl is not None else sample.tpot),
    )
    tick.waiting += fresh.waiting
    tick.running += fresh.running
    if last is None and _started(state, replica):
        since_s = replica.ready_at_s or sample.at_s
        last = Seen(min(since_s, sample.at_s) - 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    state.seen[replica.replica_id] = fresh
    _shapes(state, sample, last, fresh)
    if last is not None and sample.at_s > last.at_s:
        _flow(state, tick, last, fresh)


def _flow(state: Tracked, tick: Tick, last: Seen, fresh: Seen) -> None:
    """What happened between two samples of one replica."""
    seconds = fresh.at_s - last.at_s
    tick.since_s, tick.until_s = min(tick.since_s, last.at_s), max(tick.until_s, fresh.at_s)
    tick.seconds += seconds
    reset = fresh.counter is not None and last.counter is not None and fresh.counter < last.counter
    if not reset:
        tick.arrived += increase(last.counter, fresh.counter) or 0.0
        if fresh.pending is not None and last.pending is not None and fresh.counter is not None:
            tick.arrived += fresh.pending - last.pending
    tick.arrived += increase(last.rejected, fresh.rejected) or 0.0
    tick.prompt += increase(last.prompt, fresh.prompt) or 0.0
    tick.cached += increase(last.cached, fresh.cached) or 0.0
    tick.generated += increase(last.generated, fresh.generated) or 0.0
    tick.queued += fresh.waiting - last.waiting
    tick.grown += fresh.running - last.running
    tick.running_s += 0.5 * (fresh.running + last.running) * seconds
    kv_tokens = 0.5 * ((fresh.kv_tokens or 0.0) + (last.kv_tokens or 0.0))
    tick.kv_token_s += kv_tokens * seconds
    if reset:
        return
    _steps(tick, last, fresh, seconds, kv_tokens)
    told = tick.told
    if fresh.ttft is not None:
        low, high, count = state.attained.ttft.add(last.ttft, fresh.ttft)
        told.first_low, told.first_high, told.firsts = told.first_low + low, told.first_high + high, told.firsts + count
    if fresh.tpot is not None:
        low, high, count = state.attained.tpot.add(last.tpot, fresh.tpot)
        told.each_low, told.each_high, told.eachs = told.each_low + low, told.each_high + high, told.eachs + count


def _steps(tick: Tick, last: Seen, fresh: Seen, seconds: float, kv_tokens: float) -> None:
    """What one replica's times between tokens tell of its steps."""
    spent_s, tokens = fresh.itl_s - last.itl_s, fresh.itl_count - last.itl_count
    if spent_s <= 0.0 or tokens <= 0.0:
        return
    # The time between tokens summed over sequences is the time-average of the sequences that decode.
    sequences = max(1.0, spent_s / seconds)
    computed = (increase(last.prompt, fresh.prompt) or 0.0) - (increase(last.cached, fresh.cached) or 0.0)
    tick.itl_s += spent_s
    tick.itl_count += tokens
    tick.sequences += sequences * tokens
    tick.kv_read += kv_tokens * tokens
    tick.prompt_waits += sequences * max(0.0, computed)


def _shapes(state: Tracked, sample: Sample, last: Seen | None, fresh: Seen) -> None:
    """Take the buckets of request sizes once a minute, and the most tokens a step held."""
    if sample.prompt_sizes is None or sample.output_sizes is None:
        return
    if last is not None and last.shapes_at_s is not None and fresh.at_s - last.shapes_at_s < SHAPES_EVERY_S:
        fresh.shapes_at_s, fresh.prompt_sizes, fresh.output_sizes = (
            last.shapes_at_s,
            last.prompt_sizes,
            last.output_sizes,
        )
        return
    fresh.shapes_at_s, fresh.prompt_sizes, fresh.output_sizes = fresh.at_s, sample.prompt_sizes, sample.output_sizes
    if last is not None:
        state.shapes.add(last.prompt_sizes, fresh.prompt_sizes, last.output_sizes, fresh.output_sizes, fresh.at_s)
    most = step_limit(sample.step_tokens, sample.prompt_sizes)
    if most is not None:
        state.batched_tokens = most
