"""The simulated replica against arithmetic that can be done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.records import Objective
from autoscaler.simulation.constant import constant_fleet_attainment
from autoscaler.simulation.engines import (
    GENERATED,
    KV,
    NOW,
    PREEMPTIONS,
    PROMISED,
    WAITING,
    Engines,
    Params,
    Requests,
    new_engines,
    new_requests,
)
from autoscaler.simulation.replica import advance, enqueue, withdraw
from autoscaler.simulation.trace import Trace

PLAIN = Params(0.030, 1e-4, 1.5e-4, 5e-8, 100_000.0, 256, 2048.0)


def loaded(sizes: list[tuple[int, int]], params: Params = PLAIN) -> tuple[Engines, Requests]:
    """An engine that was given all requests at time zero."""
    prompts, outputs = np.array(sizes, dtype=float).T
    requests = new_requests(np.zeros(len(sizes)), prompts, outputs)
    engines = new_engines(params)
    for i in range(len(sizes)):
        enqueue(engines, requests, params, 0, i, 0.0)
    return engines, requests


def test_a_lone_request_takes_its_prefill_steps_and_one_step_a_token() -> None:
    engines, requests = loaded([(3000, 11)])
    advance(engines, requests, PLAIN, 0, 1e6)
    # 3,000 tokens are two chunks; the second step reads the first chunk's 2,048 KV tokens.
    prefill_s = 2 * 0.030 + 1.5e-4 * 3000 + 5e-8 * 2048 * 1
    assert requests.first_s[0] == pytest.approx(prefill_s)
    decode_s = sum(0.030 + 1e-4 + 5e-8 * (3000 + g) for g in range(1, 11))
    assert requests.finish_s[0] == pytest.approx(prefill_s + decode_s)


def test_decode_steps_taken_at_once_end_when_single_steps_do() -> None:
    ends = []
    for slice_s in (1e6, 0.0001):
        engines, requests = loaded([(100, 50 + 30 * i) for i in range(5)])
        now = 0.0
        while engines.load[0]:
            now = max(now + slice_s, engines.floats[0, NOW] + 1e-9)
            advance(engines, requests, PLAIN, 0, now)
        ends.append(requests.finish_s)
    assert ends[0] == pytest.approx(ends[1])


def test_one_sequence_at_a_time_queues_like_a_single_server() -> None:
    one_at_a_time = PLAIN._replace(sequences=1)
    engines, requests = loaded([(100, 10)] * 4, one_at_a_time)
    advance(engines, requests, one_at_a_time, 0, 1e6)
    assert np.diff(requests.finish_s) == pytest.approx([requests.finish_s[0]] * 3)


def test_a_full_cache_keeps_requests_waiting() -> None:
    engines, requests = loaded([(40_000, 10)] * 3)
    advance(engines, requests, PLAIN, 0, 8.0)
    assert (engines.ints[0, WAITING], engines.load[0]) == (1, 3)


def test_a_step_without_tokens_left_keeps_requests_waiting() -> None:
    # Saturated prefill shows in the queue: vLLM schedules a waiting request only while the step has tokens left.
    engines, requests = loaded([(2000, 10)] * 5)
    advance(engines, requests, PLAIN, 0, 0.01)
    assert (engines.ints[0, WAITING], engines.load[0]) == (3, 5)


def test_an_overflowing_cache_preempts_the_youngest_and_loses_nothing() -> None:
    small = PLAIN._replace(kv_tokens=1000.0)
    engines, requests = loaded([(400, 300)] * 2, small)
    advance(engines, requests, small, 0, 1e6)
    assert engines.ints[0, PREEMPTIONS] > 0
    assert (requests.finish_s > 0.0).all()
    assert requests.redo_tokens[0] == 0.0 < requests.redo_tokens[1]


def test_a_cached_share_of_the_prompt_costs_no_prefill() -> None:
    cached = PLAIN._replace(cached_share=0.75)
    engines, requests = loaded([(2000, 2)], cached)
    advance(engines, requests, cached, 0, 1e6)
    assert requests.first_s[0] == pytest.approx(0.030 + 1.5e-4 * 500)


def test_a_withdrawn_request_leaves_room_at_once_wherever_it_is() -> None:
    engines, requests = loaded([(1000, 50), (3000, 50), (1000, 50), (1000, 50)])
    advance(engines, requests, PLAIN, 0, 0.01)  # 0 decodes, 1 is partly computed, 2 and 3 wait
    for i in (3, 1, 0):
        withdraw(engines, requests, PLAIN, 0, i)
    withdraw(engines, requests, PLAIN, 0, 0)
    assert (engines.load[0], engines.ints[0, WAITING], engines.floats[0, KV]) == (1, 1, 0.0)
    advance(engines, requests, PLAIN, 0, 1e6)
    assert list(requests.finish_s > 0.0) == [False, False, True, False]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 400)), min_size=1, max_size=30),
    st.sampled_from([2_000.0, 10_000.0, 1e9]),
    st.sampled_from([1, 4, 256]),
    st.sampled_from([0.0, 0.5]),
)
def test_every_request_finishes_once_with_all_its_tokens(
    sizes: list[tuple[int, int]], kv_tokens: float, sequences: int, cached_share: float
) -> None:
    params = PLAIN._replace(kv_tokens=kv_tokens, sequences=sequences, cached_share=cached_share)
    engines, requests = loaded(sizes, params)
    advance(engines, requests, params, 0, 1e9)
    assert (requests.first_s > 0.0).all()
    assert (requests.finish_s >= requests.first_s).all()
    assert engines.load[0] == 0
    assert engines.floats[0, KV] == engines.floats[0, PROMISED] == 0.0
    assert engines.ttft[0].sum() == len(sizes)
    if not engines.ints[0, PREEMPTIONS]:
        assert engines.floats[0, GENERATED] == sum(output for _, output in sizes)


def test_more_replicas_never_serve_a_trace_worse() -> None:
    rng = np.random.default_rng(1)
    arrivals = np.sort(rng.uniform(0, 200, 600))
    trace = Trace(arrivals, np.full(600, 1200.0), np.full(600, 200.0))
    shares = [constant_fleet_attainment(trace, n, PLAIN, Objective()) for n in (1, 2, 3, 5)]
    assert shares == sorted(shares)
    assert shares[0] < 0.5 < shares[-1]


@pytest.mark.parametrize(("overlap", "share"), [(0.0, 2.0), (0.75, 1.5), (1.0, 1.0)])
def test_weights_read_while_a_prompt_is_computed_hide_part_of_it(overlap: float, share: float) -> None:
    # 200 tokens take as long as the base: 30 ms each.
    both = PLAIN._replace(overlap=overlap)
    engines, requests = loaded([(200, 2)], both)
    advance(engines, requests, both, 0, 1e6)
    assert requests.first_s[0] == pytest.approx(share * 0.030)
    assert requests.finish_s[0] - requests.first_s[0] == pytest.approx(0.030 + 1e-4 + 5e-8 * 201)
    # A prompt far longer than that hides the base, one far shorter hides in it.
    engines, requests = loaded([(1, 1)], both)
    advance(engines, requests, both, 0, 1e6)
    assert requests.first_s[0] == pytest.approx(0.030 + (1.0 - overlap) * 1.5e-4, abs=1e-6)
