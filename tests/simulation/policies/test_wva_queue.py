"""WVA's queueing model against sums that can be done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.simulation.policies.wva_queue import Queue, Times

# Base time, time per prompt token and per KV token of Llama-3.1-70B on four H100.
LLAMA = Times(0.016728, 6.2515e-5, 2.9106e-8)


def summed(times: Times, prompt: float, output: float, batch: int, rps: float) -> tuple[float, float]:
    """TTFT and ITL by adding up the probabilities of every state."""
    held = prompt + output / 2.0
    weights, rates = [1.0], []
    for n in range(1, 11 * batch + 1):
        inside = min(n, batch)
        iteration_s = times.alpha + inside * (times.beta * (prompt + output) / (output + 1.0) + times.gamma * held)
        prefill_s = iteration_s + (times.beta + times.gamma) * prompt
        decode_s = iteration_s + times.beta + times.gamma * held
        rates.append(inside / (prefill_s + output * decode_s))
        weights.append(weights[-1] * rps / rates[-1])
    share = np.array(weights) / sum(weights)
    states = np.arange(len(share))
    served = float((share * np.minimum(states, batch)).sum())
    through = rps * (1.0 - float(share[-1]))
    wait_s = (float((share * states).sum()) - served) / through
    iteration_s = times.alpha + served * (times.beta * (prompt + output) / (output + 1.0) + times.gamma * held)
    prefill_s = iteration_s + (times.beta + times.gamma) * prompt
    itl_s = (served / through - prefill_s) / output
    return wait_s + prefill_s + itl_s, itl_s


def test_a_batch_of_one_is_the_queue_with_one_server_and_room_for_eleven() -> None:
    # 100 ms a step, one for the prompt and one for the only token: 5 a second. At 2.5 a second M/M/1/11 with rho = 1/2:
    # L = 1 - 12 / (2^12 - 1) = 0.99707, busy 1 - (1/2) / (1 - 2^-12) = 0.49988: wait 0.49719 / 2.49939 = 0.19893 s.
    queue = Queue(Times(0.1, 0.0, 0.0), 10.0, 1.0, 1)
    assert queue.full_rps == pytest.approx(5.0)
    assert queue.latencies(2.5) == pytest.approx((0.19893 + 0.1 + 0.1, 0.1), abs=1e-5)


def test_alone_a_request_takes_its_prompt_and_a_step_a_token() -> None:
    # A batch of one reads 1,050 tokens and computes 1,100 / 101 a step: 0.711 ms. The mean batch is none, though, so
    # that its prefill is told without that and its 100 tokens share it.
    told = Queue(LLAMA, 1000.0, 100.0, 300).latencies(1e-6)
    assert told is not None
    one_s = 6.2515e-5 * 1100.0 / 101.0 + 2.9106e-8 * 1050.0
    assert told.itl_s == pytest.approx(0.016728 + 1.01 * one_s + 6.2515e-5 + 2.9106e-8 * 1050.0, rel=1e-4)
    assert told.ttft_s == pytest.approx(0.016728 + (6.2515e-5 + 2.9106e-8) * 1000.0 + told.itl_s, rel=1e-4)


@given(
    st.floats(1.0, 4000.0), st.floats(1.0, 1000.0), st.integers(1, 40), st.floats(0.01, 0.998), st.floats(1e-4, 1e-1)
)
def test_the_geometric_tail_is_the_sum_over_every_state(
    prompt: float, output: float, batch: int, load: float, alpha: float
) -> None:
    times = LLAMA._replace(alpha=alpha)
    queue = Queue(times, prompt, output, batch)
    rps = load * queue.full_rps
    if rps >= queue.least_rps:
        assert queue.latencies(rps) == pytest.approx(summed(times, prompt, output, batch, rps), rel=1e-5)


@given(st.floats(10.0, 4000.0), st.floats(5.0, 800.0), st.floats(0.05, 3.0), st.floats(0.018, 0.2))
def test_the_sized_rate_is_the_largest_that_keeps_both_limits(
    prompt: float, output: float, ttft_s: float, itl_s: float
) -> None:
    queue = Queue(LLAMA, prompt, output, 64)

    def keeps(rps: float) -> bool:
        told = queue.latencies(rps)
        return told is not None and told.ttft_s <= ttft_s and told.itl_s <= itl_s

    sized = queue.sized_rps(ttft_s, itl_s)
    assert (sized is not None) == keeps(queue.least_rps)
    if sized is not None:
        assert keeps(sized)
        assert sized == queue.most_rps or not keeps(1.001 * sized)


def test_above_what_a_full_batch_serves_there_is_no_answer() -> None:
    queue = Queue(LLAMA, 1000.0, 100.0, 8)
    assert queue.latencies(0.999 * queue.full_rps) is not None
    assert queue.latencies(queue.full_rps) is None
    assert queue.latencies(0.0) is None
