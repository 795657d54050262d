"""Laws of the simulated replica on random traffic, and the same traffic through rules written a second time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autoscaler.simulation.engines import (
    DECODING,
    FINISHED,
    GENERATED,
    HEAD,
    ITL_COUNT,
    KV,
    NONE,
    NOW,
    PARTIAL,
    PREEMPTIONS,
    PROMISED,
    PROMPT_DONE,
    WAITING,
    Engines,
    Params,
    Requests,
    new_engines,
    new_requests,
)
from autoscaler.simulation.kernel import compiled
from autoscaler.simulation.replica import advance, enqueue, withdraw
from tests.simulation import naive

_advance, _enqueue, _withdraw = compiled(advance), compiled(enqueue), compiled(withdraw)
BASE = Params(0.02, 1e-4, 1e-4, 5e-8, 1e9, 256, 2048.0)
COUNTERS = [PROMPT_DONE, GENERATED, ITL_COUNT]


@dataclass(frozen=True)
class Load:
    """Requests in order of arrival and the replica they go to."""

    gaps_s: list[float]
    sizes: list[tuple[int, int]]
    params: Params

    @property
    def arrival_s(self) -> np.ndarray:
        return np.cumsum(self.gaps_s)


@st.composite
def loads(draw: st.DrawFn) -> Load:
    count = draw(st.integers(1, 40))
    busy_s = draw(st.sampled_from([0.0, 0.05, 1.0]))
    gaps = draw(st.lists(st.floats(0.0, 2.0), min_size=count, max_size=count))
    longest = draw(st.sampled_from([60, 400]))
    size = st.tuples(st.integers(1, 3000), st.integers(1, longest))
    params = BASE._replace(
        kv_tokens=draw(st.sampled_from([900.0, 4000.0, 20_000.0, 1e9])),
        sequences=draw(st.sampled_from([1, 3, 256])),
        batched_tokens=draw(st.sampled_from([2.0, 64.0, 512.0, 2048.0])),
        cached_share=draw(st.sampled_from([0.0, 0.3, 0.9])),
        overhead_s=draw(st.sampled_from([0.0, 0.01])),
    )
    # No two at the same time: which of them is the youngest is nobody's business.
    return Load([1e-6 + gap * busy_s for gap in gaps], draw(st.lists(size, min_size=count, max_size=count)), params)


# Found by hand: one decode grows while the only other prompt is computed a token a step, past the size of the cache.
SLOW_PROMPT = Load([1e-6, 1e-3], [(1, 800), (890, 5)], BASE._replace(kv_tokens=900.0, batched_tokens=2.0))


def start(load: Load) -> tuple[Engines, Requests]:
    prompts, outputs = np.array(load.sizes, dtype=float).T
    return new_engines(load.params), new_requests(load.arrival_s, prompts, outputs)


def inside(engines: Engines) -> list[int]:
    """Requests that are not waiting."""
    partial = [int(engines.ints[0, PARTIAL])] if engines.ints[0, PARTIAL] != NONE else []
    return [int(i) for i in engines.end_id[0, : engines.ints[0, DECODING]]] + partial


def waiting(engines: Engines, requests: Requests) -> list[int]:
    line, i = [], int(engines.ints[0, HEAD])
    for _ in range(engines.ints[0, WAITING]):
        line.append(i)
        i = int(requests.link[i])
    return line


@settings(max_examples=80, deadline=None)
@example(SLOW_PROMPT, [9.2], set())
@given(loads(), st.lists(st.floats(0.01, 5.0), max_size=12), st.sets(st.integers(0, 39), max_size=6))
def test_what_came_is_finished_withdrawn_or_inside_once_and_every_sum_agrees(
    load: Load, slices: list[float], leave: set[int]
) -> None:
    engines, requests = start(load)
    params, count = load.params, len(load.sizes)
    came: set[int] = set()
    gone: set[int] = set()
    before = engines.floats[0, COUNTERS].copy()
    stops = [(float(at), i) for i, at in enumerate(load.arrival_s)]
    stops += [(float(at), NONE) for at in np.cumsum(slices)]
    for at_s, i in sorted(stops):
        if i == NONE:
            _advance(engines, requests, params, 0, at_s)
            for one in leave & came - gone:
                if requests.finish_s[one] < 0.0:
                    _withdraw(engines, requests, params, 0, one)
                    gone.add(one)
        else:
            _enqueue(engines, requests, params, 0, i, at_s)
            came.add(i)
        held, line = inside(engines), waiting(engines, requests)
        finished = {k for k in range(count) if requests.finish_s[k] >= 0.0}
        # Conservation.
        assert len(held) + len(line) == engines.load[0]
        assert sorted([*held, *line, *finished, *gone]) == sorted(came)
        assert engines.ints[0, FINISHED] == len(finished)
        # The cache: within its size unless one request alone is larger, and what is promised covers what is there.
        kv, promised = engines.floats[0, KV], engines.floats[0, PROMISED]
        assert 0.0 <= kv <= promised + 1e-6
        if len(held) > 1:
            assert kv + engines.ints[0, DECODING] <= params.kv_tokens
        assert engines.ints[0, DECODING] <= params.sequences
        # Counters.
        after = engines.floats[0, COUNTERS].copy()
        assert (after >= before).all()
        before = after
    _advance(engines, requests, params, 0, 1e9)
    assert engines.load[0] == engines.floats[0, KV] == engines.floats[0, PROMISED] == 0.0
    stayed = np.array([k not in gone for k in range(count)])
    assert (requests.finish_s[stayed] >= requests.first_s[stayed]).all()
    assert (requests.first_s[stayed] > requests.arrival_s[stayed]).all()


@settings(max_examples=80, deadline=None)
@given(loads())
def test_first_tokens_come_in_order_of_arrival_and_preemption_keeps_every_total(load: Load) -> None:
    engines, requests = start(load)
    for i, at_s in enumerate(load.arrival_s):
        _enqueue(engines, requests, load.params, 0, i, float(at_s))
    _advance(engines, requests, load.params, 0, 1e9)
    assert (np.diff(requests.first_s) >= 0.0).all()
    # However often something was computed anew, each token was told once.
    assert engines.floats[0, GENERATED] == requests.output_tokens.sum()
    assert engines.floats[0, PROMPT_DONE] == requests.prompt_tokens.sum()
    assert engines.ttft[0].sum() == engines.ints[0, FINISHED] == len(load.sizes)
    assert engines.tpot[0].sum() == (requests.output_tokens > 1.0).sum()
    assert engines.itl[0].sum() == engines.floats[0, ITL_COUNT]
    assert engines.prompt_sizes[0].sum() == engines.output_sizes[0].sum() == len(load.sizes)


@settings(max_examples=60, deadline=None)
@example(SLOW_PROMPT)
@given(loads())
def test_the_replica_does_what_the_same_rules_do_one_step_at_a_time(load: Load) -> None:
    engines, requests = start(load)
    other = naive.Replica(load.params)
    theirs = [naive.Request(float(at), *size) for at, size in zip(load.arrival_s, load.sizes, strict=True)]
    for i, one in enumerate(theirs):
        _enqueue(engines, requests, load.params, 0, i, one.arrival_s)
        other.run(one.arrival_s)
        other.now_s = max(other.now_s, one.arrival_s)
        other.waiting.append(one)
    _advance(engines, requests, load.params, 0, 1e9)
    other.run(1e9)
    np.testing.assert_allclose(requests.first_s, [one.first_s for one in theirs], rtol=1e-9)
    np.testing.assert_allclose(requests.finish_s, [one.finish_s for one in theirs], rtol=1e-9)
    assert engines.ints[0, PREEMPTIONS] == other.preemptions
    assert engines.floats[0, NOW] == other.now_s == 1e9
    assert other.most_kv <= load.params.kv_tokens
