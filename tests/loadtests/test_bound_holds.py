"""The hindsight bound against every peer as published and ours, on five hours of traffic: nobody lies below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscaler.core.records import Objective
from autoscaler.simulation.clairvoyant import bound, hindsight
from autoscaler.simulation.ours import Ours, spec_of
from autoscaler.simulation.policies.peer import Deployment
from autoscaler.simulation.policies.registry import peers
from autoscaler.simulation.scenario import Scenario
from autoscaler.simulation.score import Score, score
from autoscaler.simulation.trace import read_trace
from autoscaler.simulation.world import World
from loadtests.benchmark.grid import Extent, Workload, cells, family_of, scenario_of
from loadtests.benchmark.verdict import UNDER_BOUND

TRACE = next((Path(__file__).parents[2] / "loadtests" / "traces").glob("azure2024-code*"))
ASKED = 0.95
BLOCK_S = 600.0
COMPARED = (0.8, 0.99)


def world() -> Scenario:
    trace = read_trace(TRACE)
    one = Workload("azure2024-code", family_of(trace), trace)
    cell = next(c for c in cells(one, Extent()) if (c.fleet, c.lead_time_s, c.step_tokens) == ("small", 120.0, 2048))
    return scenario_of(cell, one, Objective(attainment=ASKED))


def played(scenario: Scenario) -> dict[str, Score]:
    """Every peer at its published default, and ours."""
    deployment = Deployment.of(scenario)
    found = {
        name: score(World(scenario, 0).run(next(s for s in peer.settings if s.default).build(deployment)))
        for name, peer in peers().items()
    }
    return {**found, "ours": score(World(scenario, 0).run(Ours(spec_of(scenario))))}


@pytest.mark.timeout(180)  # numba compiles once per machine
def test_no_policy_lies_below_the_bound_at_its_own_attainment() -> None:
    pytest.importorskip("numba", reason="needs the lab extra")
    scenario = world()
    below, compared = {}, 0
    for name, one in played(scenario).items():
        if not COMPARED[0] <= one.attainment <= COMPARED[1]:
            continue
        # Of a table made for 0.95 the bound at 0.83 was 2 % too dear.
        least = bound(scenario, one.attainment, table=hindsight(scenario, one.attainment, BLOCK_S))
        if least.hit:
            compared += 1
            if one.gpu_hours < UNDER_BOUND * least.gpu_hours:
                below[name] = (one.attainment, one.gpu_hours, least.gpu_hours)
    assert compared >= 12  # 14 of 44; the others attain less than 80 % or more than 99 %
    assert not below
