"""Settings of the model server: candidates by formula, advice by simulation only."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.backtest.advice_checked import NOW, advice_of, tasks_of, words
from autoscaler.backtest.history import Told, history
from autoscaler.backtest.running import Field, run_task
from autoscaler.backtest.settings import Settings
from autoscaler.backtest.worlds import Setup, setup
from autoscaler.core.advice import SEQUENCES, TOKENS
from autoscaler.core.records import Objective
from autoscaler.simulation.comparison import Kind, Outcome, Player
from autoscaler.simulation.engines import LLAMA_70B_H100X4, Params
from autoscaler.simulation.score import Score
from autoscaler.simulation.server_settings import Candidate, candidates, held_tokens
from tests.backtest.histories import small_trace

TRACE = small_trace()
BUILT = setup(
    history("x", "requests", Told(*TRACE, 0.0, 1200.0), 0.2), Settings("x", replica="llama-3.1-70b/h100x4")
)  # fmt: skip


def outcome(attainment: float, gpu_hours: float) -> Outcome:
    figures = Score(1, attainment, 1.0, 1.0, 1.0, gpu_hours, gpu_hours, 1.0, 0.0, (1,), (1,), (gpu_hours,))
    return Outcome(Player(Kind.OURS, "ours"), "", figures, (), ())


def tokens(value: int) -> Candidate:
    return Candidate(TOKENS, value, LLAMA_70B_H100X4._replace(batched_tokens=float(value)))


@given(st.floats(0.02, 0.2), st.floats(0.005, 0.05), st.floats(1e-5, 3e-4))
def test_the_smallest_candidate_keeps_a_full_step_within_the_limit(
    tpot_s: float, base_s: float, token_s: float
) -> None:
    params = Params(base_s, 3e-5, token_s, 3e-8, 476_864.0, 256, 8192.0)
    found = [one for one in candidates(params, Objective(tpot_s=tpot_s), TRACE) if one.setting == TOKENS]
    if tpot_s <= base_s:
        assert found == []
    for one in found:
        assert one.value < 8192  # 8,192 is set, and the most there is
        assert one.params.sequences <= one.value, "vLLM refuses fewer tokens per step than sequences"
    if found and found[0].value > 64:  # 64 is the least there is
        assert base_s + token_s * found[0].value <= tpot_s


def test_fewer_sequences_are_tried_where_a_full_batch_alone_misses_the_limit() -> None:
    slow = LLAMA_70B_H100X4._replace(sequence_s=2e-4)
    (one,) = (c for c in candidates(slow, Objective(), TRACE) if c.setting == SEQUENCES)
    each_s = slow.sequence_s + slow.kv_token_s * held_tokens(TRACE)
    step_s = slow.base_s + one.value * each_s
    assert step_s <= 0.060 < step_s + 8.0 * each_s  # in steps of eight


def test_more_sequences_are_tried_where_a_full_batch_is_far_below_the_limit_and_the_cache_has_room() -> None:
    few = LLAMA_70B_H100X4._replace(sequences=16)
    (one,) = (c for c in candidates(few, Objective(), TRACE) if c.setting == SEQUENCES)
    assert one.value > 100
    assert one.params.sequences == one.value
    tight = few._replace(kv_tokens=30.0 * held_tokens(TRACE))
    (one,) = (c for c in candidates(tight, Objective(), TRACE) if c.setting == SEQUENCES)
    assert one.value == 24  # 0.95 of the cache holds 28


def test_nothing_is_tried_where_the_server_is_within_the_limit_already() -> None:
    fast = LLAMA_70B_H100X4._replace(base_s=0.001, prompt_token_s=1e-6, sequence_s=1e-7, kv_token_s=1e-12)
    assert candidates(fast._replace(batched_tokens=8192.0, sequences=1024), Objective(), TRACE) == ()
    assert candidates(LLAMA_70B_H100X4, Objective(tpot_s=0.01), TRACE) == (), "the base alone misses it"


@pytest.mark.parametrize(
    ("now", "tried", "recommended"),
    [
        ((0.96, 100.0), (0.951, 80.0), True),
        ((0.96, 100.0), (0.949, 80.0), False),  # cheaper, and below what is asked
        ((0.96, 100.0), (0.99, 101.0), False),  # better, and dearer
        ((0.96, 100.0), (0.96, 99.5), False),  # half a percent is the seed's
        ((0.90, 100.0), (0.951, 98.0), True),
    ],
)
def test_only_what_saves_at_the_asked_attainment_is_recommended(
    now: tuple[float, float], tried: tuple[float, float], recommended: bool
) -> None:
    (one,) = advice_of(BUILT, [(None, outcome(*now)), (tokens(512), outcome(*tried))])
    assert one.recommended is recommended
    assert bool(one.words) is recommended
    assert (one.gpu_hours, one.gpu_hours_now) == (tried[1], now[1])


def test_of_several_that_save_the_cheapest_is_recommended() -> None:
    found = advice_of(
        BUILT,
        [(None, outcome(0.96, 100.0)), (tokens(256), outcome(0.96, 90.0)), (tokens(512), outcome(0.955, 80.0)),
         (tokens(1024), outcome(0.94, 60.0))],
    )  # fmt: skip
    assert [(one.value, one.recommended) for one in found] == [(256, False), (512, True), (1024, False)]


def test_words_to_paste_are_each_servers_own() -> None:
    found = dict(words(tokens(512), 1024))
    assert found["vLLM"] == "--max-num-batched-tokens 512 --max-num-seqs 512"
    assert found["SGLang"] == "--chunked-prefill-size 512"
    assert "max_num_tokens: 512" in found["TensorRT-LLM"]
    assert found["TGI"] == "--max-batch-prefill-tokens 512"
    assert dict(words(tokens(512), 256))["vLLM"] == "--max-num-batched-tokens 512"
    assert dict(words(tokens(4096), 1024))["vLLM"] == "--max-num-batched-tokens 4096"
    assert dict(words(Candidate(SEQUENCES, 64, LLAMA_70B_H100X4), 256))["vLLM"] == "--max-num-seqs 64"


def test_the_figures_of_advice_are_those_of_the_simulation() -> None:
    built: Setup = replace(BUILT)
    tried = tasks_of(built, (0.0, 1200.0))
    assert tried[0][0].key == NOW
    field = Field(built.scenario, 1, built.bins)
    outcomes = [(one, found) for task, one in tried[:2] if (found := run_task(field, task)) is not None]
    (advice,) = advice_of(built, outcomes)
    assert advice.gpu_hours_now == outcomes[0][1].score.gpu_hours
    assert advice.attainment == outcomes[1][1].score.attainment
    assert outcomes[1][1] != outcomes[0][1]
