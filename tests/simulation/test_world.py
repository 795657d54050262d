"""Which pods a world takes away, by the ReplicaSet's order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autoscaler.simulation.fleet import LOADING, SERVING
from autoscaler.simulation.scenario import Starts
from autoscaler.simulation.world import World
from tests.fakes.small_worlds import small_scenario, steps

IDLE = steps((1.0, 1.0))


def serials(world: World) -> list[int]:
    """Every pod there is, by the number of its life, in the order in which it would be taken away."""
    return [int(world._serials[place]) for place in world._removal_order()]


def world(starts: Starts) -> World:
    made = World(replace(small_scenario(IDLE, 4000.0), starts=starts), 0)
    made._advance(10.0)
    return made


def test_a_pod_without_a_node_goes_first_then_one_that_loads_then_the_youngest_that_serves() -> None:
    # Starts of 30 s for a node and 60 s on it, without jitter; pod 1 has served from the beginning.
    it = world(Starts(60.0, 30.0, 0.0))
    it.scale_to(2)  # pod 2 serves from 100 s on
    it._advance(1000.0)
    it.scale_to(3)  # pod 3 is on a node at 1030 s
    it._advance(1035.0)
    it.scale_to(4)  # pod 4 waits for one until 1065 s
    it._advance(1040.0)
    assert serials(it)[:2] == [4, 3]
    # 940 s of serving are nine powers of two and 1,040 s are ten.
    assert serials(it)[2:] == [2, 1]


def test_of_two_that_load_on_a_node_the_younger_goes_first() -> None:
    it = world(Starts(60.0, 0.0, 0.0))
    it.scale_to(2)
    it._advance(20.0)
    it.scale_to(3)
    it._advance(30.0)
    assert serials(it) == [3, 2, 1]


def test_pods_that_served_about_as_long_go_in_any_order() -> None:
    # 630 and 930 s are between the same powers of two, 1,030 s is beyond: the next rule is a pod's random identity.
    it = world(Starts(60.0, 0.0, 0.0))
    it._advance(40.0)
    it.scale_to(2)
    it._advance(340.0)
    it.scale_to(3)
    it._advance(1030.0)
    assert {serials(it)[0] for _ in range(40)} == {2, 3}
    assert serials(it)[2] == 1


def test_a_decrease_takes_the_first_of_that_order_and_no_more() -> None:
    it = world(Starts(60.0, 0.0, 0.0))
    it.scale_to(3)
    it._advance(200.0)
    it.scale_to(5)
    it._advance(210.0)
    order = serials(it)
    it.scale_to(3)
    it._advance(211.0)
    left = {int(it._serials[place]) for place in np.nonzero(np.isin(it.fleet.phase, (LOADING, SERVING)))[0]}
    assert left == set(order[2:])
