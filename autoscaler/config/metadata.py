"""Trigger metadata: strings that KEDA forwards, ours and others', to what one trigger sets."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from autoscaler.config.records import Overrides, Trigger
from autoscaler.config.vocabulary import Metadata, keys, nearest, problems
from autoscaler.core.errors import ConfigError, Problem

# KEDA's own keys and those that KServe writes for its external trigger: forwarded with every call, not ours.
FOREIGN = frozenset(
    {
        "scalerAddress",
        "enableTLS",
        "unsafeSsl",
        "caCert",
        "tlsClientCert",
        "tlsClientKey",
        "metricQuery",
        "targetValue",
        "operationOverTime",
    }
)
# What opens doors comes from the operator's file alone: whoever writes a ScaledObject must not point us anywhere.
OPERATOR_ONLY = frozenset(
    {
        "url",
        "urls",
        "replicas",
        "headers",
        "token",
        "tokenFile",
        "caFile",
        "certFile",
        "keyFile",
        "access",
        "file",
        "http",
    }
)
KEYS = frozenset(keys(Metadata))
# A metadata value that is text by nature; every other one is a number.
_TEXT = frozenset({"target", "role", "mode", "prior", "wakeSource", "server", "metricsPath"})


def normalise(metadata: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The identity of a trigger's metadata: what matters of it, in one order."""
    return tuple(sorted((key, value) for key, value in metadata.items() if key not in FOREIGN))


def read_trigger(metadata: Mapping[str, str]) -> Trigger:
    """What one trigger's metadata sets.

    Raises ConfigError with every malformed value at once; unknown keys are warnings, because KEDA and KServe forward
    keys of their own.
    """
    found: list[Problem] = []
    warnings: list[str] = []
    ours: dict[str, str] = {}
    for key, value in normalise(metadata):
        if key in OPERATOR_ONLY:
            found.append(Problem(key, repr(value), "this key in the operator's targets file, never in metadata"))
        elif key not in KEYS:
            warnings.append(f"metadata key {key!r} is unknown and ignored{nearest(key, KEYS)}")
        elif key == "mode" and value == "shadow":
            expected = (
                "'act': a shadow trigger in an acting ScaledObject would hold it up, name the service in the file"
            )
            found.append(Problem(key, repr(value), expected))
        elif key not in _TEXT and not _is_number(value):
            found.append(Problem(key, repr(value), "a number, such as 3 or 0.06"))
        elif key == "metricsPath" and not value.startswith("/"):
            found.append(Problem(key, repr(value), "a path that begins with /"))
        else:
            ours[key] = value
    try:
        read = Metadata.model_validate(ours)
    except ValidationError as error:
        found += problems(error, {"metadata": list(KEYS)})
        read = Metadata()
    if found:
        raise ConfigError("trigger metadata", tuple(found))
    return Trigger(read.target, read.role, _overrides(read), tuple(warnings))


def _is_number(value: str) -> bool:
    if not value or value != value.strip() or "_" in value:
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True


def _overrides(read: Metadata) -> Overrides:
    none = read.wake_source == "none"
    return Overrides(
        ttft_s=read.ttft_seconds,
        tpot_s=read.tpot_seconds,
        attainment=read.attainment,
        min_replicas=read.min_replicas,
        max_replicas=read.max_replicas,
        keep_warm_s=read.keep_warm_seconds,
        gpus_per_replica=read.gpus_per_replica,
        gpu_price_per_hour=read.gpu_price_per_hour,
        prior=read.prior,
        max_batched_tokens=read.max_batched_tokens,
        max_sequences=read.max_sequences,
        wake_source_none=none,
        wake_source=None if none else read.wake_source,
        server=read.server,
        metrics_port=read.metrics_port,
        metrics_path=read.metrics_path,
    )
