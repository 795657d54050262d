"""A service's past as its planner would have observed it: pages as they were scraped, a look every quarter of a minute.

Law: pure. The series of one replica at one time are put together as the page they were scraped from, so a reset, a gap
and a replica that came late are what they were. Starts are not seen, so no lead time is learned.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median

from autoscaler.core import Planner
from autoscaler.core.demand import SLOT_S
from autoscaler.core.errors import TargetError
from autoscaler.core.records import (
    Observation,
    Replica,
    ReplicaPhase,
    RoleObservation,
    Sample,
    ServiceMode,
    ServiceSpec,
)
from autoscaler.exposition import Labels, Page, normal
from autoscaler.modelservers import read_sample
from autoscaler.warm.prometheus_api import Series
from autoscaler.warm.series import replica_label

STEP_S = SLOT_S  # demand is kept in slots as long as this
MISSED = 2.5  # scrapes without a sample, and the replica is gone


def samples_of(series: Iterable[Series], server: str) -> dict[str, list[Sample]]:
    """What each replica's page said at each of its scrapes, in order of time."""
    rows = list(series)
    key = replica_label([row.labels for row in rows])
    pages: dict[tuple[str, float], dict[str, list[tuple[Labels, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        name, replica_id = normal(row.labels.get("__name__", "")), row.labels.get(key, "")
        for at_s, value in row.points:
            pages[replica_id, at_s][name].append((row.labels, value))
    found: dict[str, list[Sample]] = defaultdict(list)
    for (replica_id, at_s), page in sorted(pages.items()):
        try:
            found[replica_id].append(read_sample(Page(page), server, at_s))
        except TargetError:  # half a page: nothing is told by it
            continue
    return found


def interval_s(samples: Mapping[str, list[Sample]]) -> float | None:
    """How far apart scrapes are; None without two of one replica."""
    gaps = [b.at_s - a.at_s for one in samples.values() for a, b in pairwise(one)]
    return median(gaps) if gaps else None


@dataclass(slots=True)
class Replay:
    """A fresh planner that lives through the past, part by part, oldest first."""

    spec: ServiceSpec
    scraped_every_s: float
    planner: Planner = field(default_factory=Planner)
    requests: float = 0.0
    looks: int = 0  # that showed replicas
    at_s: float = 0.0  # of the last look
    _newest: dict[str, dict[str, Sample]] = field(default_factory=dict)  # role -> replica -> its last page

    def take(self, roles: Mapping[str, Mapping[str, list[Sample]]], from_s: float, until_s: float) -> None:
        """The pages of a part of the past, by role and replica; looks are at every step after `from_s`."""
        waiting = {
            role: {replica_id: iter([*samples, None]) for replica_id, samples in found.items()}
            for role, found in roles.items()
        }
        ahead = {role: {key: next(samples) for key, samples in found.items()} for role, found in waiting.items()}
        spec, now = self._spec(), from_s
        while now + STEP_S <= until_s + 1e-6:
            now += STEP_S
            for role, found in ahead.items():
                for replica_id, sample in found.items():
                    while sample is not None and sample.at_s <= now:
                        self._next(role, replica_id, sample)
                        sample = next(waiting[role][replica_id])  # noqa: PLW2901 -- the stream is what is walked
                    found[replica_id] = sample
            observed = tuple(self._role(role.role, now) for role in spec.roles)
            self.looks += all(role.replicas for role in observed)
            self.planner.observe(Observation(spec, observed), now)
            self.at_s = now

    def counts(self) -> dict[str, int]:
        """Replicas of each role at the end."""
        return {role.role: len(self._role(role.role, self.at_s).replicas or ()) for role in self.spec.roles}

    def learned(self, now: float) -> bytes:
        """The planner's state, without what was there: that is seen anew."""
        self.planner.forget_presence(now)
        return self.planner.snapshot()

    def _spec(self) -> ServiceSpec:
        """Nothing is known of gateways and nobody acted; pages are as old as scrapes are apart."""
        stale_s = max(self.spec.stale_after_s, MISSED * self.scraped_every_s)
        return replace(
            self.spec,
            mode=ServiceMode.ACT,
            has_wake_source=False,
            zero_without_wake_source=True,
            period_s=STEP_S,
            stale_after_s=stale_s,
        )

    def _next(self, role: str, replica_id: str, sample: Sample) -> None:
        newest = self._newest.setdefault(role, {})
        last = newest.get(replica_id)
        if last is not None and sample.at_s <= last.at_s:
            return
        if last is not None and sample.arrivals_counter is not None and last.arrivals_counter is not None:
            self.requests += max(0.0, sample.arrivals_counter - last.arrivals_counter)
        newest[replica_id] = sample

    def _role(self, role: str, now: float) -> RoleObservation:
        """None where nobody was scraped: at zero, or Prometheus was away, which cannot be told apart."""
        newest = self._newest.get(role, {})
        for gone in [key for key, one in newest.items() if now - one.at_s > MISSED * self.scraped_every_s]:
            del newest[gone]
        replicas = tuple(Replica(key, ReplicaPhase.READY, sample=one) for key, one in sorted(newest.items()))
        return RoleObservation(role, replicas or None)
