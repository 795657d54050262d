"""From rows to a comparison: ours against the best setting of every peer in hindsight, cell by cell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean

import numpy as np

from loadtests.benchmark import bootstrap, text
from loadtests.benchmark.rows import CEILING, FLUID, HINDSIGHT, OURS, Row

CLOSE = 0.002  # attainment within this of what is compared with counts as equal
CEILING_CLOSE = 0.005
UNDER_BOUND = 0.99


@dataclass(frozen=True)
class Runs:
    """All seeds of one policy with one setting in one cell at one asked attainment."""

    rows: tuple[Row, ...]

    @property
    def first(self) -> Row:
        """The row of the lowest seed."""
        return self.rows[0]

    @cached_property
    def attainment(self) -> float:
        """Mean over seeds."""
        return mean(row.attainment for row in self.rows)

    @cached_property
    def gpu_hours(self) -> float:
        """Mean over seeds."""
        return mean(row.gpu_hours for row in self.rows)

    @cached_property
    def worst_hour(self) -> float:
        """Mean over seeds of the worst hour."""
        return mean(row.worst_hour_attainment for row in self.rows)

    @cached_property
    def goodput_per_gpu_s(self) -> float:
        """Mean over seeds."""
        return mean(row.goodput_per_gpu_s for row in self.rows)

    @cached_property
    def scale_events_per_hour(self) -> float:
        """Mean over seeds."""
        return mean(row.scale_events_per_hour for row in self.rows)

    @cached_property
    def hours_gpu(self) -> Sequence[float]:
        """Hourly GPU-hours, mean over seeds."""
        return [float(value) for value in np.mean([row.hours_gpu for row in self.rows], axis=0)]

    @property
    def name(self) -> str:
        """Policy and setting."""
        return f"{self.first.policy} ({self.first.knobs})" if self.first.knobs else self.first.policy


@dataclass(frozen=True)
class Comparison:
    """One cell at one asked attainment: ours, peers and references."""

    ours: Runs
    peers: tuple[Runs, ...]
    references: tuple[Row, ...]

    @property
    def asked(self) -> float:
        """The asked attainment."""
        return self.ours.first.attainment_asked

    @property
    def name(self) -> str:
        """Trace, fleet, start, tokens per step."""
        return text.cell(self.ours.first.cell)

    def _reference(self, name: str) -> Row | None:
        return next((row for row in self.references if row.policy == name), None)

    @property
    def bound(self) -> float | None:
        """GPU-hours of the hindsight bound, where it hits the asked attainment."""
        row = self._reference(HINDSIGHT)
        return row.clairvoyant_gpu_hours if row else None

    @property
    def hindsight(self) -> Row | None:
        """The row of the hindsight bound, whether it hits or not."""
        return self._reference(HINDSIGHT)

    @property
    def fluid(self) -> float | None:
        """GPU-hours of the fluid bound."""
        row = self._reference(FLUID)
        return row.gpu_hours if row else None

    @property
    def ceiling(self) -> float:
        """What a static fleet of the most replicas attains; 1 where it was not run."""
        row = self._reference(CEILING)
        return row.attainment if row else 1.0

    @property
    def wanted(self) -> float:
        """What counts as attained: the asked share, or half a point less than the ceiling where that is lower."""
        return self.asked - CLOSE if self.ceiling >= self.asked else self.ceiling - CEILING_CLOSE

    @property
    def attains(self) -> bool:
        """Whether ours attains what counts."""
        return self.ours.attainment >= self.wanted

    @property
    def least(self) -> float:
        """What a peer must attain to be compared: what ours does or what counts, whichever is lower."""
        return min(self.ours.attainment - CLOSE, self.wanted)

    def equal(self, *, defaults: bool = False) -> list[Runs]:
        """Peers that attain as much, the cheapest first; of equals by name, whichever ended first."""
        found = [
            one for one in self.peers if one.attainment >= self.least and (one.first.policy_default or not defaults)
        ]
        return sorted(found, key=lambda one: (one.gpu_hours, one.name))

    @cached_property
    def best(self) -> Runs | None:
        """The cheapest of them."""
        return next(iter(self.equal()), None)

    @cached_property
    def best_default(self) -> Runs | None:
        """The cheapest of them at its published default."""
        return next(iter(self.equal(defaults=True)), None)

    def ratios_to(self, other: Runs) -> np.ndarray:
        """Resampled GPU-hours over another's, the same hours drawn for both."""
        return bootstrap.ratios(str(self.ours.first.cell), self.ours.hours_gpu, other.hours_gpu)

    @cached_property
    def over_best(self) -> tuple[float, float, float] | None:
        """GPU-hours over the best peer's, and the 90 % interval of that."""
        if self.best is None:
            return None
        return self.ours.gpu_hours / self.best.gpu_hours, *bootstrap.interval(self.ratios_to(self.best))

    @property
    def verdict(self) -> str:
        """`less`, `more` or `even` by the paired interval; `alone` where no peer attains as much."""
        if self.over_best is None:
            return "alone"
        _, low, high = self.over_best
        return "less" if high <= 1.0 else "more" if low > 1.0 else "even"


def compare(rows: list[Row]) -> list[Comparison]:
    """Every cell in which ours ran, by family and name."""
    cells: dict[tuple[object, ...], dict[tuple[str, str | None], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.fault is None:
            cells[row.cell, row.attainment_asked][row.policy, row.knobs if row.is_peer else None].append(row)
    found = []
    for policies in cells.values():
        runs = [Runs(tuple(sorted(some, key=lambda row: row.seed))) for some in policies.values()]
        ours = [one for one in runs if one.first.policy == OURS]
        others = tuple(one for one in runs if one.first.is_peer)
        references = tuple(one.first for one in runs if one.first.policy.startswith("clairvoyant"))
        found += [Comparison(one, others, references) for one in ours]
    return sorted(found, key=lambda one: (one.asked, one.ours.first.family, one.name))


def below_bound(rows: list[Row]) -> list[Row]:
    """Rows of policies that attain what is asked with over 1 % fewer GPU-hours than the hindsight bound."""
    bounds = {
        (row.cell, row.attainment_asked): row.gpu_hours for row in rows if row.policy == HINDSIGHT and row.fault is None
    }
    return [
        row
        for row in rows
        if row.fault is None
        and (row.is_peer or row.policy == OURS)
        and row.attainment >= row.attainment_asked - CLOSE / 4.0
        and row.gpu_hours < UNDER_BOUND * bounds.get((row.cell, row.attainment_asked), 0.0)
    ]


def mean_ratio(
    found: list[Comparison], other: Callable[[Comparison], Runs | None]
) -> tuple[float, float, float] | None:
    """The mean over cells of GPU-hours over another's, with its 90 % interval: hours drawn cell by cell."""
    pairs = [(one, them) for one in found if (them := other(one)) is not None]
    if not pairs:
        return None
    resampled = np.mean([one.ratios_to(them) for one, them in pairs], axis=0)
    return mean(one.ours.gpu_hours / them.gpu_hours for one, them in pairs), *bootstrap.interval(resampled)


@dataclass(frozen=True, slots=True)
class Family:
    """One family's cells at one asked attainment, and the peers that beat ours over all of them."""

    name: str
    asked: float
    cells: tuple[Comparison, ...]
    dominating: tuple[tuple[str, float], ...]  # peer, its GPU-hours over ours: one setting for all cells
    dominating_tuned: tuple[tuple[str, float], ...]  # the same with a setting chosen in hindsight in every cell


def families(found: list[Comparison]) -> list[Family]:
    """Every family, with the peers that attain as much as ours in each of its cells for fewer GPU-hours in all."""
    groups: dict[tuple[float, str], list[Comparison]] = defaultdict(list)
    for one in found:
        groups[one.asked, one.ours.first.family].append(one)
    result = []
    for (asked, name), some in sorted(groups.items()):
        settings: dict[str, list[float]] = defaultdict(list)
        tuned: dict[str, list[float]] = defaultdict(list)
        for one in some:
            cheapest: dict[str, float] = {}
            for peer in one.equal():
                ratio = peer.gpu_hours / one.ours.gpu_hours
                settings[peer.name].append(ratio)
                cheapest.setdefault(peer.first.policy, ratio)
            for policy, ratio in cheapest.items():
                tuned[policy].append(ratio)
        result.append(Family(name, asked, tuple(some), _dominating(settings, len(some)), _dominating(tuned, len(some))))
    return result


def _dominating(ratios: dict[str, list[float]], cells: int) -> tuple[tuple[str, float], ...]:
    found = [(name, mean(some)) for name, some in ratios.items() if len(some) == cells and mean(some) < 1.0]
    return tuple(sorted(found, key=lambda entry: entry[1]))
