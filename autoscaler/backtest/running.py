"""Runs the players: side by side in processes where that pays, with progress on stderr.

Law: the order and the number of processes change nothing in the outcomes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from autoscaler.simulation.comparison import Constants, Kind, Outcome, Player, play
from autoscaler.simulation.engines import Params
from autoscaler.simulation.scenario import Scenario
from autoscaler.simulation.traffic import window

# Below so many requests over all runs a process takes longer to start than to play.
FEW_REQUESTS = 400_000
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Task:
    """One run: a player, and the replica where it is not the scenario's own."""

    key: str
    player: Player
    params: Params | None = None
    span_s: tuple[float, float] | None = None  # of the history; None: all of it
    share: float | None = None  # CONSTANT: what the fewest replicas must reach


@dataclass(frozen=True, slots=True)
class Field:
    """What every run of a back-test shares."""

    scenario: Scenario
    seed: int
    bins: tuple[float, int]


def run_task(field: Field, task: Task, watch: Callable[[float], None] | None = None) -> Outcome | None:
    """One run in this process; None: no constant fleet within the bounds reaches the share."""
    scenario = field.scenario if task.params is None else replace(field.scenario, params=task.params)
    if task.span_s is not None:
        from_s, until_s = task.span_s
        start_s = min(from_s + scenario.start_s, 0.5 * (from_s + until_s))
        scenario = replace(
            scenario, trace=window(scenario.trace, from_s, until_s), start_s=start_s, end_s=min(until_s, scenario.end_s)
        )
    if task.player.kind is Kind.CONSTANT:
        return Constants(scenario, field.seed, field.bins).fewest(task.share or 0.0, scenario.max_replicas)
    return play(task.player, scenario, field.seed, field.bins, watch)


def run_all(field: Field, tasks: list[Task], jobs: int | None, console: Console) -> dict[str, Outcome | None]:
    """Every task's outcome by its key; the longest are to be listed first."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    requests = len(field.scenario.trace.arrival_s) * len(tasks)
    wanted = jobs or min(len(tasks), os.cpu_count() or 1)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        if wanted > 1 and requests > FEW_REQUESTS:
            return _in_processes(field, tasks, wanted, progress)
        return _here(field, tasks, progress)


def _here(field: Field, tasks: list[Task], progress: Progress) -> dict[str, Outcome | None]:
    whole = progress.add_task("simulating", total=len(tasks))
    found = {}
    for number, task in enumerate(tasks):

        def watch(share: float, done: int = number) -> None:
            progress.update(whole, completed=done + min(1.0, share))

        progress.update(whole, description=f"simulating {task.player.name}")
        found[task.key] = run_task(field, task, watch)
        progress.update(whole, completed=number + 1)
    return found


def _in_processes(field: Field, tasks: list[Task], jobs: int, progress: Progress) -> dict[str, Outcome | None]:
    # Spawned, not forked: the progress bar's thread may hold a lock when a fork copies it.
    context = multiprocessing.get_context("spawn")
    shares = context.Array("d", len(tasks), lock=False)
    bars = [progress.add_task(f"simulating {task.player.name}", total=1.0) for task in tasks]
    found: dict[str, Outcome | None] = {}
    with ProcessPoolExecutor(jobs, context, _begin, (field, shares)) as pool:
        try:
            with _deaf_to_interrupts():
                running = {pool.submit(_work, task, number): (number, task) for number, task in enumerate(tasks)}
            waiting = set(running)
            while waiting:
                done, waiting = wait(waiting, LOOK_S, FIRST_COMPLETED)
                for future in done:
                    number, task = running[future]
                    found[task.key] = future.result()
                    shares[number] = 1.0
                for bar, share in zip(bars, shares, strict=True):
                    progress.update(bar, completed=share)
        except KeyboardInterrupt:
            for child in multiprocessing.active_children():
                child.terminate()
            raise
    return {task.key: found[task.key] for task in tasks}


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started inside never hear Ctrl-C, wherever in their start they are: this one ends them.

    A process begins with the signals blocked that the thread which starts it blocks. What came meanwhile is raised at
    the end: inside it would leave half of the pool started. Only the main thread is interrupted.
    """
    masks = hasattr(signal, "pthread_sigmask")  # Windows has none
    if not masks or threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    resource_tracker.ensure_running()  # its own start would take the block away
    handler = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, handler)
    if heard:
        raise KeyboardInterrupt


_field: Field | None = None
_shares: Any = None


def _begin(field: Field, shares: Any) -> None:
    global _field, _shares
    _field, _shares = field, shares


def _work(task: Task, number: int) -> Outcome | None:
    def watch(share: float) -> None:
        _shares[number] = min(0.99, share)

    assert _field is not None  # noqa: S101 -- set by _begin
    return run_task(_field, task, watch)
