"""From listings and scrapes to replica states: what one role looks like at one time, without Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.config.records import TargetSettings
from autoscaler.core.records import Replica, ReplicaPhase, RoleObservation
from autoscaler.ports import Endpoint, ListedReplica, Listing, SampleSource, ScrapeState


@dataclass(slots=True)
class _Life:
    """One replica since it was first listed."""

    created_at_s: float | None  # None: it was there before us, so its start says nothing about the lead time
    ready_at_s: float | None = None
    answered: bool = False  # its page was read at least once in this life
    serial: int = 0  # restarts seen


class RoleWatch:
    """Remembers the replicas of one role from tick to tick, and tells their phases.

    A listed replica that never answered is starting. One that answered and now refuses connections has restarted: it
    starts again, under a new id. One that answered and now fails otherwise stays ready, with the failure: its load is
    unknown, not gone.
    """

    def __init__(self, settings: TargetSettings, owner: str) -> None:
        self._settings = settings
        self._owner = owner
        self._lives: dict[str, _Life] = {}
        self._first_listing = True

    def endpoints(self, listing: Listing) -> tuple[Endpoint, ...]:
        """The pages to scrape for this listing."""
        settings = self._settings
        return tuple(
            Endpoint(self._key(listed), listed.metrics_url, settings.server, settings.access, group=self._owner)
            for listed in listing.replicas or ()
        )

    def observe(self, listing: Listing, samples: SampleSource, now: float) -> RoleObservation:
        """The role as known at `now`."""
        if listing.replicas is None:
            return RoleObservation(self._settings.role, None)
        listed = {self._key(replica): replica for replica in listing.replicas}
        for key in self._lives.keys() - listed.keys():
            del self._lives[key]
        replicas = tuple(self._replica(key, replica, samples.state(key), now) for key, replica in listed.items())
        self._first_listing = False
        return RoleObservation(self._settings.role, replicas)

    def _key(self, listed: ListedReplica) -> str:
        return f"{self._owner}|{listed.replica_id}"

    def _replica(self, key: str, listed: ListedReplica, state: ScrapeState, now: float) -> Replica:
        life = self._lives.get(key)
        if life is None:
            created_at_s = listed.created_at_s
            if created_at_s is None and not self._first_listing:
                created_at_s = now
            life = self._lives[key] = _Life(created_at_s)
        sample = state.sample
        if life.answered and state.refused:
            life = self._lives[key] = _Life(now, serial=life.serial + 1)
        if sample is not None and state.failure is None and not life.answered:
            life.answered = True
            if life.created_at_s is not None:
                life.ready_at_s = max(sample.at_s, life.created_at_s)
        return Replica(
            replica_id=f"{listed.replica_id}#{life.serial}" if life.serial else listed.replica_id,
            phase=ReplicaPhase.READY if life.answered else ReplicaPhase.STARTING,
            created_at_s=life.created_at_s,
            ready_at_s=life.ready_at_s,
            sample=sample if life.answered else None,
            failure=state.failure,
            restarts=life.serial,
        )


def watches(service: str, targets: tuple[TargetSettings, ...]) -> Mapping[str, RoleWatch]:
    """One watch per role of a service."""
    return {target.role: RoleWatch(target, f"{service}/{target.role}") for target in targets}
