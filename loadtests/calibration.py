"""The simulated replica beside real servers: `python -m loadtests.calibration --sweeps FILE`.

For each model the replica's coefficients are fitted on half of the shapes (a checkerboard of prompt and output sizes)
and judged on the other half, then the other way round, so that every shape is judged once by a fit that never saw it.
Fitted and judged are runs at constant rates: evenly spaced arrivals, as GuideLLM makes them. Runs of one request at a
time are simulated with the same fit and told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from autoscaler.core.errors import AutoscalerError
from autoscaler.simulation.engines import Floats, Params
from loadtests.calibration_data import Point, halves, read_sweeps
from loadtests.calibration_fit import KV_TOKENS, fit, off

# (0.90 x 79.15 GiB - weights - 2 GiB) / KV bytes per token, the rule of the calibration table; no run comes near them.
ROOM = {"Llama-3.1-8B": KV_TOKENS, "Qwen2.5-14B": 227_000.0}


@dataclass(frozen=True, slots=True)
class Judged:
    """One half of a model's runs, with the fit on the other half."""

    fitted_on: str
    params: Params
    points: tuple[Point, ...]
    off: Floats  # points x (TTFT, ITL), relative; NaN: not measured


def judge(points: Sequence[Point], kv_tokens: float = KV_TOKENS) -> tuple[Judged, Judged]:
    """Both ways round."""
    even, odd = halves(points)
    results = []
    for name, ours, theirs in (("even", even, odd), ("odd", odd, even)):
        params = fit([p for p in ours if not p.alone], kv_tokens)
        results.append(Judged(name, params, tuple(theirs), off(params, theirs)))
    return results[0], results[1]


def _percent(values: Floats) -> str:
    known = values[np.isfinite(values)]
    return f"{100.0 * np.median(np.abs(known)):.1f} %" if len(known) else "-"


def _signed(value: float) -> str:
    return f"{100.0 * value:+.0f} %" if np.isfinite(value) else "-"


def _fits(model: str, results: Sequence[Judged]) -> Table:
    table = Table(
        *(
            "fitted on",
            "base ms",
            "per sequence us",
            "per prompt token us",
            "per 1,000 KV us",
            "front end ms",
            "overlap",
        ),
        *("runs judged", "ITL", "TTFT", "ITL mean", "TTFT mean", "one at a time: ITL", "TTFT"),
        title=f"{model}: median error on the other half, constant rates",
    )
    for one in results:
        alone = np.array([p.alone for p in one.points])
        p, busy = one.params, one.off[~alone]
        table.add_row(
            f"{one.fitted_on} shapes",
            *(f"{value:.4g}" for value in (p.base_s * 1e3, p.sequence_s * 1e6, p.prompt_token_s * 1e6)),
            *(f"{value:.4g}" for value in (p.kv_token_s * 1e9, p.overhead_s * 1e3, p.overlap)),
            str(len(busy)),
            *(_percent(busy[:, 1]), _percent(busy[:, 0])),
            *(f"{100.0 * np.nanmean(np.abs(busy[:, k])):.1f} %" for k in (1, 0)),
            *(_percent(one.off[alone, 1]), _percent(one.off[alone, 0])),
        )
    return table


def _shapes(model: str, results: Sequence[Judged]) -> Table:
    table = Table(
        *("in / out", "ITL median", "TTFT median", "ITL at the highest rate", "TTFT", "ITL at the one before", "TTFT"),
        title=f"{model}, by shape; signed: simulated less measured",
    )
    for shape in sorted({p.shape for one in results for p in one.points}):
        for one in results:
            places = [k for k, p in enumerate(one.points) if p.shape == shape and not p.alone]
            if places:
                rows = one.off[places]
                ends = [_signed(rows[k, column]) for k in (-1, -2) if len(rows) > 1 for column in (1, 0)]
                table.add_row(f"{shape[0]} / {shape[1]}", _percent(rows[:, 1]), _percent(rows[:, 0]), *ends)
    return table


def main(
    sweeps: Annotated[Path, typer.Option(help="CSV of measured load sweeps, one row a run.")],
) -> None:
    """Fit on half of the shapes, judge on the other half, both ways round."""
    console = Console(width=170)
    try:
        points = read_sweeps(sweeps)
    except (AutoscalerError, OSError) as error:
        console.print(str(error))
        raise typer.Exit(2) from None
    for model in sorted({p.model for p in points}):
        results = judge([p for p in points if p.model == model], ROOM.get(model, KV_TOKENS))
        console.print(_fits(model, results))
        console.print(_shapes(model, results))


if __name__ == "__main__":
    typer.run(main)
