"""Leaves a run when it cannot be among the best any more: most of a benchmark's time would go to such settings.

Law: a run is left when so many requests missed already that it cannot attain what it would be compared at, or when what
it paid and the least that the rest must cost is more than ours needs and than each of the three best peers does; for
every attainment that is asked. The least of the rest is nine tenths of what the hindsight bound pays there: a policy
that pays less over the rest, attains as much over all and is among the best is not known. What is left gives no row,
and is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from autoscaler.simulation.scenario import Scenario
from autoscaler.simulation.world import World
from loadtests.benchmark.rows import CEILING, HINDSIGHT, OURS, Row
from loadtests.benchmark.verdict import CEILING_CLOSE, CLOSE

CHECK_S = 900.0
BEST = 3  # peers of a cell that get more seeds and faults: a fourth is of no interest
SLACK = 0.005  # of attainment: the mean of ours over five seeds may lie below its first seed's
LEAST_OF_BOUND = 0.9  # of what the hindsight bound pays for the rest


@dataclass(frozen=True, slots=True)
class Bar:
    """What a run must reach in one cell at one asked attainment to be of interest."""

    asked: float
    attainment: float
    gpu_hours: float
    bound_hours: tuple[float, ...]  # what the hindsight bound pays in each hour of the scored part


class Hopeless(Exception):  # noqa: N818 -- it is no error
    """The run that raised it was left."""


def bars(rows: Iterable[Row], shares: Sequence[float], *, defaults: bool = False) -> tuple[Bar, ...]:
    """The bars of a cell by its rows so far; none before ours, the ceiling and enough peers are known.

    `defaults`: among published defaults, which are compared with one another.
    """
    swept = [row for row in rows if row.fault is None and row.seed == 0]
    found = []
    for asked in shares:
        mine = [row for row in swept if row.attainment_asked == asked]
        ours = next((row for row in mine if row.policy == OURS), None)
        ceiling = next((row for row in mine if row.policy == CEILING), None)
        hindsight = next((row for row in mine if row.policy == HINDSIGHT), None)
        if ours is None or ceiling is None or hindsight is None:
            return ()
        wanted = asked - CLOSE if ceiling.attainment >= asked else ceiling.attainment - CEILING_CLOSE
        cheapest: dict[str, float] = {}
        for row in mine:
            if row.is_peer and row.attainment >= wanted and (row.policy_default or not defaults):
                cheapest[row.policy] = min(row.gpu_hours, cheapest.get(row.policy, np.inf))
        third = sorted(cheapest.values())[BEST - 1] if len(cheapest) >= BEST else np.inf
        found.append(
            Bar(asked, min(ours.attainment - CLOSE, wanted) - SLACK, max(third, ours.gpu_hours), _hours(hindsight))
        )
    return tuple(found)


def _hours(hindsight: Row) -> tuple[float, ...]:
    """Where the bound does not hit what is asked, nothing is said of the rest."""
    return hindsight.hours_gpu if hindsight.clairvoyant_gpu_hours is not None else (0.0,)


class Watch:
    """Looks at a run every CHECK_S of its scored part; raises Hopeless."""

    def __init__(self, scenario: Scenario, some: tuple[Bar, ...]) -> None:
        self._bars = [(bar, np.concatenate([np.cumsum(bar.bound_hours[::-1])[::-1], [0.0]])) for bar in some]
        self._scenario = scenario
        arrival_s = scenario.trace.arrival_s
        self._first, self._last = (int(at) for at in np.searchsorted(arrival_s, [scenario.start_s, scenario.end_s]))
        self._judged = self._first
        self._missed = 0
        self._next_s = scenario.start_s + CHECK_S

    def __call__(self, world: World) -> None:
        """Raises Hopeless where no bar can be reached any more."""
        now_s = world.now_s
        if now_s < self._next_s or now_s >= self._scenario.end_s:
            return
        self._next_s = now_s + CHECK_S
        self._judge(world, now_s - CHECK_S)
        paid = world.billed_s(self._scenario.start_s, now_s) * self._scenario.gpus_per_replica / 3600.0
        most = 1.0 - self._missed / max(1, self._last - self._first)
        done = (now_s - self._scenario.start_s) / (self._scenario.end_s - self._scenario.start_s)
        for bar, rest in self._bars:
            at = done * (len(rest) - 1)
            least = paid + LEAST_OF_BOUND * float(np.interp(at, np.arange(len(rest)), rest))
            if most >= bar.attainment and least <= bar.gpu_hours:
                return
        raise Hopeless

    def _judge(self, world: World, until_s: float) -> None:
        """Count what certainly missed among the requests that came before `until_s`."""
        scenario = self._scenario
        end = int(np.searchsorted(scenario.trace.arrival_s, until_s))
        if end <= self._judged:
            return
        part = slice(self._judged, end)
        self._judged = end
        first_s, finish_s = world.fleet.requests.first_s[part], world.fleet.requests.finish_s[part]
        output = scenario.trace.output_tokens[part]
        late = (first_s < 0.0) | (first_s - scenario.trace.arrival_s[part] > scenario.objective.ttft_s)
        each_s = (finish_s - first_s) / np.maximum(1.0, output - 1.0)
        slow = (finish_s >= 0.0) & (each_s > scenario.objective.tpot_s * (1.0 + 1e-9)) & (output > 1.0)
        self._missed += int((late | slow).sum())
