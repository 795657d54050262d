"""How long a start takes, and what replicas that are on their way are worth until one asked for now would serve.

Law: only what was measured makes a replica stuck; a stuck replica is not capacity, however long it has been listed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.core.records import Reason, Replica
from autoscaler.core.tracking import Tracked

QUANTILE = 0.9  # of what was measured
# Lead times. Starts differ by a fifth with a warm cache and by half without (simulation/scenario.py); twice the 90th
# percentile is none of them. Four pods that waited for a node for two hours stood for 560 requests worked off.
STUCK = 2.0
# Until a start was measured: what a Deployment calls no progress (progressDeadlineSeconds, 600 by default).
NO_PROGRESS_S = 600.0


@dataclass(frozen=True, slots=True)
class Lead:
    """Decision to serving, seconds: all of it, the part before a pod has a node, and whether any start was measured."""

    total_s: float
    node_s: float | None = None  # None: not measured
    measured: bool = False

    @property
    def stuck_s(self) -> float:
        """From this age on a replica that does not serve is stuck."""
        return STUCK * (self.total_s if self.measured else max(self.total_s, NO_PROGRESS_S))

    def is_stuck(self, replica: Replica, now: float) -> bool:
        """Whether a replica that does not serve yet should have long ago."""
        return _age_s(replica, now) > self.stuck_s

    def served_s(self, replica: Replica, now: float) -> float:
        """How long a replica on its way will have served when one that is asked for now does."""
        if self.is_stuck(replica, now):
            return 0.0
        # One without a node has the whole start of a pod before it; only the wait for the node may be over.
        spared_s = self.total_s if self.node_s is None or replica.scheduled_at_s is not None else self.node_s
        return min(self.total_s, spared_s, _age_s(replica, now))


def lead_of(tracked: Tracked, prior_s: float) -> Lead:
    """Decision to serving at the 90th percentile of what was measured; the prior until one start was seen."""
    reacts_s = _quantile(tracked.reacts_s) if tracked.reacts_s else 0.0
    if not tracked.starts_s:
        return Lead(prior_s + reacts_s)
    node_s = _quantile(tracked.nodes_s) if tracked.nodes_s else None
    return Lead(_quantile(tracked.starts_s) + reacts_s, node_s, measured=True)


def stuck_reason(lead: Lead, coming: Sequence[Replica], now: float) -> Reason | None:
    """Why replicas that are listed do not count; None: none is stuck."""
    ages_s = [_age_s(replica, now) for replica in coming if lead.is_stuck(replica, now)]
    if not ages_s:
        return None
    nodeless = sum(lead.is_stuck(replica, now) and replica.scheduled_at_s is None for replica in coming)
    who = f"{len(ages_s)} replicas do" if len(ages_s) > 1 else "1 replica does"
    text = (
        f"{who} not serve after {max(ages_s):.0f} s, {nodeless} of them without a node, where a start takes "
        f"{lead.total_s:.0f} s: not counted on"
    )
    numbers = (("stuck", float(len(ages_s))), ("without_node", float(nodeless)), ("lead_time_s", lead.total_s))
    return Reason("stuck", text, numbers)


def _age_s(replica: Replica, now: float) -> float:
    return 0.0 if replica.created_at_s is None else max(0.0, now - replica.created_at_s)


def _quantile(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(QUANTILE * len(ordered)) - 1)]
