"""From listings and scrapes to replica states: what one role looks like at one time, without Kubernetes."""

from __future__ import annotations

from dataclasses import dataclass

from autoscaler.config.records import TargetSettings
from autoscaler.core.records import Replica, ReplicaPhase, RoleObservation
from autoscaler.ports import Endpoint, ListedReplica, Listing, ReplicaSource, SampleSource, ScrapeState


@dataclass(slots=True)
class _Life:
    """One replica since it was first listed."""

    created_at_s: float | None
    watched: bool  # from its creation on; any other start says nothing of the lead time, whatever age a list tells
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
        self._looked_at_s: float | None = None  # when the list before the newest one was read

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
        self._looked_at_s = listing.at_s
        return RoleObservation(self._settings.role, replicas)

    def resume(self, role: RoleObservation) -> None:
        """Take up the lives that another replica of ours saw, so that one that is silent now is not taken for new.

        Whether a start that is under way was watched from its creation cannot be told: it is not learned from.
        """
        for replica in role.replicas or ():
            serial = replica.restarts
            listed_id = replica.replica_id.removesuffix(f"#{serial}") if serial else replica.replica_id
            self._lives[f"{self._owner}|{listed_id}"] = _Life(
                replica.created_at_s,
                watched=False,
                ready_at_s=replica.ready_at_s,
                answered=replica.phase is ReplicaPhase.READY,
                serial=serial,
            )

    def _new(self, listed: ListedReplica, now: float) -> _Life:
        """A replica seen for the first time: watched if it was created since the list was last read."""
        looked_at_s, created_at_s = self._looked_at_s, listed.created_at_s
        watched = looked_at_s is not None and (created_at_s is None or created_at_s >= looked_at_s)
        return _Life(now if watched and created_at_s is None else created_at_s, watched)

    def _key(self, listed: ListedReplica) -> str:
        return f"{self._owner}|{listed.replica_id}"

    def _replica(self, key: str, listed: ListedReplica, state: ScrapeState, now: float) -> Replica:
        life = self._lives.get(key)
        if life is None:
            life = self._lives[key] = self._new(listed, now)
        sample = state.sample
        if life.answered and state.refused:
            life = self._lives[key] = _Life(now, watched=False, serial=life.serial + 1)
        if sample is not None and state.failure is None and not life.answered:
            life.answered = True
            if life.watched and life.created_at_s is not None:
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


class ListedRole:
    """A role whose replicas a list names (a `RoleSource`)."""

    def __init__(self, settings: TargetSettings, owner: str, source: ReplicaSource) -> None:
        self._watch = RoleWatch(settings, owner)
        self._source = source

    def endpoints(self) -> tuple[Endpoint, ...] | None:
        """The pages of the newest list; None before the first."""
        listing = self._source.listing()
        return None if listing.replicas is None else self._watch.endpoints(listing)

    def observe(self, samples: SampleSource, now: float) -> RoleObservation:
        """The role as known at `now`."""
        return self._watch.observe(self._source.listing(), samples, now)

    def resume(self, role: RoleObservation) -> None:
        """Take up the lives that another replica of ours saw."""
        self._watch.resume(role)
