"""Windows and requests in flight."""

from __future__ import annotations

from autoscaler.simulation.policies.signals import Samples, in_flight
from tests.fakes.views import view


def test_in_flight_is_what_is_held_waits_and_runs() -> None:
    assert in_flight(view(waiting=[1, 2], running=[10, 20], held=4)) == 37


def test_a_value_as_old_as_the_window_is_forgotten() -> None:
    samples = Samples(30.0)
    for k, value in enumerate((9.0, 1.0, 2.0, 3.0)):
        samples.add(10.0 * k, value)
    assert samples.mean() == 2.0  # of 1, 2, 3: the 9 is 30 s old
    assert samples.mean(20.0) == 2.5  # of 2 and 3
    assert (samples.smallest(), samples.largest()) == (1.0, 3.0)


def test_a_page_is_new_once() -> None:
    samples = Samples(30.0)
    assert samples.is_new(0.0)
    samples.add(0.0, 1.0)
    assert not samples.is_new(0.0)
    assert samples.is_new(0.5)
