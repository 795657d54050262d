"""Plain kernels and their compiled twins give the same bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autoscaler.simulation import fleet as fleets
from autoscaler.simulation.engines import FINISHED, LLAMA_70B_H100X4, PREEMPTIONS, Params, new_requests
from autoscaler.simulation.kernel import bound, compiled, kernel


def play(params: Params, routing: int, *, fast: bool) -> fleets.Fleet:
    """Two minutes of overload with starts, a removal while loaded, a removal while loading, and requests held."""
    run, create, retire = (compiled(f) if fast else f for f in (fleets.run, fleets.create, fleets.retire))
    rng = np.random.default_rng(3)
    count = 900
    requests = new_requests(
        np.sort(rng.uniform(0.0, 120.0, count)), rng.lognormal(6.5, 1.0, count).round(), rng.lognormal(4.0, 1.0, count)
    )
    fleet = fleets.new_fleet(requests, params, 6, rng.random(count), routing)
    for start_s in (10.0, 25.0, 40.0, 400.0):
        create(fleet, 0.0, 5.0, start_s)
    for k in range(1, 200):
        run(fleet, params, 2.0 * k)
        if k == 35:
            retire(fleet, 1, 2.0 * k)
        if k == 40:
            retire(fleet, 3, 2.0 * k)
            create(fleet, 2.0 * k, 0.0, 3.0)
    return fleet


@pytest.mark.parametrize("routing", [fleets.LEAST_LOADED, fleets.RANDOM])
@pytest.mark.parametrize("kv_tokens", [476_864.0, 9_000.0])
def test_a_compiled_fleet_is_the_plain_one_bit_by_bit(routing: int, kv_tokens: float) -> None:
    pytest.importorskip("numba", reason="needs the lab extra")
    params = LLAMA_70B_H100X4._replace(kv_tokens=kv_tokens, cached_share=0.25, batched_tokens=512.0)
    plain, fast = play(params, routing, fast=False), play(params, routing, fast=True)
    assert (plain.requests.finish_s > 0.0).all()
    assert (plain.engines.ints[:, PREEMPTIONS].sum() > 0) == (kv_tokens == 9_000.0)
    same(plain, fast)


def same(plain: fleets.Fleet, fast: fleets.Fleet) -> None:
    """Every array of two fleets, bit by bit."""
    for name in ("requests", "engines", "past"):
        for ours, theirs in zip(getattr(plain, name), getattr(fast, name), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for name in ("phase", "created_s", "scheduled_s", "ready_s", "ended_s", "serving", "line"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(fast, name))


@dataclass(frozen=True)
class Script:
    """Traffic, a replica, and a count of replicas wanted at every second look."""

    seed: int
    count: int
    rate_rps: float
    params: Params
    routing: int
    wanted: list[int]


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    params = LLAMA_70B_H100X4._replace(
        kv_tokens=draw(st.sampled_from([2_000.0, 9_000.0, 476_864.0])),
        sequences=draw(st.sampled_from([1, 4, 256])),
        batched_tokens=draw(st.sampled_from([64.0, 512.0, 2048.0])),
        cached_share=draw(st.sampled_from([0.0, 0.25, 0.9])),
        overhead_s=draw(st.sampled_from([0.0, 0.015])),
        overlap=draw(st.sampled_from([0.0, 0.5, 1.0])),
    )
    return Script(
        draw(st.integers(0, 2**32 - 1)),
        draw(st.integers(1, 150)),
        draw(st.sampled_from([0.5, 5.0, 50.0])),
        params,
        draw(st.sampled_from([fleets.RANDOM, fleets.LEAST_LOADED])),
        draw(st.lists(st.integers(0, 4), min_size=1, max_size=12)),
    )


def follow(script: Script, *, fast: bool) -> fleets.Fleet:
    """A fleet made to have the wanted replicas every 3 s: starts, drains, times at zero in which requests are held."""
    rng = np.random.default_rng(script.seed)
    arrival_s = np.cumsum(rng.exponential(1.0 / script.rate_rps, script.count))
    sizes = rng.lognormal(6.0, 1.2, script.count).round(), rng.lognormal(3.5, 1.0, script.count).round()
    requests = new_requests(arrival_s, *sizes)
    fleet = fleets.new_fleet(requests, script.params, 6, rng.random(script.count), script.routing)
    run, create, retire = fleets.run, fleets.create, fleets.retire
    if fast:
        run = bound(run, fleet, script.params, 0.0)
        create, retire = bound(create, fleet, 0.0, 0.0, 0.0), bound(retire, fleet, 0, 0.0)
    for k, wanted in enumerate(script.wanted):
        run(fleet, script.params, 3.0 * k + 0.5)
        alive = np.nonzero((fleet.phase == fleets.LOADING) | (fleet.phase == fleets.SERVING))[0]
        for _ in range(wanted - len(alive)):
            create(fleet, 3.0 * k + 0.5, rng.uniform(0.0, 1.0), rng.uniform(0.0, 4.0))
        for place in alive[wanted:]:
            retire(fleet, int(place), 3.0 * k + 0.5)
    run(fleet, script.params, 60.0)
    return fleet


# At zero first and last, and a cache so small that most of it is computed twice.
HARD = Script(1, 150, 5.0, LLAMA_70B_H100X4._replace(kv_tokens=2000.0, sequences=4), fleets.RANDOM, [0, 0, 3, 1, 0])


@settings(max_examples=40, deadline=None)
@example(HARD)
@given(scripts())
def test_any_fleet_compiled_is_the_plain_one_bit_by_bit(script: Script) -> None:
    pytest.importorskip("numba", reason="needs the lab extra")
    same(follow(script, fast=False), follow(script, fast=True))


def test_the_hard_script_is_hard() -> None:
    fleet = follow(HARD, fast=False)
    assert fleet.engines.ints[:, PREEMPTIONS].sum() + fleet.past.ints[0, PREEMPTIONS] > 0
    assert 0 < fleet.line[fleets.HELD] < len(fleet.requests.arrival_s)
    # The replicas that went at 12.5 s had requests inside: they ended when those were done.
    assert 12.5 < fleet.ended_s[fleet.ended_s < np.inf].max() < 60.0


@settings(max_examples=40, deadline=None)
@given(scripts())
def test_every_request_of_a_fleet_is_held_inside_or_finished(script: Script) -> None:
    fleet = follow(script, fast=True)
    came = int(fleet.line[fleets.NEXT])
    finished = int((fleet.requests.finish_s[:came] >= 0.0).sum())
    assert fleet.line[fleets.HELD] + fleet.engines.load.sum() + finished == came
    assert fleet.line[fleets.ROUTED] == came - fleet.line[fleets.HELD]
    there = (fleet.phase == fleets.LOADING) | (fleet.phase == fleets.SERVING)
    assert fleet.line[fleets.ALIVE] == there.sum()
    assert (fleet.requests.first_s[came:] < 0.0).all()
    # The counters of every life, present and past, tell of each finished request once.
    assert fleet.engines.ints[:, FINISHED].sum() + fleet.past.ints[0, FINISHED] == finished
    # Nobody takes a request before it is ready or after it was told to drain.
    gone = fleet.phase == fleets.ABSENT
    assert fleet.engines.load[gone].sum() == 0


def test_a_kernel_is_bound_for_the_types_it_is_given_and_anew_for_others() -> None:
    pytest.importorskip("numba", reason="needs the lab extra")
    assert bound(_total, np.ones(3))(np.full(3, 2.5)) == 7.5
    assert bound(_total, np.ones(3)) is bound(_total, np.zeros(7))
    assert bound(_total, np.ones(3, dtype=np.int64))(np.full(3, 2)) == 6


@kernel
def _total(some: np.ndarray) -> float:
    total = some[0] * 0
    for k in range(some.shape[0]):
        total += some[k]
    return total
