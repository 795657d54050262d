"""The server setting that would save replicas, by formula."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoscaler.core.advice import LEAST_SAVED, advise, grained, step_tokens
from autoscaler.core.capacity import Mix
from autoscaler.core.fitting import Fitted
from autoscaler.core.priors import Limits, StepModel
from autoscaler.core.records import Objective
from autoscaler.core.sizes import Sizes

H100X4 = StepModel(0.01673, 3.55e-5, 6.25e-5, 2.91e-8)
# About Azure 2024 conversation: prompts of 1,435 tokens with a tail to 6,500, outputs of 106.
CONVERSATION = Mix(
    Sizes((200.0, 700.0, 1500.0, 3000.0, 6500.0), (0.2, 0.35, 0.25, 0.15, 0.05)),
    Sizes((10.0, 40.0, 100.0, 250.0, 700.0), (0.2, 0.35, 0.3, 0.1, 0.05)),
)


def fitted(tokens: float, step: StepModel = H100X4) -> Fitted:
    return Fitted(0.0, step, Limits(476_864.0, 1024.0, tokens), CONVERSATION, assumed=False)


def test_a_step_of_the_advised_tokens_is_within_the_limit() -> None:
    # 18 ms of base and decodes, 42 left, 0.0625 ms a prompt token: 672 tokens.
    tokens = step_tokens(6.25e-5, 0.018, 0.060)
    assert tokens == pytest.approx(672.0)
    assert 0.018 + grained(tokens) * 6.25e-5 <= 0.061


def test_long_steps_are_advised_against_with_what_shorter_ones_save() -> None:
    # Azure 2024 conversation on 70B, 2,048 tokens a step: the hindsight bound falls by 27 % with 512.
    found = advise(fitted(2048.0), Objective(), 8, 4, 100.0)
    assert found.tokens == 2048.0
    assert 512.0 <= found.better_tokens <= 672.0
    assert LEAST_SAVED <= found.saved_share < 0.5
    assert "--max-num-batched-tokens" in found.reason.text
    assert found.saved_gpus == pytest.approx(found.saved_share * 8 * 4)  # GPU-hours an hour: eight replicas of four


def test_nothing_is_advised_against_tokens_per_step_that_nobody_told() -> None:
    # SGLang tells none: 2,048 were assumed, and 640 advised instead of them.
    assert advise(replace(fitted(2048.0), knows_tokens=False), Objective(), 8, 4, 100.0).saved_share == 0.0


def test_nothing_is_advised_where_no_step_is_too_long() -> None:
    assert advise(fitted(512.0), Objective(), 8, 4, 100.0).saved_share == 0.0


def test_nothing_is_advised_for_less_than_the_formula_can_tell() -> None:
    loose = Objective(ttft_s=3.0, tpot_s=0.2)
    found = advise(fitted(8192.0), loose, 8, 4, 100.0)
    assert found.saved_share == 0.0 or found.saved_share >= LEAST_SAVED
