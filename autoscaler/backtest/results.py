"""What a back-test found: the records that the table, the JSON and the HTML page are written from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoscaler.backtest.history import History
from autoscaler.backtest.settings import Settings
from autoscaler.backtest.worlds import Setup
from autoscaler.simulation.comparison import Kind, Outcome
from autoscaler.simulation.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Advice:
    """One setting of the model server that was tried on the history."""

    setting: str  # max_num_batched_tokens or max_num_seqs
    now: int
    value: int
    attainment: float
    gpu_hours: float
    gpu_hours_now: float  # the same history at the setting of now
    recommended: bool
    why: str
    words: tuple[tuple[str, str], ...] = ()  # (server, what to paste)

    @property
    def saved_share(self) -> float:
        """Share of the GPU-hours saved; negative: it costs more."""
        return 1.0 - self.gpu_hours / max(1e-9, self.gpu_hours_now)


@dataclass(frozen=True, slots=True)
class Load:
    """The history's own curves, per bin."""

    requests_per_s: tuple[float, ...]
    prompt_tokens_per_s: tuple[float, ...]
    output_tokens_per_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything a report says."""

    settings: Settings
    history: History
    setup: Setup
    outcomes: tuple[Outcome, ...]  # ours first, then what ran, the constant fleet, peers, the bound
    advice: tuple[Advice, ...]
    advice_span_s: tuple[float, float] | None
    load: Load
    warnings: tuple[str, ...]

    @property
    def ours(self) -> Outcome:
        """Our own row."""
        return next(one for one in self.outcomes if one.player.kind is Kind.OURS)

    @property
    def reference(self) -> Outcome | None:
        """What ours is held against: what ran, else the fewest constant replicas."""
        found = {one.player.kind: one for one in self.outcomes}
        return found.get(Kind.RAN) or found.get(Kind.CONSTANT)

    @property
    def best_peer(self) -> Outcome | None:
        """The cheapest peer that attains what is asked or what ours attains; else the one that attains most."""
        rivals = [one for one in self.outcomes if one.player.kind is Kind.PEER]
        least = min(self.settings.objective.attainment, self.ours.score.attainment)
        good = [one for one in rivals if one.score.attainment >= least]
        if good:
            return min(good, key=lambda one: one.score.gpu_hours)
        return max(rivals, key=lambda one: one.score.attainment, default=None)

    def money(self, gpu_hours: float) -> float | None:
        """What GPU-hours cost; None without a price."""
        price = self.settings.gpu_price_per_hour
        return None if price is None else price * gpu_hours


def load_of(scenario: Scenario, bins: tuple[float, int]) -> Load:
    """Requests and tokens per second, bin by bin."""
    length_s, count = bins
    trace = scenario.trace
    place = np.clip((trace.arrival_s - scenario.from_s) // length_s, 0, count - 1).astype(int)
    lengths = np.full(count, length_s)
    lengths[-1] = max(1e-9, scenario.end_s - scenario.from_s - length_s * (count - 1))  # up to where the history ends

    def rate(weights: np.ndarray | None) -> tuple[float, ...]:
        return tuple((np.bincount(place, weights=weights, minlength=count) / lengths).tolist())

    return Load(rate(None), rate(trace.prompt_tokens), rate(trace.output_tokens))
