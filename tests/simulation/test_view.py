"""What a policy is shown of a fleet, against the arrays of the fleet itself."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.simulation import fleet as fleets
from autoscaler.simulation.engines import (
    FINISHED,
    GENERATED,
    KV,
    LLAMA_70B_H100X4,
    PROMPT_DONE,
    STEPS,
    TTFT_S,
    WAITING,
    Engines,
    new_requests,
)
from autoscaler.simulation.view import PageReader, View

KV_TOKENS = 9_000.0
NOW_S = 120.0


@pytest.fixture(scope="module")
def seen() -> tuple[fleets.Fleet, View]:
    """Six lives in five places: one ended and its place was taken, one drains, one loads, one waits for a node."""
    rng = np.random.default_rng(5)
    count = 900
    params = LLAMA_70B_H100X4._replace(kv_tokens=KV_TOKENS)
    requests = new_requests(
        np.sort(rng.uniform(0.0, 130.0, count)), rng.lognormal(6.0, 1.0, count).round(), rng.lognormal(4.0, 1.0, count)
    )
    fleet = fleets.new_fleet(requests, params, 5, rng.random(count))
    for start_s in (1.0, 2.0, 3.0):
        fleets.create(fleet, 0.0, 0.0, start_s)
    fleets.run(fleet, params, 20.0)
    fleets.retire(fleet, 0, 20.0)
    fleets.run(fleet, params, 60.0)
    assert fleet.phase[0] == fleets.ABSENT
    assert fleets.create(fleet, 60.0, 1.0, 2.0) == 0
    fleets.run(fleet, params, 119.0)
    fleets.retire(fleet, 1, 119.0)
    fleets.create(fleet, 119.0, 0.5, 60.0)
    fleets.create(fleet, 119.0, 30.0, 60.0)
    fleets.run(fleet, params, NOW_S)
    assert fleet.phase.tolist() == [
        fleets.SERVING,
        fleets.DRAINING,
        fleets.SERVING,
        fleets.LOADING,
        fleets.LOADING,
    ]
    return fleet, PageReader(fleet, np.array([4, 2, 3, 5, 6]), KV_TOKENS).look(4, NOW_S)


def test_a_view_has_a_row_for_each_replica_that_serves_and_none_of_one_that_drains(
    seen: tuple[fleets.Fleet, View],
) -> None:
    fleet, view = seen
    engines, rows = fleet.engines, [0, 2]
    assert view.serial.tolist() == [4, 3]
    assert view.ready == 2
    assert view.spec == 4
    np.testing.assert_array_equal(view.floats, engines.floats[rows])
    np.testing.assert_array_equal(view.ints, engines.ints[rows])
    for name in ("ttft", "tpot", "step_tokens", "prompt_sizes", "output_sizes"):
        assert getattr(view, name).sum() > 0
        np.testing.assert_array_equal(getattr(view, name), getattr(engines, name)[rows])
    for name in ("created_s", "scheduled_s", "ready_s"):
        np.testing.assert_array_equal(getattr(view, name), getattr(fleet, name)[rows])
    np.testing.assert_array_equal(view.waiting, engines.ints[rows, WAITING])
    assert view.waiting.sum() > 0
    np.testing.assert_array_equal(view.running, engines.load[rows] - engines.ints[rows, WAITING])
    np.testing.assert_array_equal(view.kv_usage, np.minimum(1.0, engines.floats[rows, KV] / KV_TOKENS))


def test_a_replica_that_loads_is_told_with_its_node_and_one_that_has_none_without(
    seen: tuple[fleets.Fleet, View],
) -> None:
    _, view = seen
    assert [tuple(one) for one in view.coming] == [(5, 119.0, 119.5), (6, 119.0, None)]


def test_totals_are_those_of_every_life_the_ended_and_the_draining_too(seen: tuple[fleets.Fleet, View]) -> None:
    fleet, view = seen

    def total(columns: str, column: int) -> float:
        parts: list[Engines] = [fleet.past, fleet.engines]
        return float(sum(getattr(part, columns)[:, column].sum() for part in parts))

    assert fleet.past.ints[0, STEPS] > 0
    assert view.totals.finished == total("ints", FINISHED) == float((fleet.requests.finish_s >= 0.0).sum())
    assert view.totals.prompt_tokens == total("floats", PROMPT_DONE)
    assert view.totals.generated_tokens == total("floats", GENERATED)
    assert view.totals.ttft_s == pytest.approx(total("floats", TTFT_S), rel=1e-12)
    assert view.totals.first_tokens == float((fleet.requests.first_s >= 0.0).sum())
    np.testing.assert_array_equal(view.totals.ttft, fleet.past.ttft[0] + fleet.engines.ttft.sum(axis=0))
    np.testing.assert_array_equal(view.totals.tpot, fleet.past.tpot[0] + fleet.engines.tpot.sum(axis=0))


def test_a_view_keeps_what_it_saw_while_the_fleet_goes_on(seen: tuple[fleets.Fleet, View]) -> None:
    fleet, view = seen
    before = view.ints.copy(), view.totals.ttft.copy()
    fleets.run(fleet, LLAMA_70B_H100X4._replace(kv_tokens=KV_TOKENS), NOW_S + 20.0)
    assert (fleet.engines.ints[[0, 2]] != before[0]).any()
    np.testing.assert_array_equal(view.ints, before[0])
    np.testing.assert_array_equal(view.totals.ttft, before[1])
