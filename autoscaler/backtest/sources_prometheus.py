"""A Prometheus-compatible server as a history: the model servers' own counters, at regular steps.

Law: what a metric means is the profile's of `modelservers`: the series of one replica at one time are put together as
the page they were scraped from. Values are read raw and rises worked out here, so that resets and gaps are seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from autoscaler.backtest.counters import Look, Reading, counted
from autoscaler.backtest.history import Told
from autoscaler.backtest.reconstruct import requests_of
from autoscaler.core.errors import ConfigError, Problem
from autoscaler.exposition import Labels, Page, normal
from autoscaler.modelservers import profile
from autoscaler.modelservers.profiles import PROFILES, Profile
from autoscaler.warm.prometheus_api import Prometheus, Series
from autoscaler.warm.series import STARTED, known, names_of, replica_label, selector, target_labels

SIGNALS = ("arrivals_counter", "arrivals_pending", "prompt_tokens", "generation_tokens", "prompt_sizes", "output_sizes")
NAMED = 30  # metric names listed in an error
# Prometheus answers with a sample for five minutes after the last scrape. One that is older than one scrape and a half
# is no news; where nothing tells how far scrapes are apart, than this.
STALE_S = 120.0
SCRAPES = 1.5
SCRAPES_SEEN_S = 300.0  # so much of the raw samples is looked at


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of which server."""

    url: str
    from_s: float
    until_s: float
    step_s: float
    labels: str = ""  # as in a query: namespace="x",model_name="y"
    server: str = "auto"
    replicas_query: str | None = None  # what tells how many replicas were asked for
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class _Answers:
    """What the server told."""

    profile: Profile
    names: list[str]  # of the metrics that are there
    series: list[Series]
    newest: list[Series]  # when the newest sample at each step was scraped, Unix seconds
    stale_s: float  # a sample older than this is no news
    ran: list[Series]  # the replicas query's


async def _ask(asked: Asked, watch: Callable[[float], None] | None) -> _Answers:
    """Every query. Raises TargetError (the server), or ConfigError: no known metrics, several servers, no replicas."""
    span = asked.from_s, asked.until_s, asked.step_s
    async with Prometheus(asked.url, asked.token_file) as api:
        one, found = await _profile(api, asked)
        series = await api.range(selector(names_of(one, SIGNALS), asked.labels), *span, watch)
        process = target_labels(one, asked.labels)
        if process != asked.labels:  # when a process began stands in a series without the model's name
            series += await api.range(selector([STARTED], process), *span)
        # Of one name: timestamp() drops names, and series whose labels are then the same are an error.
        mark = next(normal(name) for name in found if normal(name) in map(normal, one.marks))
        marked = selector([mark], asked.labels)
        newest = await api.range(f"max(timestamp({marked}))", *span)
        stale_s = await _stale_s(api, asked, marked)
        ran: list[Series] = []
        if asked.replicas_query is not None:
            ran = await api.range(f"sum({asked.replicas_query})", *span)
            if not ran:
                problem = Problem("--replicas-query", f"no series for {asked.replicas_query!r}", "a query with a value")
                raise ConfigError(asked.url, (problem,))
    return _Answers(one, found, series, newest, stale_s, ran)


async def read_prometheus(
    asked: Asked, seed: int, watch: Callable[[float], None] | None = None, *, idle_gaps: bool = False
) -> Told:
    """Query and reconstruct. Raises TargetError (the server), or ConfigError: no known metrics, several servers."""
    answers = await _ask(asked, watch)
    one, series, newest, ran = answers.profile, answers.series, answers.newest, answers.ran
    fresh = {at_s for at_s, seen_s in (newest[0].points if newest else ()) if at_s - seen_s <= answers.stale_s}
    replicas = {at_s: round(value) for at_s, value in (ran[0].points if ran else ())}
    looks = list(_looks(one, series, fresh, replicas, asked))
    told = counted(looks, asked.step_s)
    if told is None or not any(step.arrivals for step in told.steps):
        servers = f"metrics of {one.name} ({', '.join(answers.names[:NAMED])})"
        problem = Problem("requests", f"{servers}, and no request counted", f"some between {_span(asked)}")
        raise ConfigError(asked.url, (problem,))
    try:
        trace, how = requests_of(told, seed)
    except ValueError as error:
        raise ConfigError(asked.url, (Problem("sizes", str(error), "counters of prompt and output tokens"),)) from None
    models = sorted(
        {s.labels[one.model_label[1]] for s in series if one.model_label and one.model_label[1] in s.labels}
    )
    warnings = []
    if len(models) > 1:
        warnings.append(
            f"Counters of {len(models)} models are added up ({', '.join(models)}): --query-labels picks one."
        )
    what = f"the query {asked.replicas_query}" if asked.replicas_query else "the number of replicas scraped"
    return Told(
        *trace,
        told.begin_s,
        told.end_s,
        () if idle_gaps else told.gaps,
        told.ran,
        ran_are_ready=asked.replicas_query is None,
        resets=told.resets,
        reconstructed=how,
        facts=(
            f"{len(series):,} series of {one.name} read at {len(looks):,} steps of {asked.step_s:g} s; "
            f"what ran is {what}.",
        ),
        warnings=tuple(warnings),
    )


async def _stale_s(api: Prometheus, asked: Asked, mark: str) -> float:
    """How old a sample may be, by how far apart scrapes are at one end of the span or the other."""
    for until_s in (asked.until_s, asked.from_s + SCRAPES_SEEN_S):
        found, _ = await api.samples(mark, until_s, SCRAPES_SEEN_S)
        apart_s = [after - before for one in found for (before, _), (after, _) in pairwise(one.points)]
        if apart_s:
            return SCRAPES * float(np.median(apart_s))
    return max(STALE_S, 2.0 * asked.step_s)


def _span(asked: Asked) -> str:
    return f"{asked.from_s:.0f} and {asked.until_s:.0f} (Unix seconds; --start, --end, --query-labels)"


async def _profile(api: Prometheus, asked: Asked) -> tuple[Profile, list[str]]:
    """The model server whose metrics are there, and the names of them."""
    matcher = f"{{{asked.labels}}}" if asked.labels else ""
    names = await api.names(matcher, asked.from_s, asked.until_s)
    plain = {normal(name): name for name in names}
    there = known(names)
    if asked.server != "auto":
        wanted = profile(asked.server)
        there = [one for one in there if one is wanted]
    servers = ", ".join(one.name for one in PROFILES)
    if not there:
        shown = ", ".join(_telling(names)) or "no metric at all"
        like = PROFILES[0] if asked.server == "auto" else profile(asked.server)
        expected = f"metrics of {servers if asked.server == 'auto' else asked.server}, such as {like.marks[0]}"
        found = f"{len(names)} metric names{f' under {matcher}' if matcher else ''}: {shown}"
        raise ConfigError(asked.url, (Problem("model server", found, expected),))
    if len(there) > 1:
        found = " and ".join(one.name for one in there)
        raise ConfigError(asked.url, (Problem("model server", found, "one: choose with --server or --query-labels"),))
    one = there[0]
    if one.arrivals_counter is None:
        expected = "a server that does: its history can only be read from a file of requests"
        raise ConfigError(asked.url, (Problem("model server", f"{one.name}, which counts no requests", expected),))
    wanted_names = set(names_of(one, SIGNALS))
    return one, sorted(name for short, name in plain.items() if short in wanted_names)


def _telling(names: list[str]) -> list[str]:
    """The names that most look like a model server's, at most NAMED."""
    words = ("llm", "token", "infer", "request")
    order = sorted(names, key=lambda name: (not any(word in name.lower() for word in words), name))
    return [*order[:NAMED], *(["..."] if len(order) > NAMED else [])]


def _looks(
    one: Profile, series: list[Series], fresh: set[float], replicas: dict[float, int], asked: Asked
) -> Iterator[Look]:
    marks = [s.labels for s in series if normal(s.labels.get("__name__", "")) in map(normal, one.marks)]
    key = replica_label(marks)
    # time -> replica -> name -> series of a page
    pages: dict[float, dict[str, dict[str, list[tuple[Labels, float]]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in series:
        name, replica = normal(row.labels.get("__name__", "")), row.labels.get(key, "")
        for at_s, value in row.points:
            pages[at_s][replica][name].append((row.labels, value))
    steps = int((asked.until_s - asked.from_s) / asked.step_s + 1e-9)
    for number in range(steps + 1):
        at_s = round(asked.from_s + number * asked.step_s, 3)
        readings = {
            replica: reading
            for replica, samples in pages.pop(at_s, {}).items()
            if (reading := _reading(one, Page(samples))) is not None
        }
        count = replicas.get(at_s) if replicas else None
        is_known = (bool(readings) and at_s in fresh) or count == 0
        yield Look(at_s, readings if at_s in fresh else {}, count, is_known=is_known)


def _reading(one: Profile, page: Page) -> Reading | None:
    arrivals = one.arrivals_counter.read(page) if one.arrivals_counter else None
    if arrivals is None:
        return None
    started = page.series(STARTED)
    return Reading(
        arrivals,
        (one.arrivals_pending.read(page) if one.arrivals_pending else None) or 0.0,
        one.prompt_tokens.read(page) if one.prompt_tokens else None,
        one.generation_tokens.read(page) if one.generation_tokens else None,
        one.prompt_sizes.read(page) if one.prompt_sizes else None,
        one.output_sizes.read(page) if one.output_sizes else None,
        max((value for _, value in started), default=None),
    )
