"""The settings' one vocabulary: the same keys, bounds and words in the file, in trigger metadata and in the docs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from autoscaler.core.errors import Problem

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=10_000)]
Tokens = Annotated[int, Field(ge=1, le=10_000_000)]
Positive = Annotated[int, Field(ge=1, le=10_000)]


class Strict(BaseModel):
    """Camel-case keys, nothing unknown, nothing mutable."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=False)


class Sizing(Strict):
    """What may be set for a role: in the file, under `defaults`, and in trigger metadata."""

    min_replicas: Count | None = Field(None, description="fewest replicas; 0 lets the service go to zero")
    max_replicas: Positive | None = Field(None, description="most replicas")
    gpus_per_replica: Positive | None = Field(None, description="GPUs one replica holds")
    prior: str | None = Field(None, description="key of the step-time table, such as llama-3.1-70b/a100x4")
    max_batched_tokens: Tokens | None = Field(None, description="the server's tokens per step, which no page tells")
    max_sequences: Positive | None = Field(
        None, description="requests the server runs at a time, which most pages do not tell"
    )


class Aims(Sizing):
    """What may be set for a service."""

    ttft_seconds: Seconds | None = Field(None, description="limit on the time to first token, from arrival")
    tpot_seconds: Seconds | None = Field(None, description="limit on the mean time per output token")
    attainment: Share | None = Field(None, description="share of requests that must meet both limits")
    keep_warm_seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = Field(
        None, description="idle time before zero; default: the measured lead time (break-even)"
    )
    gpu_price_per_hour: Seconds | None = Field(None, description="price of one GPU-hour")
    wake_source: str | None = Field(None, description="name of a wake source of the file, or `none`")


def _plain_number(value: Any) -> Any:
    """Numbers in metadata are text: spaces, underscores and other spellings of Python are not numbers there."""
    if isinstance(value, str) and (not value or value != value.strip() or "_" in value):
        raise ValueError("not a number")
    return value


Text = Annotated[Any, BeforeValidator(_plain_number)]


class Metadata(Aims):
    """What a KEDA trigger's metadata may set."""

    target: str | None = Field(None, description="the service, or service/role; default: the ScaledObject's name")
    role: Literal["", "prefill", "decode"] = Field("", description="role of the service")
    mode: Literal["act"] | None = Field(None, description="act; `shadow` needs no trigger and is refused in one")
    server: str | None = Field(None, description="model server of pods found in Kubernetes; default: told by its page")
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = Field(
        None, description="metrics port of pods found in Kubernetes; default: found on them"
    )
    metrics_path: str | None = Field(None, description="metrics path of pods found in Kubernetes; default: found there")


def keys(model: type[BaseModel]) -> list[str]:
    """The keys of a model as users write them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def nearest(key: str, valid: Iterable[str]) -> str:
    """`; did you mean X?` for a key near a valid one, else nothing."""
    options = {name.lower(): name for name in valid}
    close = difflib.get_close_matches(key.lower(), options, n=1, cutoff=0.6)
    return f"; did you mean {options[close[0]]!r}?" if close else ""


def problems(error: ValidationError, valid_at: dict[str, list[str]], root: str = "") -> tuple[Problem, ...]:
    """Every error of a validation as problems with paths; `valid_at` names valid keys by the model's title."""
    return tuple(_problem(dict(detail), valid_at, root) for detail in error.errors(include_url=False))


def _path(loc: tuple[Any, ...], root: str) -> str:
    text = root
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text or "the document"


def _problem(detail: dict[str, Any], valid_at: dict[str, list[str]], root: str) -> Problem:
    path = _path(detail["loc"], root)
    found = repr(detail.get("input"))[:80]
    if detail["type"] == "extra_forbidden":
        key = str(detail["loc"][-1])
        if key == "shadow":  # nothing that is spelled alike says it
            return Problem(path, f"unknown key {key!r}", "`mode: shadow`, to watch a service without acting on it")
        names = [name for valid in valid_at.values() for name in valid]
        return Problem(path, f"unknown key {key!r}", f"a key of the vocabulary{nearest(key, names)}")
    if detail["type"] == "missing":
        return Problem(path, "nothing", "a value")
    message = str(detail["msg"])
    for lead in ("Input should be ", "Value error, "):
        message = message.removeprefix(lead)
    return Problem(path, found, message)
