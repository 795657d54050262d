"""The hindsight bound: a schedule that knows every request, and reaches the asked attainment with the fewest GPUs.

For every block of time the good requests at several replica counts are measured by replaying schedules; one price of a
replica-second then chooses, by dynamic programming over counts with the cost of starts, the schedule of most good
requests at that price; the price is moved until the asked share is reached, in a replay with real starts.
It is a feasible schedule, so it bounds the optimum from above; no policy in the benchmark may lie below it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

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
PARTS = 15  # of a block: where two schedules may be spliced, a minute or 20 s apart
FINER = 3  # parts of a block in a second look
EARLY_S = 2.0  # replicas are asked for so early that the slowest start is in time, and this


Plan = tuple[tuple[float, int], ...]  # (second, spec.replicas), the first at the beginning


@dataclass(frozen=True, slots=True)
class Schedule:
    """Replicas asked for, known beforehand."""

    scenario: Scenario
    plan: Plan

    def replay(self) -> Run:
        """What becomes of the scenario; the same every time."""
        first = replace(self.scenario, initial_replicas=self.plan[0][1])
        return World(first, PLAN_SEED).replay(self.plan[1:])


@dataclass(frozen=True, slots=True)
class Bound:
    """The hindsight bound of one scenario at one attainment."""

    asked: float
    schedule: Schedule
    score: Score  # of its replay with real starts
    hit: bool  # the asked attainment was hit within CLOSE
    block_s: float

    @property
    def gpu_hours(self) -> float:
        """What the schedule costs in the replay."""
        return self.score.gpu_hours


_Tried = tuple[Score, Schedule]
_Counted = tuple[Score, Ints]  # replicas of every block


@dataclass(slots=True)
class Hindsight:
    """What replays told of one scenario: good requests by block and replica count."""

    scenario: Scenario
    block_s: float
    blocks: int
    asked_of: Ints  # requests per block, of all blocks from the beginning
    known: list[dict[int, float]]  # per block: count -> good requests
    scored: np.ndarray  # which blocks are scored
    replayed: dict[tuple[int, ...], Score] = field(default_factory=dict)

    def learn(self, counts: Ints) -> Score:
        """Replay one schedule, if it was not before, and keep what every block got."""
        former = self.replayed.get(tuple(counts.tolist()))
        if former is not None:
            return former
        run = self.schedule(counts).replay()
        block = ((run.arrival_s - self.scenario.from_s) // self.block_s).astype(int)
        inside = block < self.blocks
        won = np.bincount(block[inside], weights=good(run)[inside], minlength=self.blocks)
        for b in range(self.blocks):
            n = int(counts[b])
            self.known[b][n] = max(self.known[b].get(n, 0.0), float(won[b]))
        reached = self.replayed[tuple(counts.tolist())] = score(run)
        return reached

    def schedule(self, counts: Ints) -> Schedule:
        """Counts of every block as a schedule."""
        return _in_time(self.scenario, counts, self.block_s)

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
    """Step time that every request adds over its life, seconds: prefill (its first token), decode steps, KV reads."""
    params, trace = scenario.params, scenario.trace
    held = trace.prompt_tokens + trace.output_tokens / 2.0
    per_token = params.sequence_s + params.kv_token_s * held
    prefill = params.prompt_token_s * trace.prompt_tokens * (1.0 - params.cached_share)
    return np.asarray(prefill + np.maximum(0.0, trace.output_tokens - 1.0) * per_token)


def empty_table(scenario: Scenario, block_s: float) -> Hindsight:
    """A table that knows nothing yet."""
    blocks = max(1, math.ceil((scenario.end_s - scenario.from_s) / block_s - 1e-9))
    block = ((scenario.trace.arrival_s - scenario.from_s) // block_s).astype(int)
    starts_s = scenario.from_s + block_s * np.arange(blocks)
    return Hindsight(
        scenario,
        block_s,
        blocks,
        np.bincount(block[block < blocks], minlength=blocks),
        [{} for _ in range(blocks)],
        starts_s + block_s / 2.0 >= scenario.start_s,
    )


def hindsight(scenario: Scenario, asked: float, block_s: float = BLOCK_S, table: Hindsight | None = None) -> Hindsight:
    """Replay enough schedules around a good one to choose from; a table of another asked attainment is added to."""
    table = table or empty_table(scenario, block_s)
    trace, blocks = scenario.trace, table.blocks
    block = ((trace.arrival_s - scenario.from_s) // table.block_s).astype(int)
    inside = block < blocks
    load = np.bincount(block[inside], weights=work_s(scenario)[inside], minlength=blocks) / table.block_s

    def schedule(factor: float) -> Ints:
        counts = np.ceil(load * factor - 1e-9).astype(int)
        return np.asarray(np.clip(counts, scenario.min_replicas, scenario.max_replicas))

    low, high = 0.5, 8.0
    for _ in range(5):
        middle = math.sqrt(low * high)
        reached = table.learn(schedule(middle)).attainment
        low, high = (low, middle) if reached >= asked else (middle, high)
    base = schedule(math.sqrt(low * high))
    for reach in (REACH, 1):
        _learn_around(table, base, reach)
        base, share, _ = table.reaching(asked)
    if share < asked:  # between bursts replicas must stand ready that no load asks for
        for part in (1.0, 0.75, 0.5, 0.35):
            table.learn(np.full(blocks, max(scenario.min_replicas, round(part * scenario.max_replicas))))
        _learn_around(table, table.reaching(asked)[0], 1)
    return table


def _learn_around(table: Hindsight, base: Ints, reach: int) -> None:
    for delta in range(-reach, reach + 1):
        table.learn(np.clip(base + delta, table.scenario.min_replicas, table.scenario.max_replicas))


def bound(scenario: Scenario, asked: float, block_s: float = BLOCK_S, table: Hindsight | None = None) -> Bound:
    """The hindsight bound at an asked attainment, replayed with real starts.

    At a cliff no price gives the asked share: there two schedules are spliced.
    """
    table = table or hindsight(scenario, asked, block_s)
    aimed = asked
    for _ in range(TRIES):
        reached = table.learn(table.reaching(aimed)[0])
        if _hits(reached, asked):
            break
        aimed += asked + 0.25 * CLOSE - reached.attainment
    counted = [(one, np.array(counts)) for counts, one in table.replayed.items()]
    tried = [(one, table.schedule(counts)) for one, counts in counted]
    if not any(_hits(one, asked) for one, _ in tried):
        tried += _spliced(table, counted, asked)
    reached, schedule = min(tried, key=lambda one: _rank(one[0], asked))
    return Bound(asked, schedule, reached, abs(reached.attainment - asked) <= CLOSE, table.block_s)


def better(scenario: Scenario, former: Bound, table: Hindsight, runs: tuple[Run, ...]) -> Bound:
    """A second look, in finer blocks, that also learns from what policies did; the cheapest of all.

    What a policy did is a schedule too, and where it attains more than is asked, its dearer end is spliced away.
    """
    asked = former.asked
    finer = empty_table(scenario, table.block_s / FINER)
    own = table.reaching(asked)[0]
    _learn_around(finer, np.repeat(own, FINER)[: finer.blocks], 1)
    for run in runs:
        _learn_around(finer, _served_by(run, finer), 1)
    for _ in range(2):
        _learn_around(finer, finer.reaching(asked)[0], 1)
    found = [former, bound(scenario, asked, table=finer)]
    for run in runs:
        for reached, schedule in _cut(Schedule(scenario, run.steps), finer, asked):
            if _hits(reached, asked):
                found.append(Bound(asked, schedule, reached, True, finer.block_s))
    return min(found, key=lambda one: (not one.hit, _rank(one.score, asked)))


def _served_by(run: Run, table: Hindsight) -> Ints:
    """Replicas that served in the middle of every block."""
    middle_s = table.scenario.from_s + table.block_s * (np.arange(table.blocks) + 0.5)
    lives = np.array([(life.ready_s, life.ended_s) for life in run.lives]).reshape(-1, 2)
    counts = ((lives[:, :1] <= middle_s) & (middle_s < lives[:, 1:])).sum(axis=0)
    return np.asarray(np.clip(counts, table.scenario.min_replicas, table.scenario.max_replicas))


def _hits(one: Score, asked: float) -> bool:
    return asked - CLOSE / 4.0 <= one.attainment <= asked + CLOSE


def _rank(one: Score, asked: float) -> tuple[bool, float]:
    """At least the asked attainment first, then the cheapest; below it the nearest."""
    low = one.attainment < asked - CLOSE / 4.0
    return low, (asked - one.attainment) if low else one.gpu_hours


def _spliced(table: Hindsight, tried: list[_Counted], asked: float) -> list[_Tried]:
    """Parts of blocks: the cheapest schedule that attains more than is asked before some moment, a cheaper one after.

    Or the other way round, where that does not hit. Of the cheaper ones the one that attains most is taken.
    """
    above = [one for one in tried if one[0].attainment >= asked]
    if not above:
        return []
    dear, counts = min(above, key=lambda one: one[0].gpu_hours)
    below = [one for one in tried if one[0].attainment < asked and one[0].gpu_hours < dear.gpu_hours]
    if not below:
        return []
    more, less = (np.repeat(one, PARTS) for one in (counts, max(below, key=lambda one: one[0].attainment)[1]))

    def until(place: int, first: Ints, then: Ints) -> Schedule:
        return _in_time(table.scenario, np.concatenate([first[:place], then[place:]]), table.block_s / PARTS)

    return _narrowed(len(more), asked, lambda place: until(place, more, less), lambda place: until(place, less, more))


def _cut(ran: Schedule, table: Hindsight, asked: float) -> list[_Tried]:
    """What a policy did; and with a cheaper schedule before or after, or a dearer one where it is short."""
    reached = score(ran.replay())
    is_enough = reached.attainment >= asked
    others = [
        (one, table.schedule(np.array(counts)))
        for counts, one in table.replayed.items()
        if (one.attainment < asked) == is_enough and (one.gpu_hours < reached.gpu_hours) == is_enough
    ]
    found = [(reached, ran)]
    if others:
        _, other = max(others, key=lambda one: one[0].attainment if is_enough else -one[0].gpu_hours)
        found += _joined(table, *((ran, other) if is_enough else (other, ran)), asked)
    if is_enough:  # it may be cheaper than every schedule that attains less, but not than itself with fewer replicas
        found += _joined(table, ran, _lowered(ran, asked), asked)
    return found


def _lowered(ran: Schedule, asked: float) -> Schedule:
    """With so many replicas fewer that less is attained than asked, or as few as are allowed."""
    least = ran.scenario.min_replicas
    for fewer in range(1, max(count for _, count in ran.plan) - least + 1):
        lowered = replace(ran, plan=tuple((at_s, max(least, count - fewer)) for at_s, count in ran.plan))
        if score(lowered.replay()).attainment < asked:
            return lowered
    return replace(ran, plan=((ran.plan[0][0], least),))


def _joined(table: Hindsight, dear: Schedule, cheap: Schedule, asked: float) -> list[_Tried]:
    """The dearer one up to some moment and the cheaper one after it, and the other way round."""
    scenario = table.scenario

    def until(place: int, first: Plan, then: Plan) -> Schedule:
        at_s = scenario.from_s + place * table.block_s / PARTS
        before, passed = ([step for step in plan if step[0] < at_s] for plan in (first, then))
        return Schedule(scenario, (*before, (at_s, passed[-1][1]), *then[len(passed) :]) if passed else then)

    return _narrowed(
        table.blocks * PARTS,
        asked,
        lambda place: until(place, dear.plan, cheap.plan),
        lambda place: until(place, cheap.plan, dear.plan),
        to_the_end=True,
    )


def _narrowed(
    size: int,
    asked: float,
    dear_first: Callable[[int], Schedule],
    cheap_first: Callable[[int], Schedule],
    *,
    to_the_end: bool = False,
) -> list[_Tried]:
    """Two schedules joined at one of `size` places, sought until the asked attainment is hit, or until it is barely."""
    found: list[_Tried] = []
    least = asked - CLOSE / 4.0 if to_the_end else asked
    for is_first in (True, False):
        low, high = 0, size  # parts of the dearer one
        while high - low > 1 and (to_the_end or not any(_hits(one, asked) for one, _ in found)):
            middle = (low + high) // 2
            joined = dear_first(middle) if is_first else cheap_first(size - middle)
            found.append((score(joined.replay()), joined))
            low, high = (low, middle) if found[-1][0].attainment >= least else (middle, high)
    return found


def _in_time(scenario: Scenario, counts: Ints, block_s: float) -> Schedule:
    """Replicas of every block, asked for so early that the slowest start is in time."""
    starts = scenario.starts
    lead_s = starts.mean_s * (1.0 + starts.jitter) + EARLY_S if starts.mean_s else 0.0
    changes: list[tuple[float, int]] = []
    for b in range(1, len(counts)):
        at_s = scenario.from_s + b * block_s
        if counts[b] > counts[b - 1]:
            changes.append((at_s - lead_s, int(counts[b])))
        elif counts[b] < counts[b - 1]:
            changes.append((at_s, int(counts[b])))
    return Schedule(scenario, ((scenario.from_s, int(counts[0])), *_in_order(changes)))


def _in_order(changes: list[tuple[float, int]]) -> tuple[tuple[float, int], ...]:
    """Changes by time; with blocks shorter than a start a raise may come before an earlier fall, and voids it."""
    result: list[tuple[float, int]] = []
    for at_s, count in changes:
        while result and result[-1][0] >= at_s:
            result.pop()
        result.append((at_s, count))
    return tuple(result)


def fluid_bound_gpu_hours(scenario: Scenario) -> float:
    """O1 of the literature: all work over the most a replica can do, no objective, no starts.

    A policy that serves everything within the scored part cannot be below it; one that leaves work undone can.
    """
    trace = scenario.trace
    inside = (trace.arrival_s >= scenario.start_s) & (trace.arrival_s < scenario.end_s)
    seconds = work_s(scenario)[inside].sum() + _base_s(scenario.params, scenario, inside)
    return float(seconds) * scenario.gpus_per_replica / 3600.0


def _base_s(params: Params, scenario: Scenario, inside: np.ndarray) -> float:
    """The constant of each decode step, shared by as many sequences as the cache or the limit lets in."""
    trace = scenario.trace
    output = trace.output_tokens[inside]
    decoded = np.maximum(0.0, output - 1.0)
    if decoded.sum() <= 0.0:
        return 0.0
    held = float(((trace.prompt_tokens[inside] + output / 2.0) * decoded).sum() / decoded.sum())
    most = min(float(params.sequences), params.kv_tokens / held)
    return float(decoded.sum()) * params.base_s / most
