"""Plain kernels and their compiled twins give the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.simulation import fleet as fleets
from autoscaler.simulation.engines import LLAMA_70B_H100X4, PREEMPTIONS, Params, new_requests
from autoscaler.simulation.kernel import compiled


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
    for ours, theirs in zip(plain.requests, fast.requests, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(plain.engines, fast.engines, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(plain.ended_s, fast.ended_s)
    np.testing.assert_array_equal(plain.line, fast.line)
