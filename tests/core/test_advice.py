"""The server settings that would save replicas, by formula."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoscaler.core.advice import (
    LEAST_SAVED,
    SEQUENCES,
    TOKENS,
    Advice,
    advise,
    grained,
    sequences_within,
    step_tokens,
)
from autoscaler.core.capacity import Mix
from autoscaler.core.fitting import Fitted
from autoscaler.core.priors import Limits, StepModel
from autoscaler.core.records import Objective
from autoscaler.core.sizes import Sizes, lognormal

H100X4 = StepModel(0.01673, 3.55e-5, 6.25e-5, 2.91e-8)
# About Azure 2024 conversation: prompts of 1,435 tokens with a tail to 6,500, outputs of 106.
CONVERSATION = Mix(
    Sizes((200.0, 700.0, 1500.0, 3000.0, 6500.0), (0.2, 0.35, 0.25, 0.15, 0.05)),
    Sizes((10.0, 40.0, 100.0, 250.0, 700.0), (0.2, 0.35, 0.3, 0.1, 0.05)),
)


def fitted(tokens: float, step: StepModel = H100X4, *, sequences: float = 1024.0, mix: Mix = CONVERSATION) -> Fitted:
    return Fitted(0.0, step, Limits(476_864.0, sequences, tokens), mix, assumed=False)


def advised(one: Fitted, setting: str) -> Advice | None:
    return next((found for found in advise(one, Objective(), 8, 4) if found.setting == setting), None)


def test_a_step_of_the_advised_tokens_is_within_the_limit() -> None:
    # 18 ms of base and decodes, 42 left, 0.0625 ms a prompt token: 672 tokens.
    tokens = step_tokens(6.25e-5, 0.018, 0.060)
    assert tokens == pytest.approx(672.0)
    assert 0.018 + grained(tokens) * 6.25e-5 <= 0.061


def test_long_steps_are_advised_against_with_what_shorter_ones_save() -> None:
    # Azure 2024 conversation on 70B, 2,048 tokens a step: the hindsight bound falls by 27 % with 512.
    found = advised(fitted(2048.0), TOKENS)
    assert found is not None
    assert found.now == 2048.0
    assert 512.0 <= found.better <= 672.0
    assert LEAST_SAVED <= found.saved_share < 0.5
    assert "--max-num-batched-tokens" in found.reason.text
    assert found.saved_gpus == pytest.approx(found.saved_share * 8 * 4)  # GPU-hours an hour: eight replicas of four


def test_steps_too_short_for_the_prompts_that_come_are_advised_against() -> None:
    # Prompts of 1,400 tokens, outputs of 110, lognormal: in a simulation eight replicas at a constant rate carry 5.0
    # requests/s each with 256 tokens a step and 7.1 with 640: 30 % fewer replicas.
    mix = Mix(lognormal(1400.0, 1.0), lognormal(110.0, 1.0))
    found = advised(fitted(256.0, sequences=256.0, mix=mix), TOKENS)
    assert found is not None
    assert 512.0 <= found.better <= 704.0
    assert 0.1 < found.saved_share <= 0.30


@pytest.mark.parametrize(
    ("prompt", "output", "sequences", "truly"),
    # What a simulation of eight replicas at a constant rate saves with what is advised, where it is 5 % or more.
    [
        (1400.0, 110.0, 16.0, 0.26),
        (300.0, 400.0, 256.0, 0.13),
        (300.0, 400.0, 64.0, 0.60),
        (100.0, 1000.0, 256.0, 0.16),
    ],
)
def test_more_requests_at_a_time_are_advised_where_they_wait_beside_a_server_that_has_room(
    prompt: float, output: float, sequences: float, truly: float
) -> None:
    found = advised(
        fitted(2048.0, sequences=sequences, mix=Mix(lognormal(prompt, 1.0), lognormal(output, 1.0))), SEQUENCES
    )
    assert found is not None
    assert found.now == sequences < found.better
    assert truly - 0.06 <= found.saved_share <= truly + 0.03
    assert (
        f"{found.better:.0f} requests at a time instead of {sequences:.0f} (vLLM: --max-num-seqs)" in found.reason.text
    )


def test_the_advised_requests_at_a_time_decode_within_the_limit_and_fit_in_the_cache() -> None:
    # 60 - 16.7 ms over 0.0355 + 500 x 2.9e-5 ms each are 866; of 100,000 tokens 0.95 hold 190 of 500.
    each_s = 3.55e-5 + 500.0 * 2.91e-8
    assert sequences_within(0.01673, each_s, 0.060, 500.0, 476_864.0) == 864
    assert sequences_within(0.01673, each_s, 0.060, 500.0, 100_000.0) == 184
    assert sequences_within(0.01673, 0.02, 0.060, 500.0, 476_864.0) == 2
    assert sequences_within(0.07, each_s, 0.060, 500.0, 476_864.0) == 1


def test_nothing_is_advised_against_settings_that_nobody_told() -> None:
    # SGLang tells no tokens per step: 2,048 were assumed, and 640 advised instead of them.
    silent = replace(fitted(2048.0, sequences=16.0), knows_tokens=False, knows_sequences=False)
    assert advise(silent, Objective(), 8, 4) == ()


def test_nothing_is_advised_where_the_settings_are_right() -> None:
    assert advise(fitted(512.0, sequences=512.0), Objective(), 8, 4) == ()


def test_nothing_is_advised_for_less_than_the_formula_can_tell() -> None:
    # By the formula 336 sequences cost 3.4 % more replicas than 728 here, and 288 8.4 %.
    mix = Mix(lognormal(300.0, 1.0), lognormal(400.0, 1.0))
    found = advised(fitted(2048.0, sequences=288.0, mix=mix), SEQUENCES)
    assert found is not None
    assert LEAST_SAVED < found.saved_share < 0.1
    assert advised(fitted(2048.0, sequences=336.0, mix=mix), SEQUENCES) is None
