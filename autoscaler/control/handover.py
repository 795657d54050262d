"""From one owner to the next: what a planner takes up, and what it must not let fall meanwhile."""

from __future__ import annotations

import json
from dataclasses import replace

from autoscaler.control.board import STALE_AFTER_PERIODS, Standing
from autoscaler.control.relay import Log
from autoscaler.core import Planner
from autoscaler.core.codec import from_json
from autoscaler.core.errors import AutoscalerError
from autoscaler.core.records import Decision, Mode, Observation, Reason, RoleDecision

HANDOVER = "handover"  # code of the reason; its numbers are what the planner itself decided, by role


def take_up(planner: Planner, log: Log) -> Observation | None:
    """Bring a planner to where the owner's stood; gives the last observation replayed.

    Raises SnapshotError if the snapshot cannot be used, and changes nothing then. An observation that cannot be read
    (an owner of another version) ends the replay: what came before it still counts.
    """
    planner.restore(log.saved.snapshot)
    last = None
    for one in log.since:
        try:
            observation = from_json(Observation, json.loads(one.observation), "observation")
        except (AutoscalerError, ValueError):
            break
        planner.observe(observation, one.at_s)
        last = observation
    return last


def not_below(decision: Decision, standing: Standing | None, now: float) -> Decision | None:
    """The decision of a new owner, raised to what was answered before it; None if it knows less than what stands.

    Only for as long as what stands may be answered as it is: three periods after it was decided, or for an unknown
    until its hold limit. A new owner may have taken up an older state than the last answer came from, and a fall for
    that reason would be a fault's.
    """
    if standing is None:
        return decision
    former, age_s = standing.decision, now - standing.decision.at_s
    if decision.mode is Mode.UNKNOWN:
        known = former.mode is not Mode.UNKNOWN and age_s <= standing.hold_limit_s
        return None if known else decision
    if age_s > STALE_AFTER_PERIODS * standing.period_s or former.mode is Mode.UNKNOWN:
        return decision
    roles = tuple(_at_least(one, former.role(one.role)) for one in decision.roles)
    if roles == decision.roles and (decision.active or not former.active):
        return decision
    numbers = tuple((f"{one.role or 'decided'}", float(one.replicas)) for one in decision.roles)
    text = "this replica has just taken over: none of what was answered before is taken away yet"
    reasons = (*decision.reasons, Reason(HANDOVER, text, numbers))
    return replace(decision, active=decision.active or former.active, roles=roles, reasons=reasons)


def _at_least(decided: RoleDecision, former: RoleDecision | None) -> RoleDecision:
    if former is None or former.replicas <= decided.replicas:
        return decided
    return replace(decided, replicas=former.replicas)
