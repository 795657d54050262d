"""Runs jobs in worker processes; what a cell's first rows tell becomes its later jobs."""

from __future__ import annotations

import gc
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace

from loadtests.benchmark.grid import Cell
from loadtests.benchmark.plan import (
    Place,
    Scope,
    Sized,
    closer_looks,
    head_jobs,
    last_jobs,
    later_jobs,
    peer_jobs,
    promise,
)
from loadtests.benchmark.rows import Row, without_series
from loadtests.benchmark.runner import Job, Made, run_job

Part = Callable[[Sized, Scope, frozenset[str]], Iterator[Job]]


class Queue:
    """Jobs not begun, and what is known of every cell; later jobs of a cell come before the next cell's first."""

    def __init__(
        self, listed: list[Sized], scope: Scope, former: list[Row], left: frozenset[str] = frozenset()
    ) -> None:
        self._scope = scope
        self._left = set(left)
        self._sized = {_place(one.cell): one for one in listed}
        self._rows: dict[Place, dict[str, Row]] = {place: {} for place in self._sized}
        self._open: dict[Place, int] = {}
        self._later: set[Place] = set()
        self._closed: set[Place] = set()
        self._jobs: deque[Job] = deque()
        self._last: deque[Job] = deque()  # when there is nothing else
        self._waiting = _order(listed)  # what no job was planned for yet
        for row in former:
            if row.cell in self._rows:
                self._rows[row.cell][row.key] = row
        self._waiting_s = {
            (place, part): sum(
                self._sized[place].cost_s(job) for job in part(self._sized[place], scope, self._done(place))
            )
            for place, part in self._waiting
        }

    def _done(self, place: Place) -> frozenset[str]:
        return frozenset(self._rows[place]) | self._left

    def _every(self) -> list[Row]:
        return [row for some in self._rows.values() for row in some.values()]

    def _plan_next(self) -> None:
        """Plan a cell's references and ours, or its peers by what the cells before it showed."""
        place, part = self._waiting.popleft()
        one, done, scope = self._sized[place], self._done(place), self._scope
        if part is head_jobs:
            some = list(head_jobs(one, scope, done))
            self._open[place] = 1 + len(some)  # the peers are still to be planned
        else:
            some = list(peer_jobs(one, scope, done, promise(self._every(), scope.asked[0])))
            self._open[place] += len(some) - 1
            if not self._open[place]:
                self._add_later(place)
        self._jobs.extend(some)

    def _add_later(self, place: Place) -> None:
        self._later.add(place)
        told = (self._sized[place], self._scope, list(self._rows[place].values()), self._done(place))
        some, last = list(later_jobs(*told)), list(last_jobs(*told))
        self._open[place] = len(some) + len(last)
        self._jobs.extendleft(reversed(some))
        self._last.extend(last)
        if not self._open[place]:
            self._close(place)

    def _close(self, place: Place) -> None:
        """With all of a cell's rows: whether the bound holds."""
        self._closed.add(place)
        some = list(closer_looks(self._sized[place], self._scope, list(self._rows[place].values())))
        self._open[place] = len(some)
        self._jobs.extendleft(some)

    def take(self) -> Job | None:
        """The next job, with what its cell's others gave so far."""
        while not self._jobs and self._waiting:
            self._plan_next()
        if not self._jobs and not self._last:
            return None
        job = self._jobs.popleft() if self._jobs else self._last.popleft()
        former = self._rows[_place(job.cell)].values()
        return replace(job, former=tuple(without_series(row) for row in former if row.seed == 0))

    def finished(self, job: Job, made: Made) -> None:
        """A job's rows are there."""
        place = _place(job.cell)
        self._rows[place].update((row.key, row) for row in made.rows)
        self._left.update(made.left)
        self._open[place] -= 1
        if self._open[place]:
            return
        if place not in self._later:
            self._add_later(place)
        elif place not in self._closed:
            self._close(place)

    def missing(self) -> list[str]:
        """Cells in which something was not run yet."""
        return [
            one.cell.key for place, one in self._sized.items() if place not in self._later or self._open.get(place, 1)
        ]

    def cost_s(self, job: Job) -> float:
        """About how long it takes on one core."""
        return self._sized[_place(job.cell)].cost_s(job)

    def left_s(self) -> float:
        """About what all jobs take that are known, and those that will follow."""
        known = sum(self.cost_s(job) for job in (*self._jobs, *self._last))
        known += sum(self._waiting_s[part] for part in self._waiting)
        return known + sum(self._later_s(one) for place, one in self._sized.items() if place not in self._later)

    def _later_s(self, one: Sized) -> float:
        """Later jobs before the best peers are known: three of middling cost stand in."""
        place = _place(one.cell)
        rows = list(self._rows[place].values())
        told = (one, self._scope, rows, self._done(place))
        return sum(one.cost_s(job) for job in (*later_jobs(*told), *last_jobs(*told))) * (1.0 if rows else 1.3)


def _order(listed: list[Sized]) -> deque[tuple[Place, Part]]:
    """Starts of MAIN_LEAD_S before the others; of each the references and ours of every cell before the peers."""
    groups = ([one for one in listed if one.is_main], [one for one in listed if not one.is_main])
    parts: tuple[Part, ...] = (head_jobs, peer_jobs)
    return deque((_place(one.cell), part) for group in groups for part in parts for one in group)


def _place(cell: Cell) -> Place:
    return cell.trace, cell.fleet, cell.lead_time_s, cell.step_tokens


def run_all(queue: Queue, processes: int, until_s: float, started: Callable[[Job], None]) -> Iterator[tuple[Job, Made]]:
    """What each job gave, as it ends; nothing begins after `until_s` of the monotonic clock."""
    with ProcessPoolExecutor(processes, initializer=_prepare) as pool:
        running: dict[Future[Made], Job] = {}
        while True:
            while len(running) < processes and time.monotonic() < until_s and (job := queue.take()) is not None:
                started(job)
                running[pool.submit(run_job, job)] = job
            if not running:
                return
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                job = running.pop(future)
                made = future.result()
                queue.finished(job, made)
                yield job, made


def _prepare() -> None:
    """A worker: one thread each, and no search for cycles among records that have none."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
