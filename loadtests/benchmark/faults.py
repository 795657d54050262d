"""What goes wrong at the peak, and a start without learned state: short worlds cut out of a cell's own.

A disturbed world begins two hours before the fault, with a planner that has learned nothing before, and is scored from
the fault's start to 15 minutes after its end; the same world without the fault is scored over the same span. A flash
crowd and a mix shift change the traffic itself: there the undisturbed run had an easier time, and peers are the
yardstick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from autoscaler.control.loop import SAVE_EVERY_S
from autoscaler.core.planner import Planner
from autoscaler.core.records import ServiceSpec
from autoscaler.simulation.ours import Ours
from autoscaler.simulation.scenario import Fault, FaultKind, Scenario
from autoscaler.simulation.trace import Trace
from autoscaler.simulation.traffic import flash_crowd, mix_shift, window
from autoscaler.simulation.view import View

PAST_S = 2 * 3600.0  # simulated before a fault
AFTER_S = 900.0
BLACKOUT_S = 300.0
RESTART_S = 20.0  # a pod of ours that is deleted answers again
CROWD_S, CROWD = 300.0, 3.0  # length of a flash crowd, times the requests
SHIFT_S, OUTPUT = 900.0, 2.0  # length of a mix shift, times the output
COLD_S = 3600.0
LOST_S = 60.0  # replicas that are missed for less are a matter of timing
FAULTS = ("blackout", "restart", "counter-reset", "flash-crowd", "mix-shift")
COLD, WARM = "cold-start", "warm-start"


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One world with a fault, and the span that is scored."""

    name: str
    scenario: Scenario
    from_s: float
    until_s: float


def cut(scenario: Scenario, from_s: float, until_s: float, first_replicas: Callable[[Trace, float], int]) -> Scenario:
    """The part of a world around a span: it begins PAST_S earlier, with as many replicas as its first minutes need."""
    begin_s = max(scenario.from_s, from_s - PAST_S)
    part = window(scenario.trace, begin_s, until_s)
    return replace(
        scenario,
        trace=part,
        start_s=from_s,
        end_s=until_s,
        initial_replicas=min(scenario.max_replicas, first_replicas(part, begin_s)),
    )


def peak_s(scenario: Scenario) -> float:
    """The middle of the scored part's busiest ten minutes, by requests; a fault and what comes after it fit behind."""
    latest_s = max(scenario.start_s, scenario.end_s - SHIFT_S - AFTER_S)
    at_s = np.arange(scenario.start_s, latest_s + 1.0, 60.0)
    arrival_s = scenario.trace.arrival_s
    near = np.searchsorted(arrival_s, at_s + 300.0) - np.searchsorted(arrival_s, at_s - 300.0)
    return float(at_s[int(np.argmax(near))])


def disturbances(scenario: Scenario, at_s: float, seed: int) -> list[Disturbance]:
    """Every fault, in a world that was cut around `at_s`; the first is the undisturbed one, over the longest span."""
    made: list[tuple[str, float, Fault | None, Trace]] = []
    trace, rng = scenario.trace, np.random.default_rng(seed)
    made.append(("undisturbed", SHIFT_S, None, trace))
    made.append(("blackout", BLACKOUT_S, Fault(FaultKind.BLACKOUT, at_s, BLACKOUT_S), trace))
    made.append(("restart", RESTART_S, Fault(FaultKind.RESTART, at_s, RESTART_S), trace))
    made.append(("counter-reset", 0.0, Fault(FaultKind.RESET, at_s), trace))
    made.append(("flash-crowd", CROWD_S, None, flash_crowd(trace, at_s, CROWD, CROWD_S, rng)))
    shifted = mix_shift(trace, at_s, 1.0, OUTPUT)
    late = trace.arrival_s >= at_s + SHIFT_S
    made.append(
        (
            "mix-shift",
            SHIFT_S,
            None,
            Trace(trace.arrival_s, trace.prompt_tokens, np.where(late, trace.output_tokens, shifted.output_tokens)),
        )
    )
    return [
        Disturbance(
            name,
            replace(scenario, trace=its, fault=fault),
            at_s,
            min(scenario.end_s, at_s + for_s + AFTER_S),
        )
        for name, for_s, fault, its in made
    ]


def replicas_lost(
    disturbed: tuple[tuple[float, int], ...], undisturbed: tuple[tuple[float, int], ...], from_s: float, until_s: float
) -> int:
    """The most replicas below the undisturbed run's and below those at the fault's start, for LOST_S or longer."""
    at_s = np.arange(from_s, until_s, 5.0)
    spec, other = _at(disturbed, at_s), _at(undisturbed, at_s)
    missed = np.maximum(0, np.minimum(other, spec[0]) - spec)
    width = int(LOST_S / 5.0)
    if len(missed) < width:
        return 0
    return int(np.lib.stride_tricks.sliding_window_view(missed, width).min(axis=1).max())


def _at(steps: tuple[tuple[float, int], ...], at_s: np.ndarray) -> np.ndarray:
    times, counts = np.array([at for at, _ in steps]), np.array([count for _, count in steps])
    return np.asarray(counts[np.maximum(0, np.searchsorted(times, at_s, side="right") - 1)])


class Saving(Ours):
    """The planner that saves its learned state as the service does, so that a next one can take it up."""

    def __init__(self, spec: ServiceSpec) -> None:
        super().__init__(spec)
        self._saved: bytes | None = None
        self._saved_at_s = -np.inf
        self._saved_leads_s: list[float | None] = []

    def tick(self, view: View, now_s: float) -> float:
        """Decide, and save every SAVE_EVERY_S, or at once when a start-up was measured."""
        next_s = super().tick(view, now_s)
        assert self.decision is not None
        leads_s = [estimates.lead_time_s for estimates in self.decision.estimates]
        if now_s - self._saved_at_s >= SAVE_EVERY_S or leads_s != self._saved_leads_s:
            self._saved, self._saved_at_s, self._saved_leads_s = self.planner.snapshot(), now_s, leads_s
        return next_s

    def reborn(self) -> Ours:
        """What a new process knows: the last state that was saved."""
        planner = Planner()
        if self._saved is not None:
            planner.restore(self._saved)
        return Ours(self.spec, planner)
