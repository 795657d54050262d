"""How fast a replica is before anything was measured: step-time coefficients by model and GPUs.

Law: data only. `overhead` multiplies the times: kernels alone were measured, engines are 10 to 20 % slower.
"""

from __future__ import annotations

from dataclasses import dataclass

# Llama-3.1-8B on H100 under vLLM was 1 / 0.895 times its kernel time (median of 144 runs).
ENGINE_OVERHEAD = 1.15
AICONFIGURATOR = "NVIDIA aiconfigurator 0.12.0 vLLM operator database, least-squares fit"


@dataclass(frozen=True, slots=True)
class StepModel:
    """Seconds of one engine step: base + per running sequence + per prompt token + per KV token read."""

    base_s: float
    sequence_s: float
    prompt_token_s: float
    kv_token_s: float

    def scaled(self, factor: float) -> StepModel:
        """The same model on an engine that is `factor` times slower."""
        return StepModel(
            self.base_s * factor, self.sequence_s * factor, self.prompt_token_s * factor, self.kv_token_s * factor
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What one replica holds at most."""

    kv_tokens: float
    sequences: float
    batched_tokens: float  # tokens per step


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of one replica before it was measured, overhead included."""

    key: str
    step: StepModel
    limits: Limits
    source: str
    spread: float = 1.0  # how far the truth may lie from it, as a factor of the usual spread


def _row(
    key: str,
    milliseconds: tuple[float, float, float, float],
    kv_tokens: int,
    large_batches: bool,
) -> Prior:
    # vLLM's defaults for an API server: 1,024 sequences and 8,192 tokens per step on GPUs with 70 GiB or more other
    # than A100, else 256 and 2,048.
    limits = Limits(float(kv_tokens), 1024.0, 8192.0) if large_batches else Limits(float(kv_tokens), 256.0, 2048.0)
    base, sequence, prompt_token, kv_token = (value / 1000.0 for value in milliseconds)
    step = StepModel(base, sequence, prompt_token, kv_token).scaled(ENGINE_OVERHEAD)
    return Prior(key, step, limits, AICONFIGURATOR)


# Milliseconds: decode base, per sequence, per prompt token, per KV token; then KV tokens; then batch defaults.
_ROWS = (
    _row("llama-3.1-8b/l40s", (22.238, 0.03458, 0.057352, 1.905e-4), 189168, False),
    _row("llama-3.1-8b/a100x1", (11.598, 0.028455, 0.054708, 8.4387e-5), 444640, False),
    _row("llama-3.1-8b/h100x1", (6.4048, 0.01045, 0.017824, 4.1835e-5), 444640, True),
    _row("llama-3.1-8b/h200x1", (4.9598, 0.010622, 0.018577, 2.9613e-5), 891792, True),
    _row("llama-3.1-8b/b200x1", (3.3988, 0.0039297, 0.0089606, 1.8167e-5), 1176384, True),
    _row("llama-3.1-8b/rtx-pro-6000x1", (10.86, 0.015982, 0.035939, 8.6664e-5), 561280, True),
    _row("llama-3.1-70b/a100x4", (27.696, 0.099284, 0.15411, 5.6765e-5), 476864, False),
    _row("llama-3.1-70b/h100x4", (15.207, 0.032257, 0.056832, 2.646e-5), 476864, True),
    _row("llama-3.1-70b/h100x8", (9.9634, 0.023644, 0.037585, 1.3468e-5), 1384336, True),
    _row("llama-3.1-70b/h200x2", (20.975, 0.035077, 0.099376, 3.6422e-5), 380848, True),
    _row("llama-3.1-70b/h200x4", (12.219, 0.031928, 0.057404, 1.8427e-5), 1192320, True),
    _row("llama-3.1-70b/b200x2", (14.252, 0.031378, 0.048242, 2.3323e-5), 608528, True),
    _row("llama-3.1-70b-fp8/h100x2", (16.344, 0.037346, 0.071286, 2.9014e-5), 463744, True),
    _row("llama-3.1-70b-fp8/h200x1", (21.104, 0.056787, 0.098215, 5.2943e-5), 367728, True),
    _row("llama-3.1-70b-fp8/b200x1", (15.62, 0.023566, 0.047851, 2.351e-5), 595408, True),
    _row("qwen3-8b/a100x1", (11.723, 0.029386, 0.054398, 9.492e-5), 392928, False),
    _row("qwen3-8b/h100x1", (6.5973, 0.011171, 0.017674, 4.7077e-5), 392928, True),
    _row("qwen3-32b/a100x2", (24.648, 0.079254, 0.12593, 8.9082e-5), 317296, False),
    _row("qwen3-32b/h100x2", (13.59, 0.026122, 0.044952, 4.24e-5), 317296, True),
    _row("qwen3-32b/h200x1", (19.1, 0.032755, 0.082128, 5.9871e-5), 257296, True),
    _row("qwen3-32b/b200x1", (12.539, 0.010352, 0.038532, 3.6892e-5), 399584, True),
)

# Between an 8B model on an A100 and a 70B model on four H100: the middle of what people serve.
GENERIC = Prior(
    "generic",
    StepModel(0.0150, 3.5e-5, 6.0e-5, 5.0e-5 / 1000.0).scaled(ENGINE_OVERHEAD),
    Limits(400_000.0, 256.0, 2048.0),
    "geometric middle of the table",
    spread=2.0,
)

PRIORS: dict[str, Prior] = {prior.key: prior for prior in (*_ROWS, GENERIC)}


def prior(key: str) -> Prior:
    """The prior of a key such as `llama-3.1-70b/h100x4`; an unknown key gives `generic`."""
    return PRIORS.get(key.strip().lower(), GENERIC)
