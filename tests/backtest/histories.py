"""Small histories for the tests of the back-test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autoscaler.simulation.trace import Trace


def small_trace(rate_rps: float = 4.0, length_s: float = 1200.0, seed: int = 3, peak: float = 2.0) -> Trace:
    """Poisson arrivals that rise to `peak` times the rate in the middle; prompts of 1,200 tokens, outputs of 200."""
    rng = np.random.default_rng(seed)
    most = rate_rps * peak
    at_s = np.sort(rng.uniform(0.0, length_s, rng.poisson(most * length_s)))
    share = (1.0 + (peak - 1.0) * np.sin(np.pi * at_s / length_s)) / peak
    at_s = at_s[rng.random(len(at_s)) < share]
    prompts = np.rint(np.maximum(1.0, rng.lognormal(np.log(1000.0), 0.6, len(at_s))))
    outputs = np.rint(np.maximum(1.0, rng.lognormal(np.log(180.0), 0.5, len(at_s))))
    return Trace(np.round(at_s, 3), prompts, outputs)


def write_csv(path: Path, trace: Trace, header: str = "arrival_s,prompt_tokens,output_tokens") -> Path:
    """A file of requests."""
    rows = "".join(f"{a:.3f},{int(p)},{int(o)}\n" for a, p, o in zip(*trace, strict=True))
    path.write_text(f"{header}\n{rows}")
    return path
