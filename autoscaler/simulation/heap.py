"""Binary heaps in the rows of two arrays: keys, smallest first, and what they belong to.

Law: kernels; the caller keeps the count of each row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoscaler.simulation.kernel import kernel


@kernel
def rise(keys: NDArray[np.float64], ids: NDArray[np.int64], row: int, place: int, key: float, one: int) -> None:
    """Put an entry at a free place, or above it where the heap wants it."""
    while place > 0:
        parent = (place - 1) // 2
        if keys[row, parent] <= key:
            break
        keys[row, place] = keys[row, parent]
        ids[row, place] = ids[row, parent]
        place = parent
    keys[row, place] = key
    ids[row, place] = one


@kernel
def replace(
    keys: NDArray[np.float64], ids: NDArray[np.int64], row: int, place: int, count: int, key: float, one: int
) -> None:
    """Put an entry in the place of another, among the first `count` of the row, and mend the heap."""
    if place > 0 and key < keys[row, (place - 1) // 2]:
        rise(keys, ids, row, place, key, one)
        return
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        if child + 1 < count and keys[row, child + 1] < keys[row, child]:
            child += 1
        if keys[row, child] >= key:
            break
        keys[row, place] = keys[row, child]
        ids[row, place] = ids[row, child]
        place = child
    keys[row, place] = key
    ids[row, place] = one
