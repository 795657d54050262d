"""Which column of a file of requests is which, and what its times mean.

Law: pure; names are compared without case and punctuation. The names are those of public traces (Azure LLM inference,
BurstGPT, Mooncake, ServeGen, Vidur) and of common request logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from autoscaler.core.errors import Problem

ARRIVAL = [
    "arrival_s",
    "arrival",
    "arrivals",
    "arrival_time",
    "arrived_at",
    "timestamp",
    "timestamp_s",
    "timestamp_ms",
    "time",
    "time_s",
    "ts",
    "t",
    "start_time",
    "started_at",
    "created",
    "created_at",
    "request_time",
    "date",
    "datetime",
    "arrival_ms",
]
PROMPT = [
    "prompt_tokens",
    "contexttokens",
    "context_tokens",
    "input_tokens",
    "num_prefill_tokens",
    "prompt_len",
    "prompt_length",
    "input_length",
    "input_len",
    "request_tokens",
    "num_input_tokens",
    "isl",
    "prompts",
    "prompt",  # in logs of requests more often the text
]
OUTPUT = [
    "output_tokens",
    "generatedtokens",
    "generated_tokens",
    "generation_tokens",
    "num_decode_tokens",
    "output_len",
    "output_length",
    "completion_tokens",
    "response_tokens",
    "num_output_tokens",
    "osl",
    "outputs",
    "output",
]
REPLICAS = [
    "replicas",
    "replica_count",
    "count",
    "ready",
    "ready_replicas",
    "spec_replicas",
    "desired",
    "pods",
    "instances",
    "value",
]
UNIT_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
AGO_S = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns taken."""

    arrival: str
    prompt: str
    output: str


def plain(name: str) -> str:
    """A name without case and punctuation."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def pick(header: Sequence[str], known: Sequence[str]) -> str | None:
    """The first of the known names that the header has, as the header spells it."""
    by_plain = {plain(name): name for name in reversed(header)}
    return next((by_plain[plain(name)] for name in known if plain(name) in by_plain), None)


def pick_columns(header: Sequence[str], where: str) -> Columns | tuple[Problem, ...]:
    """The three columns, or what is missing."""
    found = {
        what: pick(header, known) for what, known in (("arrival", ARRIVAL), ("prompt", PROMPT), ("output", OUTPUT))
    }
    missing = tuple(
        Problem(where, f"columns {', '.join(header)[:200]}", f"one for the {what}, such as {', '.join(known[:4])}")
        for what, known in (("arrival", ARRIVAL), ("prompt", PROMPT), ("output", OUTPUT))
        if found[what] is None
    )
    spelled = [plain(name) for name in header]
    twice = tuple(
        Problem(where, f"{spelled.count(plain(name))} columns {name}", "one of that name")
        for name in found.values()
        if name is not None and spelled.count(plain(name)) > 1
    )
    return missing + twice or Columns(found["arrival"] or "", found["prompt"] or "", found["output"] or "")


def unit_of(column: str, largest: float, asked: str | None) -> str:
    """The unit of numeric times: what was asked, the column's ending, or by size where it can only be Unix time."""
    if asked is not None:
        return asked
    for ending in ("ms", "us", "ns"):
        if column.lower().endswith(f"_{ending}"):
            return ending
    # Unix time today is 1.8e9 s: whatever is a thousand times larger is in a thousandth of it.
    return next((unit for unit, least in (("ns", 1e17), ("us", 1e14), ("ms", 1e11)) if largest >= least), "s")


def iso_s(text: str) -> float:
    """Unix seconds of an ISO 8601 time; without a zone it is UTC. Raises ValueError."""
    at = datetime.fromisoformat(text.strip().replace("Z", "+00:00") if text.endswith(("Z", "Z ")) else text.strip())
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def time_of(text: str, now_s: float) -> float:
    """Unix seconds of an option: a number, an ISO 8601 time, or a time ago such as 7d, 36h, 90m. Raises ValueError."""
    text = text.strip()
    if text[-1:] in AGO_S and text[:-1].replace(".", "", 1).isdigit():
        return now_s - float(text[:-1]) * AGO_S[text[-1]]
    try:
        return float(text)
    except ValueError:
        return iso_s(text)
