"""What a replica's page tells beyond its rate: sizes, speed, latencies, limits; read three times a minute.

Law: a page is compared with the last one of the same life of the same replica; the first is a baseline.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autoscaler.core import histogram as hist
from autoscaler.core.attained import Attained, Told
from autoscaler.core.records import Histogram, Sample
from autoscaler.core.series import LARGEST, increase
from autoscaler.core.shapes import Shapes, step_limit

# Reading everything at every tick took 0.5 ms at 20 replicas; nothing that is learned here moves faster than this.
READ_EVERY_S = 19.0
SHAPES_EVERY_S = 60.0  # buckets of sizes are read so often: shapes drift slowly, and reading them costs


@dataclass(slots=True)
class Page:
    """The last page of one replica, reduced to what the next is compared with."""

    at_s: float
    counter: float | None = None
    pending: float | None = None
    rejected: float | None = None
    waiting: float = 0.0
    running: float = 0.0
    prompt: float | None = None
    cached: float | None = None
    generated: float | None = None
    kv_tokens: float | None = None
    ttft: hist.Around | None = None  # since the server's start
    tpot: hist.Around | None = None
    itl_s: float = 0.0
    itl_count: float = 0.0
    shapes_at_s: float | None = None
    prompt_sizes: Histogram | None = None
    output_sizes: Histogram | None = None


def birth(at_s: float) -> Page:
    """The page of a server that has just begun: all counters at zero."""
    return Page(at_s, 0.0, 0.0, 0.0, prompt=0.0, cached=0.0, generated=0.0)


@dataclass(slots=True)
class Learned:
    """What pages of one role taught."""

    shapes: Shapes = field(default_factory=Shapes)
    attained: Attained = field(default_factory=Attained)
    kv_capacity_tokens: float | None = None
    max_running: float | None = None
    batched_tokens: float | None = None  # the most a step was seen to hold, where larger prompts came


@dataclass(slots=True)
class Added:
    """What the pages of one tick added, over all replicas."""

    since_s: float = float("inf")
    until_s: float = 0.0
    begun: float = 0.0  # requests of which a token was computed
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
    discarded: int = 0  # values that cannot be true
    told: Told = field(default_factory=Told)


def _true(value: float | None, added: Added) -> float | None:
    """The value where it can be true; None, and counted, where it cannot."""
    if value is None or 0.0 <= value <= LARGEST:  # false for NaN
        return value
    added.discarded += 1
    return None


def read(learned: Learned, added: Added, last: Page | None, sample: Sample, limits: tuple[float, float]) -> Page:
    """Take one replica's page; `limits` are the TTFT and TPOT limits, seconds."""
    usage = _true(sample.kv_usage, added)
    capacity = learned.kv_capacity_tokens = _true(sample.kv_capacity_tokens, added) or learned.kv_capacity_tokens
    learned.max_running = _true(sample.max_running, added) or learned.max_running
    fresh = Page(
        sample.at_s,
        _true(sample.arrivals_counter, added),
        _true(sample.arrivals_pending, added),
        _true(sample.rejected, added),
        _true(sample.waiting, added) or 0.0,
        _true(sample.running, added) or 0.0,
        _true(sample.prompt_tokens, added),
        _true(sample.cached_prompt_tokens, added),
        _true(sample.generation_tokens, added),
        min(1.0, usage) * capacity if usage is not None and capacity else None,
        hist.around(sample.ttft, limits[0]),
        # Times between single tokens are no stand-in: one prefill among a hundred steps misses there, not in the mean.
        hist.around(sample.tpot, limits[1]),
        *hist.mean_parts(sample.itl if sample.itl is not None else sample.tpot),
    )
    _shapes(learned, sample, last, fresh)
    if last is not None and fresh.at_s > last.at_s:
        _add(learned, added, last, fresh)
    return fresh


def _add(learned: Learned, added: Added, last: Page, fresh: Page) -> None:
    seconds = fresh.at_s - last.at_s
    added.since_s, added.until_s = min(added.since_s, last.at_s), max(added.until_s, fresh.at_s)
    reset = restarted(last.counter, fresh.counter)
    added.begun += (increase(last.rejected, fresh.rejected) or 0.0) - (fresh.waiting - last.waiting)
    if not reset:
        added.begun += increase(last.counter, fresh.counter) or 0.0
        if fresh.pending is not None and last.pending is not None and fresh.counter is not None:
            added.begun += fresh.pending - last.pending
    prompt, cached = increase(last.prompt, fresh.prompt) or 0.0, increase(last.cached, fresh.cached) or 0.0
    added.prompt += prompt
    added.cached += cached
    added.generated += increase(last.generated, fresh.generated) or 0.0
    added.grown += fresh.running - last.running
    added.running_s += 0.5 * (fresh.running + last.running) * seconds
    kv_tokens = 0.5 * ((fresh.kv_tokens or 0.0) + (last.kv_tokens or 0.0))
    added.kv_token_s += kv_tokens * seconds
    if reset:
        return
    _steps(added, last, fresh, prompt - cached, kv_tokens)
    told = added.told
    if fresh.ttft is not None:
        low, high, count = learned.attained.ttft.add(last.ttft, fresh.ttft)
        told.first_low, told.first_high, told.firsts = told.first_low + low, told.first_high + high, told.firsts + count
    if fresh.tpot is not None:
        low, high, count = learned.attained.tpot.add(last.tpot, fresh.tpot)
        told.each_low, told.each_high, told.eachs = told.each_low + low, told.each_high + high, told.eachs + count


def restarted(before: float | None, now: float | None) -> bool:
    """Whether a counter began anew."""
    return before is not None and now is not None and now < before


def _steps(added: Added, last: Page, fresh: Page, computed: float, kv_tokens: float) -> None:
    """What one replica's times between tokens tell of its steps."""
    spent_s, tokens = fresh.itl_s - last.itl_s, fresh.itl_count - last.itl_count
    if spent_s <= 0.0 or tokens <= 0.0:
        return
    # The time between tokens summed over sequences is the time-average of the sequences that decode.
    sequences = max(1.0, spent_s / (fresh.at_s - last.at_s))
    added.itl_s += spent_s
    added.itl_count += tokens
    added.sequences += sequences * tokens
    added.kv_read += kv_tokens * tokens
    added.prompt_waits += sequences * max(0.0, computed)


def _shapes(learned: Learned, sample: Sample, last: Page | None, fresh: Page) -> None:
    """Take the buckets of request sizes once a minute, and the most tokens a step held."""
    if sample.prompt_sizes is None or sample.output_sizes is None:
        return
    if last is not None and last.shapes_at_s is not None and fresh.at_s - last.shapes_at_s < SHAPES_EVERY_S:
        fresh.shapes_at_s = last.shapes_at_s
        fresh.prompt_sizes, fresh.output_sizes = last.prompt_sizes, last.output_sizes
        return
    fresh.shapes_at_s, fresh.prompt_sizes, fresh.output_sizes = fresh.at_s, sample.prompt_sizes, sample.output_sizes
    if last is not None:
        learned.shapes.add(last.prompt_sizes, fresh.prompt_sizes, last.output_sizes, fresh.output_sizes, fresh.at_s)
    most = step_limit(sample.step_tokens, sample.prompt_sizes)
    if most is not None:
        learned.batched_tokens = most
