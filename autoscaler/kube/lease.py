"""A Lease as a record, and who may hold it: pure rules, time is an argument.

The record's own times are for people: clocks of two machines differ, so everyone times the record by when they
themselves saw it change, as client-go's leader election does.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, replace
from typing import Any

from autoscaler.core.errors import ConfigError, Problem
from autoscaler.kube.decoding import Json
from autoscaler.kube.resources import LEASES

# Of the term, counted from when a record was seen: then a candidate begins. client-go waits for all of it, though its
# owners too stop at two thirds. Seen up to 2.4 s after it was written, and asked again within 0.2 s, that is inside one
# term of the owner's last breath, whatever it died of; waiting for the whole term was 16.9 s at the worst.
PATIENCE = 0.8


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How long a lease lasts, in seconds; the values are client-go's defaults (tools/leaderelection).

    An owner stops `renew_deadline_s` after it sent its last successful renewal, others begin `PATIENCE` of `lease_s`
    after they saw it: two clocks may differ in speed by the ratio of both (1.2), and never is there a second owner.
    """

    lease_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0

    def __post_init__(self) -> None:
        if not PATIENCE * self.lease_s > self.renew_deadline_s > self.retry_s > 0:
            found = f"lease {self.lease_s} s, renew deadline {self.renew_deadline_s} s, retry {self.retry_s} s"
            wanted = f"{PATIENCE:.0%} of the lease longer than the renew deadline, and that longer than the retry"
            problem = Problem("lease", found, wanted)
            raise ConfigError("leader election", (problem,))


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What the Lease says; `holder` "" is nobody's."""

    holder: str
    lease_s: float
    acquired: str
    renewed: str
    transitions: int

    @staticmethod
    def read(document: Json, default_lease_s: float) -> LeaseRecord:
        """From the API's object."""
        spec: dict[str, Any] = document.get("spec") or {}
        return LeaseRecord(
            holder=str(spec.get("holderIdentity") or ""),
            lease_s=float(spec.get("leaseDurationSeconds") or default_lease_s),
            acquired=str(spec.get("acquireTime") or ""),
            renewed=str(spec.get("renewTime") or ""),
            transitions=int(spec.get("leaseTransitions") or 0),
        )

    def document(self, name: str, namespace: str, version: str | None) -> Json:
        """As the API's object; with a version it replaces exactly that one."""
        metadata = {"name": name, "namespace": namespace} | ({"resourceVersion": version} if version else {})
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": metadata,
            "spec": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": math.ceil(self.lease_s),
                "acquireTime": self.acquired,
                "renewTime": self.renewed,
                "leaseTransitions": self.transitions,
            },
        }


@dataclass(frozen=True, slots=True)
class Observed:
    """A record, its version, and when it was first seen as it is, on our clock."""

    record: LeaseRecord
    version: str | None  # None: the object was deleted, its term is still respected
    since_s: float

    @property
    def ends_s(self) -> float:
        """When a candidate may begin if nothing changes until then."""
        return self.since_s + PATIENCE * self.record.lease_s

    def free(self, now: float) -> bool:
        """Whether anybody may take it: nobody holds it, or its holder has stopped for want of a renewal."""
        return not self.record.holder or now >= self.ends_s


def observe(before: Observed | None, record: LeaseRecord, version: str, now: float) -> Observed:
    """What is known after a read: an unchanged record keeps the time at which it was first seen."""
    same = before is not None and before.record == record
    return Observed(record, version, before.since_s if same and before is not None else now)


def vanished(before: Observed | None, now: float) -> Observed | None:
    """What is known after a read that found no Lease: its last holder still believes in it until its term ends.

    Counted from now, if it was there before: the holder may have renewed since we looked, up to its deletion.
    """
    return before if before is None or before.version is None else replace(before, version=None, since_s=now)


def taken(before: Observed | None, identity: str, terms: LeaseTerms, unix_s: float) -> LeaseRecord:
    """The record that takes or renews the Lease."""
    stamp = micro_time(unix_s)
    if before is not None and before.record.holder == identity:
        return replace(before.record, lease_s=terms.lease_s, renewed=stamp)
    transitions = 0 if before is None else before.record.transitions + 1
    return LeaseRecord(identity, terms.lease_s, stamp, stamp, transitions)


def released(before: Observed, unix_s: float) -> LeaseRecord:
    """The record that gives the Lease back, so that the next owner need not wait for its end."""
    stamp = micro_time(unix_s)
    return LeaseRecord("", 1.0, stamp, stamp, before.record.transitions)


def micro_time(unix_s: float) -> str:
    """A time as the API's MicroTime spells it."""
    return dt.datetime.fromtimestamp(unix_s, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
