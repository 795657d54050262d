"""What each rule expects to come, and the most that it expected lately.

Law: work, not requests: a request that came while they were small counts by what it was. Where the mix jumped from 390
to 2,400 prompt tokens, the mean rate of before times the work of now read as twice what there was (ServeGen mlarge).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from autoscaler.core.demand import SLOT_S, Demand, Floats
from autoscaler.core.fitting import Fitted
from autoscaler.core.rehearsal import Rule
from autoscaler.core.series import SlidingMax, Window
from autoscaler.core.trials import RULES

SHORT_S = 60.0
LEAST_COVERED_S = 5.0
BY_SLOTS_S = 240.0  # a mean over longer is taken from the slots of the record: a quarter minute more or less is nothing
_SPANS_S = tuple(sorted({SHORT_S, *(rule.window_s for rule in RULES if rule.window_s <= BY_SLOTS_S)}))
_MOST_SLOTS = round(max(rule.window_s for rule in RULES) / SLOT_S)


@dataclass(slots=True)
class Record:
    """What the slots of the record say to each rule; worked out anew when a slot is added or the mix is."""

    slot_from_s: float | None = None
    fitted_at_s: float | None = None
    means_rps: list[float] = field(default_factory=lambda: [0.0] * len(RULES))
    heavier: list[float] = field(default_factory=lambda: [1.0] * len(RULES))  # work of a request then, in those of now

    def take(self, demand: Demand, fitted: Fitted) -> None:
        """Take the record as it is."""
        if (demand.from_s, fitted.at_s) == (self.slot_from_s, self.fitted_at_s):
            return
        self.slot_from_s, self.fitted_at_s = demand.from_s, fitted.at_s
        requests, work = _sums(demand, fitted)
        for place, rule in enumerate(RULES):
            slots = min(len(requests), max(1, round(rule.window_s / SLOT_S)))
            total = float(requests[slots - 1]) if slots else 0.0
            self.means_rps[place] = total / slots if slots else 0.0
            self.heavier[place] = float(work[slots - 1]) / total if total > 0.0 else 1.0


@dataclass(slots=True)
class Expecting:
    """Rates by rule, requests of today's work per second, and the largest that each would still keep replicas for."""

    rates_rps: list[float] = field(default_factory=lambda: [0.0] * len(RULES))
    peaks_rps: list[float] = field(default_factory=lambda: [0.0] * len(RULES))
    past: list[SlidingMax] = field(default_factory=lambda: [SlidingMax() for _ in RULES])
    record: Record = field(default_factory=Record)

    def delay(self, by_s: float) -> None:
        """Nobody watched for so long: the largest rates may have come again."""
        for past in self.past:
            past.delay(by_s)

    def take(
        self, arrivals: Window, demand: Demand, fitted: Fitted, held_rps: float | None, lead_s: float, now: float
    ) -> None:
        """Take what arrived until now; `held_rps` is what gateways tell while they hold some."""
        # Seconds without an entry are unknown, except that a window never covered in full counts by its span.
        means = {
            span_s: arrived / max(covered_s, LEAST_COVERED_S) if covered_s > 0.0 else 0.0
            for span_s, (covered_s, arrived) in zip(_SPANS_S, arrivals.spans(now, _SPANS_S), strict=True)
        }
        self.record.take(demand, fitted)
        for place, rule in enumerate(RULES):
            by_slots = rule.window_s > BY_SLOTS_S and len(demand.rates_rps) > 0
            mean_rps = self.record.means_rps[place] if by_slots else means.get(rule.window_s, means[SHORT_S])
            mean_rps *= self.record.heavier[place]
            self.rates_rps[place] = _followed(rule, mean_rps, means[SHORT_S]) if held_rps is None else held_rps
            self.peaks_rps[place] = self.past[place].push(now, self.rates_rps[place], rule.kept_s(lead_s))


def _followed(rule: Rule, mean_rps: float, lately_rps: float) -> float:
    return lately_rps if lately_rps > rule.surge * mean_rps else mean_rps


def _sums(demand: Demand, fitted: Fitted) -> tuple[Floats, Floats]:
    """Sums over the last slots, the newest first: requests per second, and as many of today's work."""
    rates, prompts, outputs = (
        np.array(one[-_MOST_SLOTS:])[::-1] for one in (demand.rates_rps, demand.prompts, demand.outputs)
    )
    now_s = fitted.work_s(fitted.mix.prompts.mean, fitted.mix.outputs.mean)
    work = (fitted.prompt_weight_s * prompts + fitted.per_running_s * outputs) / now_s
    weights = np.where(prompts > 0.0, work, 1.0) if not fitted.assumed else 1.0  # sizes not measured: as today's
    return np.cumsum(rates), np.cumsum(rates * weights)
