"""Where more replicas stop being worth it: what no fleet can serve is not bought, and nearly so neither.

Law: pure. The share inside the objective rises ever more slowly with the fleet; past the knee a fleet twice as large
saves less than a given part of the misses that are allowed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Of the misses allowed: so much must a fleet twice as large save. On a slope of times per token it saves two thirds of
# what misses, so nothing is cut off there. With prompts near the largest that can be in time it saves next to nothing,
# and the estimate of where that is moves by a size: 6 or 29 replicas were asked for from one minute to the next
# (DeepSeek-R1, 99 %, 512 tokens a step).
WORTH = 0.55
BEST_SHORT = 0.005  # where the asked share cannot be had: as near to the best as this


def knee(logs: Floats, shares: Floats, allowed: float) -> float:
    """The largest logarithm of a rate whose half would not be worth it, -inf if every half would.

    `logs` rise, `shares` never do; `allowed` is the share that may miss.
    """
    gains = np.interp(logs - math.log(2.0), logs, shares) - shares
    few = np.flatnonzero(gains < WORTH * allowed)
    return float(logs[few[-1]]) if len(few) else -math.inf
