"""How far to lean from the aim: what is owed over the day is made up for, and what is ahead is spent.

Law: attainment is asked over the day; the change is bounded, and nothing is spent while pages show the share fall away.
"""

from __future__ import annotations

from autoscaler.core.attained import Attained
from autoscaler.core.records import Objective

LEAN_S = 2.0 * 3600.0  # misses allowed in so long, all of them owed or ahead,
LEAN = 0.25  # move the rate that one replica is meant to carry by so much of its logarithm
# Where misses are late first tokens they come in bursts, whatever the aim an hour before: leaning on them within two
# hours swung the aim by 11 % from one half hour to the next and cost up to 2 points of attainment. And the rehearsal
# expects more of them than come (docs/design.md).
CLIFF_S = 8.0 * 3600.0
EDGE = 0.12  # of ln(rate)
LEAN_BOUNDS = (-0.15, 0.4)
NEAR = 0.02  # points below the objective down to which pages may show the share before nothing more is spent


def lean(attained: Attained, objective: Objective, rate_rps: float, recent: float | None, cliff: float = 0.0) -> float:
    """What is owed or ahead over the day, as a change of ln(rate per replica); `recent` is the share pages show.

    `cliff` is 0 where times per token miss as well, 1 where only first tokens do and that is well known.

    Slowly, and in the rate and not in the share: at a cliff a point of the share is half a per cent of the rate, on a
    slope three, and shares are concave in the rate, so the same misses cost more if they come in turns.
    """
    allowed = max(1e-4, 1.0 - objective.attainment)
    over_s = LEAN_S + cliff * (CLIFF_S - LEAN_S)
    budget = allowed * max(rate_rps * over_s, 0.1 * attained.offered, 1.0)
    low, high = LEAN_BOUNDS
    change = min(high, max(low, EDGE * cliff - LEAN * attained.owed / budget))
    return min(0.0, change) if recent is not None and recent < objective.attainment - NEAR else change
