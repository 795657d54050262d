"""What the user says of a back-test: the replica, its start, the objective, the bounds, the policies.

Law: every wrong setting is told at once.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from autoscaler.backtest.columns import UNITS
from autoscaler.core.errors import ConfigError, Problem
from autoscaler.core.priors import PRIORS
from autoscaler.core.records import Objective
from autoscaler.modelservers import profile_names
from autoscaler.simulation.policies.registry import peers

OBJECTIVE = Objective()  # TTFT 3 s, TPOT 60 ms, 95 %
# Peers that a history is played under unless others are named: the load-proportional rule, and what guides tell first.
DEFAULT_PEERS = ("rate-rule", "keda-waiting", "hpa-queue-kv")
ALL = "all"
GAPS = ("exclude", "idle")
COUNTS = ("asked", "ready")
AUTO = "auto"  # the server is told by its metrics


@dataclass(frozen=True, slots=True)
class Settings:
    """A back-test's settings, checked; None: worked out from the history, or as the replica's prior has it."""

    source: str
    html: Path | None = None
    json: Path | None = None
    replica: str = "generic"
    tokens_per_step: int | None = None
    sequences: int | None = None
    lead_time_s: float = 120.0
    gpus_per_replica: int = 1
    gpu_price_per_hour: float | None = None
    objective: Objective = OBJECTIVE
    min_replicas: int = 1
    max_replicas: int | None = None
    keep_warm_s: float | None = None
    policies: tuple[str, ...] = DEFAULT_PEERS
    bound: bool = False
    advice: bool = True
    seed: int = 1
    warm_up_s: float | None = None
    period_s: float | None = None
    gaps: str = "exclude"
    most_gap_share: float = 0.2
    time_unit: str | None = None
    replicas_ran: Path | None = None
    replicas_ran_are: str = "asked"
    jobs: int | None = None
    service: str | None = None  # of a flight record
    query_labels: str = ""  # of a Prometheus server, and what follows too
    server: str = AUTO
    start: str | None = None
    end: str | None = None
    step_s: float = 60.0
    replicas_query: str | None = None
    token_file: Path | None = None

    @property
    def is_url(self) -> bool:
        """Whether the source is a server."""
        return self.source.startswith(("http://", "https://"))


def checked(settings: Settings) -> Settings:
    """The settings with every policy by name. Raises ConfigError with every problem at once."""
    settings = replace(settings, replica=settings.replica.strip().lower())
    found: list[Problem] = []
    if settings.replica not in PRIORS:
        found.append(_unknown("--replica", settings.replica, PRIORS))
    known = peers()
    names = tuple(known) if settings.policies == (ALL,) else settings.policies
    found += _choices(settings) + _unused(settings) + _unwritable(settings)
    found += [_unknown("--policies", name, known) for name in names if name not in known]
    asked = settings.objective
    for option, value in (
        ("--ttft-s", asked.ttft_s),
        ("--tpot-s", asked.tpot_s),
        ("--lead-time-s", settings.lead_time_s),
        ("--gpus-per-replica", settings.gpus_per_replica),
        ("--tokens-per-step", settings.tokens_per_step),
        ("--sequences", settings.sequences),
        ("--max-replicas", settings.max_replicas),
        ("--gpu-price-per-hour", settings.gpu_price_per_hour),
        ("--period-s", settings.period_s),
        ("--step", settings.step_s),
    ):
        if value is not None and not 0.0 < value < float("inf"):
            found.append(Problem(option, f"{value:g}", "a number above 0"))
    for option, value in (
        ("--seed", settings.seed),
        ("--warm-up-s", settings.warm_up_s),
        ("--keep-warm-s", settings.keep_warm_s),
    ):
        if value is not None and not 0.0 <= value < float("inf"):
            found.append(Problem(option, f"{value:g}", "a number of at least 0"))
    if not 0.0 < asked.attainment < 1.0:
        found.append(Problem("--attainment", f"{asked.attainment:g}", "a share between 0 and 1, such as 0.95"))
    if settings.min_replicas < 0:
        found.append(Problem("--min-replicas", str(settings.min_replicas), "0 or more"))
    if settings.max_replicas is not None and 0 < settings.max_replicas < settings.min_replicas:
        found.append(Problem("--max-replicas", str(settings.max_replicas), f"at least {settings.min_replicas}"))
    if not 0.0 <= settings.most_gap_share < 1.0:
        found.append(Problem("--most-gap-share", f"{settings.most_gap_share:g}", "a share from 0 to below 1"))
    if found:
        raise ConfigError("settings of the back-test", tuple(found))
    return replace(settings, policies=names)


def _choices(settings: Settings) -> list[Problem]:
    choices: tuple[tuple[str, str | None, Iterable[str]], ...] = (
        ("--gaps", settings.gaps, GAPS),
        ("--replicas-ran-are", settings.replicas_ran_are, COUNTS),
        ("--time-unit", settings.time_unit, UNITS),
        ("--server", settings.server, profile_names()),
    )
    found = [
        _unknown(option, value, known) for option, value, known in choices if value is not None and value not in known
    ]
    if settings.is_url and settings.step_s != round(settings.step_s):
        found.append(Problem("--step", f"{settings.step_s:g}", "whole seconds"))
    return found


def _unused(settings: Settings) -> list[Problem]:
    """Options that only a server answers to: a file is read whole, and who asked for a day of it would not see."""
    if settings.is_url:
        return []
    given: tuple[tuple[str, object], ...] = (
        ("--start", settings.start),
        ("--end", settings.end),
        ("--query-labels", settings.query_labels or None),
        ("--server", None if settings.server == AUTO else settings.server),
        ("--replicas-query", settings.replicas_query),
        ("--token-file", settings.token_file),
    )
    expected = "a Prometheus-compatible server as SOURCE: a file is read whole"
    return [Problem(option, str(value), expected) for option, value in given if value is not None]


def _unwritable(settings: Settings) -> list[Problem]:
    """Reports that could not be written: said before the simulation, not after it."""
    found = []
    for option, path in (("--html", settings.html), ("--json", settings.json)):
        if path is None:
            continue
        if path.is_dir():
            found.append(Problem(option, f"{path}, a folder", "a file to write"))
        elif not path.parent.is_dir():
            found.append(Problem(option, f"{path}, in a folder that is not there", "a file in a folder that is"))
        elif not os.access(path if path.exists() else path.parent, os.W_OK):
            found.append(Problem(option, f"{path}, which may not be written", "a file to write"))
    return found


def _unknown(option: str, value: str, known: Iterable[str]) -> Problem:
    names = sorted(known)
    close = difflib.get_close_matches(value, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return Problem(option, repr(value), f"one of {', '.join(names)}{hint}")
