"""From a page to a sample: which server it is, and what its series say."""

from __future__ import annotations

import dataclasses
import difflib

from autoscaler.core.errors import ConfigError, Problem, TargetError
from autoscaler.core.records import Sample
from autoscaler.exposition import Page, normal
from autoscaler.modelservers.profiles import PROFILES, Profile
from autoscaler.modelservers.reading import Named, NamedHistogram, model_name

_SIGNALS = tuple(field.name for field in dataclasses.fields(Profile) if field.name in Sample.__slots__)
_STARTED = "process_start_time_seconds"


def _names(one: Profile) -> set[str]:
    found = {normal(mark) for mark in one.marks}
    for field in dataclasses.fields(Profile):
        value = getattr(one, field.name)
        if isinstance(value, (Named, NamedHistogram)):
            found.update(value.names)
    if one.model_label:
        found.add(normal(one.model_label[0]))
    return found


# Every sample name any profile reads: what a SeriesCache keeps.
WANTED: frozenset[str] = frozenset({_STARTED}).union(*(_names(one) for one in PROFILES))
_BY_NAME = {name: one for one in PROFILES for name in (one.name, *one.aliases)}


def profile_names() -> tuple[str, ...]:
    """Every name `server` may have, `auto` included."""
    return ("auto", *sorted(_BY_NAME))


def profile(name: str) -> Profile:
    """The profile of a name or alias. Raises ConfigError with the nearest valid name."""
    found = _BY_NAME.get(name.lower())
    if found is None:
        close = difflib.get_close_matches(name.lower(), _BY_NAME, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError("server", (Problem("server", repr(name), f"one of {', '.join(profile_names())}{hint}"),))
    return found


def detect(page: Page) -> Profile | None:
    """The server a page belongs to, by the families it carries; None if none is known."""
    return next((one for one in PROFILES if any(normal(mark) in page for mark in one.marks)), None)


def read_sample(page: Page, server: str, at_s: float) -> Sample:
    """What the page says, in canonical signals; `server` is a profile's name or `auto`.

    Raises TargetError: the page has no series of that server, or of any known one.
    """
    one = detect(page) if server == "auto" else profile(server)
    if one is None:
        raise TargetError(
            "model server: its page answers but carries no series of a known server; expected one of "
            f"{', '.join(p.name for p in PROFILES)}: is this the metrics page (SGLang needs --enable-metrics, "
            "llama.cpp --metrics, trtllm-serve has it at /prometheus/metrics)?"
        )
    read = {}
    for signal in _SIGNALS:
        expression = getattr(one, signal)
        read[signal] = expression.read(page) if expression is not None else None
    if server != "auto" and all(read[name] is None for name in ("waiting", "running", "arrivals_counter")):
        raise TargetError(f"model server: its page answers but carries no series of {one.name}, which `server` names")
    started = page.series(_STARTED)
    awake = one.awake.read(page) if one.awake else None
    return Sample(
        at_s=at_s,
        server=one.name,
        model=model_name(page, *one.model_label) if one.model_label else None,
        started_at_s=started[0][1] if started else None,
        asleep=awake == 0.0,
        **read,
    )
