"""The hindsight bound: a schedule that knows every request, and reaches the asked attainment with the fewest GPUs.

For every block of time the good requests at several replica counts are measured by replaying schedules; one price of a
replica-second then chooses, by dynamic programming over counts with the cost of starts, the schedule of most good
requests at that price; the price is moved until the asked share is reached, in a replay with real starts.
It is a feasible schedule, so it bounds the optimum from above; no policy in the benchmark may lie below it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from autoscaler.simulation.engines import Floats, Ints, Params
from autoscaler.simulation.scenario import Scenario
from autoscaler.simulation.score import Score, good, score
from autoscaler.simulation.world import Run, World

BLOCK_S = 900.0
REACH = 3  # replicas either side of the base schedule in the first round
CLOSE = 0.002  # the asked attainment counts as hit within this
TRIES = 8
PLAN_SEED = 7
EARLY_S = 2.0  # replicas are asked for so early that the slowest start is in time, and this


@dataclass(frozen=True, slots=True)
class Bound:
    """The hindsight bound of one scenario at one attainment."""

    asked: float
    score: Score
    counts: tuple[int, ...]  # replicas per block
    hit: bool  # the asked attainment was hit within CLOSE

    @property
    def gpu_hours(self) -> float:
        """What the schedule costs in the replay."""
        return self.score.gpu_hours


@dataclass(slots=True)
class Hindsight:
    """What replays told of one scenario: good requests by block and replica count."""

    scenario: Scenario
    block_s: float
    blocks: int
    asked_of: Ints  # requests per block, of all blocks from the beginning
    known: list[dict[int, float]]  # per block: count -> good requests
    scored: np.ndarray  # which blocks are scored

    def learn(self, counts: Ints) -> Run:
        """Replay one schedule and keep what every block got."""
        run = _replay(self.scenario, counts, self.block_s)
        block = ((run.arrival_s - self.scenario.from_s) // self.block_s).astype(int)
        inside = block < self.blocks
        won = np.bincount(block[inside], weights=good(run)[inside], minlength=self.blocks)
        for b in range(self.blocks):
            n = int(counts[b])
            self.known[b][n] = max(self.known[b].get(n, 0.0), float(won[b]))
        return run

    def choose(self, price: float) -> tuple[Ints, float, float]:
        """The best schedule at a price per replica-second: counts, share of good requests, replica-seconds."""
        start_s = self.scenario.starts.mean_s
        levels = [np.array(sorted(table)) for table in self.known]
        gains = [np.array([table[int(n)] for n in level]) for table, level in zip(self.known, levels, strict=True)]
        best = gains[0] * self.scored[0] - price * levels[0] * self.block_s
        back: list[Ints] = []
        for b in range(1, self.blocks):
            raised = np.maximum(0, levels[b][:, None] - levels[b - 1][None, :])
            ways = best[None, :] - price * start_s * raised
            chosen = np.argmax(ways, axis=1)
            back.append(chosen)
            # Before the scored part requests count too, or the first scored block inherits a backlog.
            best = ways[np.arange(len(levels[b])), chosen] + gains[b] - price * levels[b] * self.block_s
        place = int(np.argmax(best))
        path = [place]
        for chosen in reversed(back):
            place = int(chosen[place])
            path.append(place)
        path.reverse()
        counts = np.array([level[p] for level, p in zip(levels, path, strict=True)])
        won = np.array([gain[p] for gain, p in zip(gains, path, strict=True)])
        share = float(won[self.scored].sum()) / max(1.0, float(self.asked_of[self.scored].sum()))
        raised_s = float(np.maximum(0, np.diff(counts))[self.scored[1:]].sum()) * start_s
        return counts, share, float(counts[self.scored].sum()) * self.block_s + raised_s

    def reaching(self, share: float) -> tuple[Ints, float, float]:
        """The cheapest schedule whose predicted share is at least `share`, or the best there is."""
        low, high = -12.0, 12.0  # ln of the price, good requests per replica-second
        best = self.choose(math.exp(low))
        for _ in range(26):
            middle = 0.5 * (low + high)
            found = self.choose(math.exp(middle))
            if found[1] >= share:
                best, low = found, middle
            else:
                high = middle
        return best


def work_s(scenario: Scenario) -> Floats:
    """Step time that every request adds over its life, seconds: prefill, decode steps, KV reads."""
    params, trace = scenario.params, scenario.trace
    held = trace.prompt_tokens + trace.output_tokens / 2.0
    per_token = params.sequence_s + params.kv_token_s * held
    prefill = params.prompt_token_s * trace.prompt_tokens * (1.0 - params.cached_share)
    return np.asarray(prefill + trace.output_tokens * per_token)


def hindsight(scenario: Scenario, asked: float, block_s: float = BLOCK_S) -> Hindsight:
    """Replay enough schedules around a good one to choose from."""
    trace = scenario.trace
    blocks = math.ceil((scenario.end_s - scenario.from_s) / block_s - 1e-9)
    block = ((trace.arrival_s - scenario.from_s) // block_s).astype(int)
    inside = block < blocks
    load = np.bincount(block[inside], weights=work_s(scenario)[inside], minlength=blocks) / block_s
    starts_s = scenario.from_s + block_s * np.arange(blocks)
    scored = starts_s + block_s / 2.0 >= scenario.start_s
    table = Hindsight(
        scenario,
        block_s,
        blocks,
        np.bincount(block[inside], minlength=blocks),
        [{} for _ in range(blocks)],
        scored,
    )

    def schedule(factor: float) -> Ints:
        counts = np.ceil(load * factor - 1e-9).astype(int)
        return np.asarray(np.clip(counts, scenario.min_replicas, scenario.max_replicas))

    low, high = 0.5, 8.0
    for _ in range(5):
        middle = math.sqrt(low * high)
        reached = score(table.learn(schedule(middle))).attainment
        low, high = (low, middle) if reached >= asked else (middle, high)
    base = schedule(math.sqrt(low * high))
    for reach in (REACH, 1):
        for delta in range(-reach, reach + 1):
            table.learn(np.clip(base + delta, scenario.min_replicas, scenario.max_replicas))
        base = table.reaching(asked)[0]
    return table


def bound(scenario: Scenario, asked: float, block_s: float = BLOCK_S, table: Hindsight | None = None) -> Bound:
    """The hindsight bound at an asked attainment, replayed with real starts.

    At a cliff no price gives the asked share: then the cheapest schedule above it is followed up to some block, and
    the best one below it after that, or the other way round.
    """
    table = table or hindsight(scenario, asked, block_s)
    tried: list[tuple[Score, Ints]] = []
    aimed = asked
    for _ in range(TRIES):
        counts, _, _ = table.reaching(aimed)
        tried.append((score(table.learn(counts)), counts))
        if _hits(tried[-1][0], asked):
            break
        aimed += asked + 0.25 * CLOSE - tried[-1][0].attainment
    if not any(_hits(one, asked) for one, _ in tried):
        tried += _spliced(table, tried, asked)
    reached, counts = min(tried, key=lambda one: _rank(one[0], asked))
    return Bound(asked, reached, tuple(int(n) for n in counts), abs(reached.attainment - asked) <= CLOSE)


def _hits(one: Score, asked: float) -> bool:
    return asked - CLOSE / 4.0 <= one.attainment <= asked + CLOSE


def _rank(one: Score, asked: float) -> tuple[bool, float]:
    """At least the asked attainment first, then the cheapest; below it the nearest."""
    low = one.attainment < asked - CLOSE / 4.0
    return low, (asked - one.attainment) if low else one.gpu_hours


def _spliced(table: Hindsight, tried: list[tuple[Score, Ints]], asked: float) -> list[tuple[Score, Ints]]:
    below = [one for one in tried if one[0].attainment < asked]
    above = [one for one in tried if one[0].attainment >= asked]
    if not above:
        return []
    cheap = max(below, key=lambda one: one[0].attainment)[1] if below else table.reaching(asked - 0.02)[0]
    dear = min(above, key=lambda one: one[0].gpu_hours)[1]
    found: list[tuple[Score, Ints]] = []
    low, high = 0, table.blocks
    while high - low > 1 and not any(_hits(one, asked) for one, _ in found):
        middle = (low + high) // 2
        counts = np.concatenate([dear[:middle], cheap[middle:]])
        found.append((score(table.learn(counts)), counts))
        low, high = (low, middle) if found[-1][0].attainment >= asked else (middle, high)
    return found


def _replay(scenario: Scenario, counts: Ints, block_s: float) -> Run:
    starts = scenario.starts
    lead_s = starts.mean_s * (1.0 + starts.jitter) + EARLY_S if starts.mean_s else 0.0
    changes: list[tuple[float, int]] = []
    for b in range(1, len(counts)):
        at_s = scenario.from_s + b * block_s
        if counts[b] > counts[b - 1]:
            changes.append((at_s - lead_s, int(counts[b])))
        elif counts[b] < counts[b - 1]:
            changes.append((at_s, int(counts[b])))
    first = replace(scenario, initial_replicas=int(counts[0]))
    return World(first, PLAN_SEED).replay(_in_order(changes))


def _in_order(changes: list[tuple[float, int]]) -> tuple[tuple[float, int], ...]:
    """Changes by time; with blocks shorter than a start a raise may come before an earlier fall, and voids it."""
    result: list[tuple[float, int]] = []
    for at_s, count in changes:
        while result and result[-1][0] >= at_s:
            result.pop()
        result.append((at_s, count))
    return tuple(result)


def fluid_bound_gpu_hours(scenario: Scenario) -> float:
    """O1: work over the most a replica can do, no objective and no starts; no policy can be below it."""
    trace = scenario.trace
    inside = (trace.arrival_s >= scenario.start_s) & (trace.arrival_s < scenario.end_s)
    seconds = work_s(scenario)[inside].sum() + _base_s(scenario.params, scenario, inside)
    return float(seconds) * scenario.gpus_per_replica / 3600.0


def _base_s(params: Params, scenario: Scenario, inside: np.ndarray) -> float:
    """The constant of each step, shared by as many sequences as the cache or the limit lets in."""
    trace = scenario.trace
    output = trace.output_tokens[inside]
    if not len(output):
        return 0.0
    held = float(((trace.prompt_tokens[inside] + output / 2.0) * output).sum() / output.sum())
    most = min(float(params.sequences), params.kv_tokens / held)
    return float(output.sum()) * params.base_s / most
