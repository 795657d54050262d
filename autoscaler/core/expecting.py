"""What each rule expects to come, and the most that it expected lately.

Law: work, not requests: a request that came while they were small counts by what it was. Where the mix jumped from 390
to 2,400 prompt tokens, the mean rate of before times the work of now read as twice what there was (ServeGen mlarge).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autoscaler.core.demand import SLOT_S, Demand
from autoscaler.core.fitting import Fitted
from autoscaler.core.series import SlidingMax, Window
from autoscaler.core.trials import RULES

SHORT_S = 60.0
LEAST_COVERED_S = 5.0


@dataclass(slots=True)
class Expecting:
    """Rates by rule, requests of today's work per second, and the largest that each would still keep replicas for."""

    rates_rps: list[float] = field(default_factory=lambda: [0.0] * len(RULES))
    peaks_rps: list[float] = field(default_factory=lambda: [0.0] * len(RULES))
    past: list[SlidingMax] = field(default_factory=lambda: [SlidingMax() for _ in RULES])

    def take(
        self, arrivals: Window, demand: Demand, fitted: Fitted, held_rps: float | None, lead_s: float, now: float
    ) -> None:
        """Take what arrived until now; `held_rps` is what gateways tell while they hold some."""
        lately, *means = _means(arrivals, now)
        for place, (rule, mean) in enumerate(zip(RULES, means, strict=True)):
            mean_rps = mean * heavier(demand, fitted, rule.window_s)
            rate_rps = lately if lately > rule.surge * mean_rps else mean_rps
            self.rates_rps[place] = rate_rps if held_rps is None else held_rps
            self.peaks_rps[place] = self.past[place].push(now, self.rates_rps[place], rule.kept_s(lead_s))


def _means(arrivals: Window, now: float) -> list[float]:
    """Requests per second over a minute, and over the window of each rule."""
    spans_s = sorted({SHORT_S, *(rule.window_s for rule in RULES)})
    # Seconds without an entry are unknown, except that a window never covered in full counts by its span.
    found = {
        span_s: arrived / max(covered_s, LEAST_COVERED_S) if covered_s > 0.0 else 0.0
        for span_s, (covered_s, arrived) in zip(spans_s, arrivals.spans(now, tuple(spans_s)), strict=True)
    }
    return [found[span_s] for span_s in (SHORT_S, *(rule.window_s for rule in RULES))]


def heavier(demand: Demand, fitted: Fitted, span_s: float) -> float:
    """The work of a request that came within the last `span_s`, in requests of now; 1 where sizes are not known."""
    slots = max(1, round(span_s / SLOT_S))
    now_s = fitted.work_s(fitted.mix.prompts.mean, fitted.mix.outputs.mean)
    work_s = total = 0.0
    for rate, prompt, output in zip(
        demand.rates_rps[-slots:], demand.prompts[-slots:], demand.outputs[-slots:], strict=True
    ):
        total += rate
        work_s += rate * (fitted.work_s(prompt, output) if prompt > 0.0 else now_s)
    return work_s / (total * now_s) if total > 0.0 and not fitted.assumed else 1.0
