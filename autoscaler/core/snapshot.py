"""Learned state as versioned JSON, and back.

Law: state is made of dataclasses of plain values only, so one typed walk writes all of it and one typed walk reads it
and refuses what does not fit. The same state always gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from array import array
from typing import Any, TypeVar

from autoscaler.core.errors import AutoscalerError

KIND = "llm-autoscaler/planner"
VERSION = 6
ENDLESS = 1.7e308  # stands for infinity

T = TypeVar("T")


class SnapshotError(AutoscalerError):
    """A snapshot cannot be used: not ours, another version, or damaged."""


def dump(state: object) -> bytes:
    """Write a state dataclass as JSON bytes."""
    document = {"kind": KIND, "version": VERSION, "state": _plain(state)}
    return json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()


def load(kind: type[T], snapshot: bytes) -> T:
    """Read a state dataclass from JSON bytes.

    Raises SnapshotError (not JSON, foreign, another version, or a field that does not fit).
    """
    try:
        document = json.loads(snapshot)
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"planner snapshot: found bytes that are not JSON ({error}); start without it") from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise SnapshotError(f"planner snapshot: found another kind of document, expected kind {KIND!r}")
    if document.get("version") != VERSION:
        raise SnapshotError(
            f"planner snapshot: found version {document.get('version')!r}, expected {VERSION}; start without it"
        )
    return typing.cast(T, _read(kind, document.get("state"), "state"))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, array):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return value if _finite(value) else [_plain(item) for item in value]
    if isinstance(value, float) and math.isinf(value):
        return ENDLESS if value > 0.0 else -ENDLESS  # the last bound of a histogram; JSON has no infinity
    if isinstance(value, dict):
        # A list of pairs keeps the order in which replicas came: sums stay bit-equal after a restore.
        return [[key, _plain(item)] for key, item in value.items()]
    return value


def _finite(values: Any) -> bool:
    """Whether all are finite floats, which need no walk: most of a state are."""
    return set(map(type, values)) == {float} and math.isfinite(sum(map(abs, values)))


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _misfit(path: str, data: object, expected: str) -> SnapshotError:
    return SnapshotError(f"planner snapshot: {path}: found {str(data)[:60]!r}, expected {expected}")


def _read(hint: Any, data: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _read_dataclass(typing.cast(type, hint), data, path)
    if hint is array:
        return array("d", _read_sequence(list, (float,), data, path))
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if data is None else _read(next(a for a in args if a is not types.NoneType), data, path)
    if origin in (list, tuple):
        return _read_sequence(origin, args, data, path)
    if origin is dict:
        if not isinstance(data, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in data):
            raise _misfit(path, data, "a list of pairs")
        return {_read(args[0], key, path): _read(args[1], item, f"{path}[{key!r}]") for key, item in data}
    return _read_scalar(hint, data, path)


def _read_dataclass(kind: type, data: Any, path: str) -> Any:
    hints = _hints(kind)
    if not isinstance(data, dict) or set(data) != set(hints):
        raise _misfit(path, data, f"exactly the fields {', '.join(sorted(hints))}")
    return kind(**{name: _read(hint, data[name], f"{path}.{name}") for name, hint in hints.items()})


def _read_sequence(origin: Any, args: tuple[Any, ...], data: Any, path: str) -> Any:
    if not isinstance(data, list):
        raise _misfit(path, data, "a list")
    if (
        args[0] is float
        and _finite(data)
        and max(map(abs, data)) < ENDLESS
        and (origin is list or args[-1] is Ellipsis)
    ):
        return origin(data)
    if origin is list or (len(args) == 2 and args[1] is Ellipsis):
        return origin(_read(args[0], item, path) for item in data)
    if len(args) != len(data):
        raise _misfit(path, data, f"{len(args)} items")
    return tuple(_read(arg, item, path) for arg, item in zip(args, data, strict=True))


def _read_scalar(hint: Any, data: Any, path: str) -> Any:
    if hint is float and isinstance(data, (int, float)) and not isinstance(data, bool):
        if not math.isfinite(data):
            raise _misfit(path, data, "a finite number")
        return math.copysign(math.inf, data) if abs(data) == ENDLESS else float(data)
    if hint in (int, bool, str) and type(data) is hint:
        return data
    raise _misfit(path, data, getattr(hint, "__name__", str(hint)))
