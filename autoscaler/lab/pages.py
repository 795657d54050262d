"""Metrics pages of emulated servers, under the names of the real ones."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Buckets:
    """A histogram as a server keeps it."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, value: float, weight: int = 1) -> None:
        """Take `weight` observations of one value."""
        self.counts[bisect.bisect_left(self.bounds, value)] += weight
        self.total += value * weight

    def lines(self, name: str, labels: str) -> list[str]:
        """The exposition lines."""
        out, running = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            out.append(f'{name}_bucket{{{labels},le="{bound}"}} {running}')
        return [*out, f"{name}_sum{{{labels}}} {self.total}", f"{name}_count{{{labels}}} {running}"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What an emulated server knows of itself."""

    model: str
    running: int
    waiting: int
    kv_in_use_tokens: float
    kv_tokens: float
    prompt_tokens: int  # computed since the start
    generation_tokens: int
    preemptions: int
    finished: int
    ttft: Buckets
    itl: Buckets
    tpot: Buckets

    @property
    def kv_usage(self) -> float:
        """Share of the KV cache in use."""
        return min(1.0, self.kv_in_use_tokens / self.kv_tokens)


def vllm(figures: Figures) -> str:
    """The page of vLLM 0.12 and later."""
    labels = f'engine="0",model_name="{figures.model}"'
    values = {
        "num_requests_running": figures.running,
        "num_requests_waiting": figures.waiting,
        "kv_cache_usage_perc": figures.kv_usage,
        "prompt_tokens_total": figures.prompt_tokens,
        "generation_tokens_total": figures.generation_tokens,
        "num_preemptions_total": figures.preemptions,
    }
    lines = [f"vllm:{name}{{{labels}}} {value}" for name, value in values.items()]
    lines.append(f'vllm:request_success_total{{{labels},finished_reason="length"}} {figures.finished}')
    lines.append(
        f'vllm:cache_config_info{{block_size="16",engine="0",kv_cache_size_tokens="{int(figures.kv_tokens)}"}} 1.0'
    )
    lines += figures.ttft.lines("vllm:time_to_first_token_seconds", labels)
    lines += figures.itl.lines("vllm:inter_token_latency_seconds", labels)
    lines += figures.tpot.lines("vllm:request_time_per_output_token_seconds", labels)
    return "\n".join(lines) + "\n"


def sglang(figures: Figures) -> str:
    """The page of SGLang 0.5 with --enable-metrics; it tells no time per output token of a request."""
    labels = f'engine_type="unified",model_name="{figures.model}"'
    values = {
        "num_running_reqs": figures.running,
        "num_queue_reqs": figures.waiting,
        "token_usage": figures.kv_usage,
        "max_total_num_tokens": int(figures.kv_tokens),
        "prompt_tokens_total": figures.prompt_tokens,
        "generation_tokens_total": figures.generation_tokens,
        "num_requests_total": figures.finished,
        "num_retracted_requests_total": figures.preemptions,
    }
    lines = [f"sglang:{name}{{{labels}}} {value}" for name, value in values.items()]
    lines += figures.ttft.lines("sglang:time_to_first_token_seconds", labels)
    lines += figures.itl.lines("sglang:inter_token_latency_seconds", labels)
    return "\n".join(lines) + "\n"


SHAPES: dict[str, Callable[[Figures], str]] = {"vllm": vllm, "sglang": sglang}
