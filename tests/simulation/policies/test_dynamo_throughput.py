"""Dynamo's throughput loop on worked examples."""

from __future__ import annotations

import pytest

from autoscaler.core.records import Objective
from autoscaler.simulation.engines import LLAMA_70B_H100X4, Params
from autoscaler.simulation.policies.dynamo_predictors import Predictor
from autoscaler.simulation.policies.dynamo_throughput import DynamoThroughput, Mix, ThroughputLoop, engine_rps
from autoscaler.simulation.view import View
from tests.fakes.views import totals, view

# A step takes 10 ms and 0.5 ms a sequence and, in the second, 1 ms a prompt token.
DECODES = Params(0.010, 0.0005, 0.0, 0.0, 1e9, 1000, 1000.0)
PREFILLS = DECODES._replace(prompt_token_s=0.001)


def test_the_best_rate_is_the_largest_batch_within_the_itl() -> None:
    # 10 + 0.5 n <= 20.1 ms: n = 20, a step of 20 ms, 10 tokens each: 20 / (10 x 0.02) = 100 per second.
    assert engine_rps(DECODES, Mix(10.0, 10.0, 0.0), 10.0, 0.0201) == pytest.approx(100.0)


def test_the_best_rate_is_the_largest_batch_within_the_ttft() -> None:
    # 100 in, 100 out: a step computes n tokens of prompts; the first token waits for these and its own 100:
    # 10 + 0.5 n + 1 (n + 100) <= 140.1 ms: n = 20; a step of 10 + 10 + 20 = 40 ms: 20 / (100 x 0.04) = 5 per second.
    assert engine_rps(PREFILLS, Mix(100.0, 100.0, 0.0), 0.1401, 10.0) == pytest.approx(5.0)


def test_a_batch_is_limited_by_the_cache_and_by_prefill_that_keeps_up() -> None:
    # Held 50 + 100 / 2 = 100 tokens of 1000: 10 sequences, 15 ms: 10 / (100 x 0.015).
    full = engine_rps(DECODES._replace(kv_tokens=1000.0), Mix(50.0, 100.0, 0.0), 10.0, 10.0)
    assert full == pytest.approx(10.0 / 1.5)
    # 990 in, 10 out, 1000 tokens a step: 10 x 1000 / 1000 = 10 sequences, 15 ms: 10 / (10 x 0.015).
    assert engine_rps(DECODES, Mix(990.0, 10.0, 0.0), 10.0, 10.0) == pytest.approx(10.0 / 0.15)


def test_where_nothing_fits_a_batch_of_one_counts() -> None:
    assert engine_rps(DECODES, Mix(10.0, 10.0, 0.0), 10.0, 0.001) == pytest.approx(1.0 / (10.0 * 0.0105))


def test_cached_prompts_are_not_computed() -> None:
    # Half of 200 in the cache: a step computes n x 100 / 100 tokens, as with 100 in; context does not matter here.
    assert engine_rps(PREFILLS, Mix(200.0, 100.0, 0.5), 0.1401, 10.0) == pytest.approx(5.0)


def test_the_reference_replica_carries_what_the_fluid_rate_says() -> None:
    # 1635 in, 101 out: 16.73 + n (0.0355 + 0.0491 + 1.0120) ms <= 60: n = 39; 39 / (101 x 0.0595) = 6.5.
    mix = Mix(1635.0, 101.0, 0.0)
    assert engine_rps(LLAMA_70B_H100X4, mix, 3.0, 0.060) == pytest.approx(6.5, rel=0.01)


def loop(predictor: type[Predictor] = Predictor) -> DynamoThroughput:
    return DynamoThroughput(ThroughputLoop(DECODES, Objective(ttft_s=10.0, tpot_s=0.0201), 1.0, predictor))


def page(k: int, requests: int, spec: int) -> View:
    """10 tokens in and 10 out, everything finished."""
    told = totals(
        prompt_tokens=10.0 * requests, generated_tokens=10.0 * requests, finished=requests, first_tokens=requests
    )
    return view(at_s=180.0 * k, waiting=[0] * spec, arrivals=requests, totals_=told)


def test_replicas_are_the_predicted_rate_over_the_engines() -> None:
    policy = loop()
    assert policy.decide(page(0, 0, 3), 0.0) == 3  # no interval yet
    assert policy.decide(page(1, 0, 3), 180.0) == 3  # no load yet
    # 45 000 in 180 s are 250 per second over 100.
    assert policy.decide(page(2, 45_000, 3), 360.0) == 3
    assert policy.decide(page(3, 45_000 + 90_000, 3), 540.0) == 5


def test_at_most_eight_replicas_change_in_a_step() -> None:
    policy = loop()
    policy.decide(page(0, 0, 3), 0.0)
    assert policy.decide(page(1, 720_000, 3), 180.0) == 11  # 40 are asked for
    assert policy.decide(page(2, 720_000, 40), 360.0) == 32  # 1 is
