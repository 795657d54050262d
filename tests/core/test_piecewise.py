"""One value of a broken line, against numpy's."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.piecewise import at

VALUES = st.floats(-1e6, 1e6)
POINTS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=40)


@given(POINTS, VALUES)
def test_it_is_numpys_interpolation_to_the_last_bit(points: list[tuple[float, float]], x: float) -> None:
    xs, ys = sorted(x for x, _ in points), [y for _, y in points]
    for one in (x, *xs):
        assert at(one, xs, ys) == float(np.interp(one, xs, ys))


def test_where_a_line_stands_still_the_last_of_equal_places_counts() -> None:
    """Shares of a rehearsal are flat where replicas no longer matter: as numpy, or an aim would jump."""
    assert at(-0.95, [-0.99, -0.95, -0.95, -0.9], [0.0, 1.0, 2.0, 3.0]) == 2.0
