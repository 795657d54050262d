"""The language profiles are written in: expressions over the series of one page."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from autoscaler.core.records import Histogram
from autoscaler.exposition import Labels, Page, normal

Expression = Callable[[Page], float | None]
HistogramExpression = Callable[[Page], Histogram | None]
Keep = Callable[[Labels], bool]

# Labels that name a repetition of the same thing, not a share of it: tensor and pipeline ranks report the same queue,
# and Prometheus' multiprocess mode prints one gauge per process, all but one of them 0.
REPEATING = ("tp_rank", "pp_rank", "moe_ep_rank", "pid")


@dataclass(frozen=True, slots=True)
class Named:
    """An expression and the sample names it reads."""

    names: tuple[str, ...]
    read: Expression


@dataclass(frozen=True, slots=True)
class NamedHistogram:
    """A histogram expression and the sample names it reads."""

    names: tuple[str, ...]
    read: HistogramExpression


def _everything(_: Labels) -> bool:
    return True


def _shares(page: Page, name: str, keep: Keep) -> list[float]:
    """One value per share: series that differ only in repeating labels are one, at their maximum."""
    shares: dict[tuple[tuple[str, str], ...], float] = {}
    for labels, value in page.series(name):
        if not keep(labels) or math.isnan(value):
            continue
        key = tuple(sorted((k, v) for k, v in labels.items() if k not in REPEATING))
        shares[key] = max(value, shares.get(key, -math.inf))
    return list(shares.values())


def _fold(name: str, keep: Keep, fold: Callable[[list[float]], float], *, absent_is_zero: bool = False) -> Named:
    plain = normal(name)

    def read(page: Page) -> float | None:
        shares = _shares(page, plain, keep)
        if shares:
            return fold(shares)
        return 0.0 if absent_is_zero else None

    return Named((plain,), read)


def total(name: str, keep: Keep = _everything, *, absent_is_zero: bool = False) -> Named:
    """The sum over data-parallel engines and other true shares."""
    return _fold(name, keep, sum, absent_is_zero=absent_is_zero)


def largest(name: str, keep: Keep = _everything) -> Named:
    """The largest share: what is repeated on every engine's series, or a usage that the fullest engine decides."""
    return _fold(name, keep, max)


def first_of(*choices: Named) -> Named:
    """The first expression the page answers: names a server has had in different versions; never their sum."""
    names = tuple(name for choice in choices for name in choice.names)

    def read(page: Page) -> float | None:
        return next((value for choice in choices if (value := choice.read(page)) is not None), None)

    return Named(names, read)


def plus(*parts: Named) -> Named:
    """The sum of the parts that the page answers; None if it answers none."""
    names = tuple(name for part in parts for name in part.names)

    def read(page: Page) -> float | None:
        values = [value for part in parts if (value := part.read(page)) is not None]
        return sum(values) if values else None

    return Named(names, read)


def times(one: Named, other: Named) -> Named:
    """The product; None if either is unknown."""

    def read(page: Page) -> float | None:
        a, b = one.read(page), other.read(page)
        return None if a is None or b is None else a * b

    return Named(one.names + other.names, read)


def minus(one: Named, other: Named) -> Named:
    """The difference, not below zero; None if either is unknown."""

    def read(page: Page) -> float | None:
        a, b = one.read(page), other.read(page)
        return None if a is None or b is None else max(0.0, a - b)

    return Named(one.names + other.names, read)


def constant(value: float) -> Named:
    """A number that is true of every page of this server."""
    return Named((), lambda _: value)


def label_number(name: str, label: str, fold: Callable[[list[float]], float]) -> Named:
    """A number that stands in a label of an info family; texts such as `None` are unknown."""
    plain = normal(name)

    def read(page: Page) -> float | None:
        numbers = []
        for labels, _ in page.series(plain):
            try:
                numbers.append(float(labels[label]))
            except (KeyError, ValueError):
                continue
        return fold(numbers) if numbers else None

    return Named((plain,), read)


def where(label: str, *values: str) -> Keep:
    """Series whose label has one of the values."""
    return lambda labels: labels.get(label) in values


def unless(label: str, *values: str) -> Keep:
    """Series whose label is absent or has none of the values."""
    return lambda labels: labels.get(label) not in values


@functools.lru_cache(maxsize=1024)
def _shared(bounds: tuple[float, ...]) -> tuple[float, ...]:
    """The same tuple for the same bounds: every sample of every replica has them, and they were half of its memory."""
    return bounds


def _cumulative(counts: dict[float, float], bounds: tuple[float, ...]) -> tuple[float, ...]:
    """The counts in order; buckets that add nothing share the number of the one before."""
    found: list[float] = []
    for bound in bounds:
        count = counts[bound]
        found.append(found[-1] if found and found[-1] == count else count)
    return tuple(found)


def histogram(name: str, unit_s: float = 1.0, keep: Keep = _everything) -> NamedHistogram:
    """A histogram summed over shares with the bounds read from the page; `unit_s` turns its unit into seconds."""
    buckets, sums = normal(f"{name}_bucket"), normal(f"{name}_sum")

    def read(page: Page) -> Histogram | None:
        counts: dict[float, float] = {}
        for labels, value in page.series(buckets):
            bound = labels.get("le")
            if bound is None or not keep(labels):
                continue
            bound_s = float(bound) * unit_s
            counts[bound_s] = counts.get(bound_s, 0.0) + value
        if not counts or math.inf not in counts:
            return None
        bounds = _shared(tuple(sorted(counts)))
        summed = sum(value for labels, value in page.series(sums) if keep(labels))
        return Histogram(bounds, _cumulative(counts, bounds), summed * unit_s)

    return NamedHistogram((buckets, sums), read)


def first_histogram(*choices: NamedHistogram) -> NamedHistogram:
    """The first histogram the page has."""
    names = tuple(name for choice in choices for name in choice.names)

    def read(page: Page) -> Histogram | None:
        return next((found for choice in choices if (found := choice.read(page)) is not None), None)

    return NamedHistogram(names, read)


def model_name(page: Page, name: str, label: str = "model_name") -> str | None:
    """The model a page speaks of."""
    return next((labels[label] for labels, _ in page.series(normal(name)) if label in labels), None)
