"""The simulated replica against arithmetic that can be done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.records import Objective
from autoscaler.simulation.fleet import constant_fleet_attainment
from autoscaler.simulation.replica import (
    EVENTS,
    FINISHED,
    GENERATED_DONE,
    PREEMPTIONS,
    RUNNING,
    TOTAL,
    Params,
    Replica,
    add,
    kv_in_use,
    new_replica,
    step,
)
from autoscaler.simulation.trace import Trace

PLAIN = Params(0.030, 1e-4, 1.5e-4, 5e-8, 100_000.0, 256, 2048.0)


def events(replica: Replica) -> list[tuple[int, int, float]]:
    return [(int(a), int(b), float(c)) for a, b, c in replica.events[: replica.counts[EVENTS]]]


def test_a_lone_request_takes_its_prefill_steps_and_one_step_a_token() -> None:
    replica = new_replica()
    add(replica, 7, 3000, 11)
    step(replica, PLAIN, 1e6)
    first, last = events(replica)
    # 3,000 tokens are two chunks; the second step reads the first chunk's 2,048 KV tokens.
    prefill_s = 2 * 0.030 + 1.5e-4 * 3000 + 5e-8 * 2048 * 1
    assert first == (7, 0, pytest.approx(prefill_s))
    decode_s = sum(0.030 + 1e-4 + 5e-8 * (3000 + g) for g in range(1, 11))
    assert last == (7, 1, pytest.approx(prefill_s + decode_s))


def test_decode_steps_taken_at_once_end_when_single_steps_do() -> None:
    ends = []
    for slice_s in (1e6, 0.0001):
        replica = new_replica()
        for i in range(5):
            add(replica, i, 100, 50 + 30 * i)
        now = 0.0
        while replica.counts[TOTAL]:
            now += slice_s
            step(replica, PLAIN, now)
            now = max(now, replica.now[0])
        ends.append([at_s for _, kind, at_s in events(replica) if kind == FINISHED])
    assert ends[0] == pytest.approx(ends[1])


def test_one_sequence_at_a_time_queues_like_a_single_server() -> None:
    replica = new_replica()
    one_at_a_time = PLAIN._replace(sequences=1)
    for i in range(4):
        add(replica, i, 100, 10)
    step(replica, one_at_a_time, 1e6)
    finishes = [at_s for _, kind, at_s in events(replica) if kind == FINISHED]
    assert np.diff(finishes) == pytest.approx([finishes[0]] * 3)


def test_a_full_cache_keeps_requests_waiting() -> None:
    replica = new_replica()
    for i in range(3):
        add(replica, i, 40_000, 10)
    step(replica, PLAIN, 0.01)
    assert (replica.counts[RUNNING], replica.counts[TOTAL]) == (2, 3)


def test_an_overflowing_cache_preempts_the_last_and_loses_nothing() -> None:
    replica = new_replica()
    small = PLAIN._replace(kv_tokens=1000.0)
    for i in range(2):
        add(replica, i, 400, 300)
    step(replica, small, 1e6)
    assert replica.counts[PREEMPTIONS] > 0
    assert sorted(i for i, kind, _ in events(replica) if kind == FINISHED) == [0, 1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 400)), min_size=1, max_size=30),
    st.sampled_from([2_000.0, 10_000.0, 1e9]),
    st.sampled_from([1, 4, 256]),
)
def test_every_request_finishes_once_with_all_its_tokens(
    requests: list[tuple[int, int]], kv_tokens: float, sequences: int
) -> None:
    replica = new_replica()
    params = PLAIN._replace(kv_tokens=kv_tokens, sequences=sequences)
    for i, (prompt, output) in enumerate(requests):
        add(replica, i, prompt, output)
    step(replica, params, 1e9)
    finished = sorted(i for i, kind, _ in events(replica) if kind == FINISHED)
    firsts = sorted(i for i, kind, _ in events(replica) if kind != FINISHED)
    assert finished == firsts == list(range(len(requests)))
    assert replica.counts[TOTAL] == 0
    assert kv_in_use(replica) == 0
    if not replica.counts[PREEMPTIONS]:
        assert replica.counts[GENERATED_DONE] == sum(output for _, output in requests)


def test_more_replicas_never_serve_a_trace_worse() -> None:
    rng = np.random.default_rng(1)
    arrivals = np.sort(rng.uniform(0, 200, 600))
    trace = Trace(arrivals, np.full(600, 1200.0), np.full(600, 200.0))
    shares = [constant_fleet_attainment(trace, n, PLAIN, Objective()) for n in (1, 2, 3, 5)]
    assert shares == sorted(shares)
    assert shares[0] < 0.5 < shares[-1]
