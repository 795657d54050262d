"""Prometheus text to samples, fast: one dictionary look-up per line once a page was seen.

Law: pure text in, samples out; only wanted families are kept; whatever cannot be read safely goes to the official
parser, and a page that it cannot read either is the model server's fault, said with the line.

Replicas of one deployment print the same series text, so a `SeriesCache` belongs to the deployment. A series text is
taken as a key only if it ends in `}` or holds no space: then what follows the last space is the value and nothing
else; a line with a timestamp or an exemplar fails that test and takes the slow way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from autoscaler.core.errors import TargetError

# A page of a busy deployment has about 430 series; label values without bound (request ids, LoRA names) must not grow
# the dictionary for ever: it is reset whole at this size.
CACHE_SIZE = 20_000

Labels = Mapping[str, str]
Series = tuple[str, Labels]
NO_LABELS: Labels = {}
_MARK = 12345.5  # a value no series text can hold by itself: proves that all of the text was read as a series


def normal(name: str) -> str:
    """A family's name as every path spells it: Ray, OpenTelemetry collectors and others turn `:` and `.` into `_`."""
    return name.replace(":", "_").replace(".", "_")


@dataclass(slots=True)
class SeriesCache:
    """What is known of the series texts of one deployment's pages: their names and labels.

    Of families that are not wanted only the names are kept, which caches may share: their texts, seven of ten on a busy
    page, were half of the memory.
    """

    wanted: frozenset[str]  # normalised sample names
    series: dict[str, Series] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)  # sample names that are not wanted, as printed

    def learn(self, text: str, told: dict[str, Labels]) -> Series | None:
        """Read one series text that was not seen before. Raises ValueError if it may be more than a series text.

        `told` are the labels of this page by their text: many series of a page have the same.
        """
        brace = text.find("{")
        if not text or "\t" in text or (" " in text and not text.endswith("}")):
            raise ValueError("not safely a series text")
        name = normal(text if brace < 0 else text[:brace].rstrip())
        if name not in self.wanted:
            if len(self.skipped) >= CACHE_SIZE:
                self.skipped.clear()
            self.skipped.add(text if brace < 0 else text[:brace])
            return None
        if len(self.series) >= CACHE_SIZE:
            self.series.clear()
        # A thousand deployments print the same names and bucket bounds.
        labels = told.get(text[brace:]) if brace >= 0 else NO_LABELS
        if labels is None:
            labels = told[text[brace:]] = _labels(text)
        series = self.series[text] = (sys.intern(name), labels)
        return series


@dataclass(frozen=True, slots=True)
class Page:
    """The wanted samples of one page, by normalised sample name."""

    samples: Mapping[str, list[tuple[Labels, float]]]

    def __contains__(self, name: str) -> bool:
        return name in self.samples

    def series(self, name: str) -> list[tuple[Labels, float]]:
        """Labels and value of every series of a sample name; empty if the page has none."""
        return self.samples.get(name, [])


def read_page(text: str, cache: SeriesCache) -> Page:
    """The wanted samples of a page in Prometheus text or OpenMetrics form, under the names printed on the page.

    (The official parser appends `_total` to counters that lack it; profiles name what servers really print.)
    Raises TargetError (a line that is neither form, with its number).
    """
    parser = _openmetrics_line if text.rstrip().endswith("# EOF") else _text_line
    samples: dict[str, list[tuple[Labels, float]]] = {}
    told: dict[str, Labels] = {}
    known, skipped = cache.series, cache.skipped
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line[0] == "#":
            continue
        cut = line.rfind(" ")
        head = line[:cut]
        series = known.get(head)
        try:
            if series is None:
                brace = head.find("{")
                if (head if brace < 0 else head[:brace]) in skipped:
                    continue
                series = cache.learn(head, told)
                if series is None:
                    continue
            value = float(line[cut + 1 :])
        except ValueError:
            _slowly(line, number, parser, cache, samples)
            continue
        name, labels = series
        rows = samples.get(name)
        if rows is None:
            samples[name] = [(labels, value)]
        else:
            rows.append((labels, value))
    return Page(samples)


def _labels(text: str) -> Labels:
    """The labels of a series text. Raises ValueError if it is more than a series text, such as one with an exemplar."""
    ((family),) = list(read_text(f"{text} {_MARK}\n"))
    ((sample),) = family.samples
    if sample.value != _MARK or sample.timestamp is not None:
        raise ValueError("more than a series")
    return {sys.intern(name): sys.intern(value) for name, value in sample.labels.items()}


def _text_line(line: str) -> Iterable[Any]:
    return list(read_text(f"{line.strip()}\n"))


def _openmetrics_line(line: str) -> Iterable[Any]:
    # A line alone has no TYPE, and the official parser then refuses its exemplar: the exemplar is cut off.
    bare = line.strip() if " # {" not in line else line[: line.rindex(" # {")].strip()
    return list(read_openmetrics(f"{bare}\n# EOF\n"))  # type: ignore[no-untyped-call]


def _slowly(
    line: str,
    number: int,
    parser: Callable[[str], Iterable[Any]],
    cache: SeriesCache,
    samples: dict[str, list[tuple[Labels, float]]],
) -> None:
    """One line by the official parser: timestamps, exemplars, tabs, odd spacing."""
    if not line.strip() or line.lstrip().startswith("#"):
        return
    try:
        families = parser(line)
    except (ValueError, IndexError, KeyError) as error:
        raise TargetError(
            f"model server: line {number} of its metrics page cannot be read: found {line[:80]!r}, expected "
            f"`name{{labels}} value` ({error})"
        ) from None
    for family in families:
        for sample in family.samples:
            name = normal(sample.name)
            if name in cache.wanted:
                samples.setdefault(name, []).append((sample.labels, float(sample.value)))
