"""Traces: CSV files, gzip'd or plain, with the header `arrival_s,prompt_tokens,output_tokens`, sorted by arrival."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoscaler.core.errors import ConfigError, Problem

COLUMNS = ["arrival_s", "prompt_tokens", "output_tokens"]


class Trace(NamedTuple):
    """Requests in order of arrival; seconds from the start of the period, and tokens."""

    arrival_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.float64]
    output_tokens: NDArray[np.float64]


def read_trace(path: Path) -> Trace:
    """Read one trace. Raises ConfigError with the line that cannot be used."""
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if header != COLUMNS:
            raise ConfigError(str(path), (Problem("line 1", str(header)[:80], ",".join(COLUMNS)),))
        rows = []
        for number, row in enumerate(reader, start=2):
            try:
                rows.append((float(row[0]), float(row[1]), float(row[2])))
            except (ValueError, IndexError):
                raise ConfigError(str(path), (Problem(f"line {number}", str(row)[:80], "three numbers"),)) from None
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return Trace(table[:, 0], table[:, 1], table[:, 2])
