"""How far to lean from the aim: what is owed over the day is made up for, and what is ahead is spent.

Law: attainment is asked over the day; the change is bounded, and nothing is spent while pages show the share fall away.
"""

from __future__ import annotations

from autoscaler.core.attained import Attained
from autoscaler.core.records import Objective

LEAN_S = 2.0 * 3600.0  # misses allowed in so long, all of them owed or ahead,
LEAN = 0.25  # move the rate that one replica is meant to carry by so much of its logarithm
LEAN_BOUNDS = (-0.15, 0.4)
NEAR = 0.02  # points below the objective down to which pages may show the share before nothing more is spent


def lean(attained: Attained, objective: Objective, rate_rps: float, recent: float | None) -> float:
    """What is owed or ahead over the day, as a change of ln(rate per replica); `recent` is the share pages show.

    Slowly, and in the rate and not in the share: at a cliff a point of the share is half a per cent of the rate, on a
    slope three, and shares are concave in the rate, so the same misses cost more if they come in turns.
    """
    allowed = max(1e-4, 1.0 - objective.attainment)
    budget = allowed * max(rate_rps * LEAN_S, 0.1 * attained.offered, 1.0)
    low, high = LEAN_BOUNDS
    change = min(high, max(low, -LEAN * attained.owed / budget))
    return min(0.0, change) if recent is not None and recent < objective.attainment - NEAR else change
