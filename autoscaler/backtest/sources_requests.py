"""Files of requests: CSV or JSON lines, gzip'd or not, one request each, and files of what ran."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np

from autoscaler.backtest.columns import (
    ARRIVAL,
    REPLICAS,
    UNIT_WORDS,
    UNITS,
    Columns,
    iso_s,
    pick,
    pick_columns,
    unit_of,
)
from autoscaler.backtest.history import Gap, Plan, Told
from autoscaler.core.errors import ConfigError, Problem
from autoscaler.simulation.engines import Floats

# Larger than the context of any model served today (10 million tokens announced, 2 million served); what a fleet of
# thousands of GPUs takes; three months: records are kept for weeks. Beyond these the user is asked, not refused.
MOST_TOKENS, MOST_RPS, LONGEST_S = 2e6, 5000.0, 90.0 * 86_400.0
LEAST_ALIKE = 100  # requests of one size that are no chance
MOST_PROBLEMS = 50  # listed one by one; the rest is counted
# A silence is no data where the traffic on either side would have sent so many requests into it. Even with the
# variance of requests a minute at 500 times their mean, the most of the public traces, none in 200 is one in a
# million only beyond this length as well.
SILENT_REQUESTS, SILENT_S, AROUND_S = 200.0, 300.0, 600.0

Table = dict[str, list[str]]
# Line numbers, texts by column, the header, and the rows that are none.
Read = tuple[list[int], Table, list[str], list[Problem]]
# Arrivals, prompts, outputs, how times were understood, and line numbers.
Requests = tuple[Columns, Floats, Floats, Floats, str, Sequence[int]]


def read_requests(path: Path, *, unit: str | None = None, idle_gaps: bool = False) -> Told:
    """Read a file of requests. Raises ConfigError with every problem of the file at once, by line."""
    columns, arrival, prompt, output, how, lines = _quickly(path, unit) or _carefully(path, unit)
    warnings: list[str] = []
    arrival, prompt, output = _sorted(arrival, prompt, output, lines, warnings)
    for name, values in (("prompt", prompt), ("output", output)):
        if empty := int((values < 1.0).sum()):
            warnings.append(f"{empty:,} requests have no {name} tokens: taken as one token.")
    warnings += doubts(arrival, prompt, output)
    gaps = () if idle_gaps else silences(arrival)
    facts = (
        f"{len(arrival):,} requests read from {path.name}: arrivals from column {columns.arrival} ({how}), "
        f"prompt tokens from {columns.prompt}, output tokens from {columns.output}.",
    )
    silent_s = sum(gap.length_s for gap in gaps)
    between_s = (arrival[-1] - arrival[0] - silent_s) / max(1, len(arrival) - 1)
    return Told(
        arrival, prompt, output, float(arrival[0]), float(arrival[-1] + between_s), gaps, facts=facts,
        warnings=tuple(warnings),
    )  # fmt: skip


def _quickly(path: Path, unit: str | None) -> Requests | None:
    """A plain CSV of numbers in one go, three times as fast; None: it is something else, or something is wrong."""
    try:
        with _open(path) as file:
            header = [name.strip() for name in next(csv.reader([file.readline()]), [])]
            columns = pick_columns(header, "line 1")
            if not isinstance(columns, Columns):
                return None
            places = [header.index(name) for name in (columns.arrival, columns.prompt, columns.output)]
            body = file.read()
        if not body.strip() or '"' in body:
            return None
        table = np.loadtxt(io.StringIO(body), delimiter=",", usecols=places, comments=None, ndmin=2)
    except (ValueError, OSError, EOFError):
        return None
    # Beyond the columns taken nobody looked: 1,569 without quotes is a prompt of one token and an output of 569.
    if (
        body.count(",") != len(table) * (len(header) - 1)
        or not bool(np.isfinite(table).all())
        or bool((table[:, 1:] < 0.0).any())
    ):
        return None
    unit = unit_of(columns.arrival, float(table[:, 0].max()), unit)
    return (
        columns,
        table[:, 0] * UNITS[unit],
        table[:, 1].copy(),
        table[:, 2].copy(),
        UNIT_WORDS[unit],
        range(2, len(table) + 2),
    )


def _carefully(path: Path, unit: str | None) -> Requests:
    """Row by row. Raises ConfigError with every problem of the file."""
    numbers, table, header, found = _read(path)
    columns = pick_columns(header, "line 1")
    if not isinstance(columns, Columns):
        raise ConfigError(str(path), (*columns, *found[:MOST_PROBLEMS]), more=max(0, len(found) - MOST_PROBLEMS))
    arrival, how = _times(table[columns.arrival], numbers, columns.arrival, unit, found)
    prompt = _numbers(table[columns.prompt], numbers, columns.prompt, found)
    output = _numbers(table[columns.output], numbers, columns.output, found)
    if not numbers and not found:
        found.append(Problem("the file", "no rows", "one row per request"))
    _refuse(path, found)
    return columns, arrival, prompt, output, how, numbers


def read_replicas_ran(path: Path, unit: str | None = None) -> Plan:
    """Read what ran: a file of (time, replicas). Raises ConfigError with every problem at once, by line."""
    numbers, table, header, found = _read(path)
    time, count = pick(header, ARRIVAL), pick(header, REPLICAS)
    if time is None or count is None:
        expected = f"a time ({', '.join(ARRIVAL[:4])}) and a count ({', '.join(REPLICAS[:4])})"
        raise ConfigError(str(path), (Problem("line 1", f"columns {', '.join(header)[:200]}", expected),))
    at_s, _ = _times(table[time], numbers, time, unit, found)
    counts = _numbers(table[count], numbers, count, found)
    if not found:
        found += [
            Problem(f"line {line}", f"{count} {value:g}", "a whole number of replicas")
            for line, value in zip(numbers, counts.tolist(), strict=True)
            if value != int(value)
        ]
        found += [] if numbers else [Problem("the file", "no rows", "one row per change of the replica count")]
    _refuse(path, found)
    order = np.argsort(at_s, kind="stable")
    return tuple((float(at_s[i]), int(counts[i])) for i in order)


def doubts(arrival_s: Floats, prompt_tokens: Floats, output_tokens: Floats) -> list[str]:
    """What in a readable file is hardly true of a service, as sentences."""
    found = []
    for name, tokens in (("prompt", prompt_tokens), ("output", output_tokens)):
        if (most := float(tokens.max())) > MOST_TOKENS:
            found.append(f"The largest {name} is {most:,.0f} tokens, which no model takes: is that column in tokens?")
        if len(tokens) >= LEAST_ALIKE and tokens.min() == tokens.max():
            found.append(f"Every {name} is {most:,.0f} tokens: where sizes vary, more replicas are needed than here.")
    span_s = float(arrival_s[-1] - arrival_s[0])
    if span_s > LONGEST_S or len(arrival_s) > max(LEAST_ALIKE, MOST_RPS * span_s):
        found.append(
            f"{len(arrival_s):,} requests in {span_s:,.0f} s ({span_s / 86_400.0:,.1f} days): if the times are in "
            "another unit, say it with --time-unit."
        )
    return found


def silences(arrival_s: Floats) -> tuple[Gap, ...]:
    """Silences too long to be chance: the busier of it, the shorter. At both sides the ten minutes are looked at."""
    between = np.diff(arrival_s)
    gaps = []
    for k in np.nonzero(between >= SILENT_S)[0]:
        before, after = float(arrival_s[k]), float(arrival_s[k + 1])
        first, last = np.searchsorted(arrival_s, [before - AROUND_S, after + AROUND_S])
        around = min(k + 1 - first, last - k - 1)
        if around / AROUND_S * float(between[k]) >= SILENT_REQUESTS:
            gaps.append(Gap(before, after))
    return tuple(gaps)


# --- reading -------------------------------------------------------------------------------------------------------


def _open(path: Path) -> IO[str]:
    """A text file; gzip is told by its first bytes, whatever its name."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return (
        gzip.open(path, "rt", newline="", encoding="utf-8-sig")
        if packed
        else path.open(newline="", encoding="utf-8-sig")
    )


def _read(path: Path) -> Read:
    """A file as a table of texts."""
    try:
        with _open(path) as file:
            first = file.readline()
            file.seek(0)
            is_json = first.lstrip().startswith("{")
            return _json_lines(path, file) if is_json else _csv(path, file)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise ConfigError(str(path), (Problem("the file", text, "a readable CSV or JSONL file"),)) from None


def _csv(path: Path, file: Iterable[str]) -> Read:
    lines = iter(file)
    first = next(lines, "")
    reader = csv.reader(chain((first,), lines), delimiter=_separator(first))
    header = [name.strip() for name in next(reader, [])]
    if not header or all(_is_number(name) for name in header):
        names = ", ".join(header)[:80] or "nothing"
        raise ConfigError(str(path), (Problem("line 1", names, "a header that names the columns"),))
    rows = [(i, row) for i, row in enumerate(reader, 2) if row]
    # A comma at the end of a line adds nothing.
    whole = [(i, row) for i, row in rows if len(row) >= len(header) and not any(row[len(header) :])]
    numbers = [i for i, _ in whole]
    kept = set(numbers)
    found = [Problem(f"line {i}", f"{len(row)} columns", f"{len(header)}") for i, row in rows if i not in kept]
    turned: Sequence[tuple[str, ...]] = list(zip(*(row[: len(header)] for _, row in whole), strict=True)) or [()] * len(
        header
    )
    # Of columns of one name the first; one that is needed and there twice is refused.
    table = {name: list(column) for name, column in reversed(list(zip(header, turned, strict=True)))}
    return numbers, table, header, found


def _separator(header: str) -> str:
    """What stands between columns: a comma, or where the header has none a semicolon or a tab."""
    return next((mark for mark in ",;\t" if mark in header), ",")


def _json_lines(path: Path, file: Iterable[str]) -> Read:
    numbers: list[int] = []
    rows: list[dict[str, object]] = []
    found: list[Problem] = []
    for i, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            found.append(Problem(f"line {i}", line.strip()[:60], "one JSON object per line"))
            continue
        numbers.append(i)
        rows.append(row)
    if not rows:
        _refuse(path, found)
    header = list(rows[0]) if rows else []
    return numbers, {name: [str(row.get(name, "")) for row in rows] for name in header}, header, found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- from texts to numbers ----------------------------------------------------------------------------------------


def _times(
    texts: list[str], lines: list[int], column: str, unit: str | None, found: list[Problem]
) -> tuple[Floats, str]:
    """Seconds, and how the column was understood."""
    if not texts:
        return np.zeros(0), "empty"
    if not _is_number(texts[0]):
        return _iso_times(texts, lines, column, found), "ISO 8601, UTC where no zone is given"
    values = _numbers(texts, lines, column, found, least=-np.inf)
    unit = unit_of(column, float(values.max()) if len(values) else 0.0, unit)
    return values * UNITS[unit], UNIT_WORDS[unit]


def _iso_times(texts: list[str], lines: list[int], column: str, found: list[Problem]) -> Floats:
    values = np.zeros(len(texts))
    for k, text in enumerate(texts):
        try:
            values[k] = iso_s(text)
        except ValueError:
            found.append(Problem(f"line {lines[k]}", f"{column} {text[:40]!r}", "an ISO 8601 time"))
    return values


def _numbers(texts: list[str], lines: list[int], column: str, found: list[Problem], least: float = 0.0) -> Floats:
    try:
        values = np.array(texts, dtype=np.float64)
        if bool(np.isfinite(values).all()) and bool((values >= least).all()):
            return values
    except ValueError:
        pass
    expected = "a number" if least < 0.0 else f"a number of at least {least:g}"
    values = np.zeros(len(texts))
    for k, text in enumerate(texts):
        value = float(text) if _is_number(text) else np.nan
        if not (np.isfinite(value) and value >= least):
            found.append(Problem(f"line {lines[k]}", f"{column} {text[:40]!r}", expected))
        values[k] = value
    return values


def _sorted(
    arrival: Floats, prompt: Floats, output: Floats, lines: Sequence[int], warnings: list[str]
) -> tuple[Floats, Floats, Floats]:
    back = np.nonzero(np.diff(arrival) < 0.0)[0]
    if not len(back):
        return arrival, prompt, output
    warnings.append(
        f"{len(back):,} rows are earlier than the row before (the first: line {lines[back[0] + 1]}): sorted."
    )
    order = np.argsort(arrival, kind="stable")
    return arrival[order], prompt[order], output[order]


def _refuse(path: Path, found: list[Problem]) -> None:
    if not found:
        return
    found.sort(key=_line)
    rest = len(found) - MOST_PROBLEMS
    raise ConfigError(str(path), tuple(found[:MOST_PROBLEMS]), more=max(0, rest))


def _line(problem: Problem) -> int:
    return int(problem.path.removeprefix("line ")) if problem.path.startswith("line ") else 0
