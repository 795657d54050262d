"""A flight record as a history: what its observations saw arrive, and what really ran."""

from __future__ import annotations

from pathlib import Path

from autoscaler.backtest.counters import LEAST_GAP_S, Look, Reading, counted
from autoscaler.backtest.history import Told
from autoscaler.backtest.reconstruct import requests_of
from autoscaler.core.errors import ConfigError, Problem
from autoscaler.core.records import ReplicaPhase, Sample, ServiceId
from autoscaler.telemetry.recorder import Entry, read_record

PERIOD_S = 5.0
LOADING = (ReplicaPhase.PENDING, ReplicaPhase.STARTING)


def is_record(path: Path) -> bool:
    """Whether a path looks like a flight record: a folder, or a file of the recorder's name."""
    return path.is_dir() or (path.name.startswith("flight-") and ".jsonl" in path.name)


def read_flight(path: Path, seed: int, service: str | None = None, *, idle_gaps: bool = False) -> Told:
    """Read a record. Raises RecordError, or ConfigError: several services and none chosen, roles, nothing to count."""
    services: dict[ServiceId, _Service] = {}
    warnings: list[str] = []
    for entry in read_record(path, warnings.append):
        services.setdefault(entry.service, _Service()).take(entry)
    chosen = _chosen(path, list(services), service)
    seen = services[chosen]
    found: list[Problem] = []
    if seen.roles:
        expected = "a service of one role: a simulated replica does prefill and decode"
        found.append(Problem("roles", " and ".join(sorted(seen.roles)), expected))
    told = counted(sorted(seen.looks, key=lambda look: look.at_s), PERIOD_S)
    if told is None or not told.steps:
        expected = f"at least two with pages, less than {LEAST_GAP_S:g} s apart"
        found.append(Problem(str(chosen), f"{len(seen.looks)} observations", expected))
    elif not any(step.arrivals for step in told.steps):
        servers = ", ".join(sorted(seen.servers)) or "no server"
        found.append(Problem(str(chosen), f"pages of {servers}, no request counted", "a server that counts requests"))
    if found or told is None:
        raise ConfigError(str(path), tuple(found))
    try:
        trace, how = requests_of(told, seed)
    except ValueError as error:
        problem = Problem(str(chosen), str(error), "counters of prompt and output tokens")
        raise ConfigError(str(path), (problem,)) from None
    ran = "spec.replicas" if seen.has_spec else "the number of replicas listed"
    return Told(
        *trace,
        told.begin_s,
        told.end_s,
        () if idle_gaps else told.gaps,
        told.ran,
        resets=told.resets,
        reconstructed=how,
        warnings=tuple(warnings),
        facts=(f"{len(seen.looks):,} observations of {chosen} read from {path.name}; what ran is {ran}.",),
        service=str(chosen),
    )


def _chosen(path: Path, services: list[ServiceId], name: str | None) -> ServiceId:
    names = {str(one): one for one in services}
    listed = ", ".join(sorted(names))
    if name is not None and name in names:
        return names[name]
    if name is not None:
        raise ConfigError(str(path), (Problem("--service", repr(name), f"one of {listed or 'none: it is empty'}"),))
    if len(names) != 1:
        expected = f"--service with one of {listed}" if names else "the observations of a service"
        raise ConfigError(str(path), (Problem("the record", f"{len(names)} services", expected),))
    return services[0]


class _Service:
    """What a record says of one service."""

    def __init__(self) -> None:
        self.looks: list[Look] = []
        self.servers: set[str] = set()
        self.roles: set[str] = set()  # where there are several
        self.has_spec = False

    def take(self, entry: Entry) -> None:
        """One entry."""
        seen = entry.observation
        if seen is None:
            return
        if len(seen.roles) != 1:
            self.roles |= {role.role for role in seen.roles}
            return
        role = seen.roles[0]
        if role.replicas is None:
            self.looks.append(Look(entry.at_s, {}, is_known=False))
            return
        self.has_spec |= role.spec_replicas is not None
        readings = {}
        for one in role.replicas:
            if one.sample is not None and one.failure is None:
                readings[one.replica_id] = _reading(one.sample)
                self.servers.add(one.sample.server)
        there = sum(one.phase is not ReplicaPhase.DRAINING for one in role.replicas)
        # Replicas that serve but did not answer: nothing is known. None that serves: nothing arrived.
        serving = any(one.phase is ReplicaPhase.READY for one in role.replicas)
        self.looks.append(
            Look(
                entry.at_s,
                readings,
                there if role.spec_replicas is None else role.spec_replicas,
                frozenset(one.replica_id for one in role.replicas if one.phase in LOADING),
                is_known=bool(readings) or not serving,
            )
        )


def _reading(sample: Sample) -> Reading:
    return Reading(
        sample.arrivals_counter,
        sample.arrivals_pending or 0.0,
        sample.prompt_tokens,
        sample.generation_tokens,
        sample.prompt_sizes,
        sample.output_sizes,
        sample.started_at_s,
    )
