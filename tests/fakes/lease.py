"""A Lease as the cluster keeps it, and what each of our replicas believes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoscaler.ports import Clock

DURATION_S = 15.0  # after which anybody may take it
DEADLINE_S = 10.0  # after which a holder that could not renew stops: before anybody may take it


@dataclass(slots=True)
class Lease:
    """The object in the API server."""

    holder: str | None = None
    renewed_at_s: float = -1e9


class Elector:
    """One replica's view (an `Ownership`); it renews whenever it is asked, as long as it reaches the API server."""

    def __init__(self, lease: Lease, clock: Clock, address: str) -> None:
        self._lease = lease
        self._clock = clock
        self.address = address
        self.reaches_api = True
        self.fit: Callable[[], bool] = lambda: True
        self.stopped = False  # the process is gone
        self._renewed_at_s: float | None = None
        self._seen: str | None = None  # the holder as last read

    def _look(self) -> None:
        lease, now = self._lease, self._clock.now()
        if not self.reaches_api or self.stopped:
            return
        free = lease.holder is None or now - lease.renewed_at_s > DURATION_S
        if lease.holder == self.address or (free and self.fit()):
            lease.holder, lease.renewed_at_s = self.address, now
            self._renewed_at_s = now
        else:
            self._renewed_at_s = None
        self._seen = lease.holder

    def is_owner(self) -> bool:
        """While renewed within the deadline, by this replica's own clock."""
        self._look()
        return (
            not self.stopped and self._renewed_at_s is not None and self._clock.now() - self._renewed_at_s < DEADLINE_S
        )

    def owner(self) -> str | None:
        """The holder as last read."""
        return self._seen

    def look(self) -> None:
        """It looks whenever it is asked anything."""

    def others_may_own(self) -> bool:
        """Never: it is always the Lease that says who owns."""
        return False

    async def release(self) -> None:
        """Let anybody take it at once."""
        self.stopped = True
        if self._lease.holder == self.address and self.reaches_api:
            self._lease.holder = None
