"""The model server's limits as its command line says them."""

from __future__ import annotations

import pytest

from autoscaler.kube.meaning.resolve import resolve
from autoscaler.kube.meaning.server_arguments import ServerArguments, server_arguments
from autoscaler.kube.meaning.spec import service_spec
from tests.kube_meaning.recorded import Recording


@pytest.mark.parametrize(
    ("server", "words", "tokens", "sequences"),
    [
        ("vllm", ["--max-num-batched-tokens", "512", "--max-num-seqs=64"], 512, 64),
        ("vllm", ["--max_num_seqs", "48"], None, 48),
        ("vllm", ["sh", "-c", "exec vllm serve m --max-num-seqs '32' --port 8000"], None, 32),
        ("vllm", ["--max-num-batched-tokens=8k"], 8000, None),
        ("vllm", ["--max-num-batched-tokens=8K"], 8192, None),
        ("vllm", ["--max-num-seqs=64", "--max-num-seqs=128"], None, 128),
        ("vllm", ["--max-num-seqs", "$(SEQS)"], None, None),
        ("vllm", ["--max-num-seqs-of-something=7", "--no-max-num-seqs=7"], None, None),
        ("auto", ["serve", "--max-num-seqs=64"], None, 64),
        ("auto", ["serve", "--parallel", "4"], None, None),
        ("sglang", ["--chunked-prefill-size", "4096", "--max-running-requests", "96"], 4096, 96),
        ("sglang", ["--chunked-prefill-size", "-1"], None, None),
        ("trtllm", ["--max_batch_size", "256", "--max_num_tokens", "8192"], 8192, 256),
        ("tgi", ["--max-batch-prefill-tokens=4096", "--max-batch-size=32"], 4096, 32),
        ("lmdeploy", ["--max-batch-size", "128"], None, 128),
        ("llamacpp", ["-np", "4"], None, 4),
        ("llamacpp", ["--parallel", "8", "-c", "16384"], None, 8),
        ("vllm", [], None, None),
    ],
)
def test_limits_are_read_as_each_server_spells_them(
    server: str, words: list[str], tokens: int | None, sequences: int | None
) -> None:
    half = len(words) // 2
    for container in ({"args": words}, {"command": words[:half], "args": words[half:]}):
        assert server_arguments(container, server) == ServerArguments(tokens, sequences)


def test_kserves_additional_arguments_count_after_those_of_its_base_configuration() -> None:
    environment = [{"name": "VLLM_ADDITIONAL_ARGS", "value": "--max-num-seqs=16"}, {"name": "OTHER", "value": "x"}]
    container = {"args": ["vllm serve m --max-num-seqs=256 ${VLLM_ADDITIONAL_ARGS}"], "env": environment}
    assert server_arguments(container, "vllm").max_sequences == 16


def test_what_the_command_line_says_is_set_unless_a_trigger_says_otherwise() -> None:
    recorded = Recording("isvc-external")
    template = "spec.template.spec.containers"
    container = {"name": "kserve-container", "image": "vllm/vllm-openai", "args": ["--max-num-seqs=64"]}
    recorded.put("Deployment", "m-predictor", template, [container])
    (role,) = service_spec([resolve(recorded.cluster(), "default", "m")]).roles
    assert (role.max_sequences, role.max_batched_tokens) == (64, None)
    said = {"scalerAddress": "llm-autoscaler.keda:6000", "maxSequences": "32", "maxBatchedTokens": "1024"}
    (role,) = service_spec([resolve(recorded.cluster(), "default", "m", said)]).roles
    assert (role.max_sequences, role.max_batched_tokens) == (32, 1024)
