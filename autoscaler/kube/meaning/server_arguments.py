"""The model server's own limits, from its command line: what its pages mostly do not tell.

Law: a limit that is not written is unknown, not a default: defaults hang on the release and the GPU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.raw import Raw

# By server: arguments for tokens per step, and for requests at a time. Servers spell them with dashes or underscores.
_TOKENS = {
    "vllm": ("max-num-batched-tokens",),
    "sglang": ("chunked-prefill-size",),
    "trtllm": ("max-num-tokens",),
    "tgi": ("max-batch-prefill-tokens",),
}
_SEQUENCES = {
    "vllm": ("max-num-seqs",),
    "sglang": ("max-running-requests",),
    "trtllm": ("max-batch-size",),
    "tgi": ("max-batch-size",),
    "lmdeploy": ("max-batch-size",),
    "llamacpp": ("parallel", "np"),
}
# An image may have any name; these arguments are nobody else's.
_TELLING = ("vllm", "sglang")
# KServe's base configurations put them behind the server's command.
_ENVIRONMENT = frozenset({"VLLM_ADDITIONAL_ARGS"})
_TIMES = {"": 1, "k": 1000, "K": 1024}  # as vLLM reads 8k and 8K


@dataclass(frozen=True, slots=True)
class ServerArguments:
    """What is written on the command line; None: nothing."""

    max_batched_tokens: int | None = None
    max_sequences: int | None = None


def server_arguments(container: Raw, server: str) -> ServerArguments:
    """The limits of a serving container; `server` is a profile's name, or `auto`."""
    environment = [
        read.text(one, "value") for one in read.items(container, "env") if read.text(one, "name") in _ENVIRONMENT
    ]
    line = " ".join([*read.words(container, "command"), *read.words(container, "args"), *environment])
    servers = _TELLING if server == "auto" else (server,)
    return ServerArguments(_written(line, _TOKENS, servers), _written(line, _SEQUENCES, servers))


def _written(line: str, names: Mapping[str, tuple[str, ...]], servers: tuple[str, ...]) -> int | None:
    """The last value on the line, which is the one that counts; 0 is none."""
    spelled = [name.replace("-", "[-_]") for server in servers for name in names.get(server, ())]
    if not spelled:
        return None
    # `-np` of llama.cpp is the one with a single dash.
    argument = rf"(?:^|[\s'\"])--?(?:{'|'.join(spelled)})(?:=|\s+)['\"]?(\d{{1,9}})([kK]?)(?=$|[\s'\"])"
    found = re.findall(argument, line)
    return int(found[-1][0]) * _TIMES[found[-1][1]] or None if found else None
