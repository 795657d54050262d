"""Records as plain JSON values and back, by their type hints; for the flight record and the JSON API."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import types
import typing
from typing import Any, TypeVar

from autoscaler.core.errors import AutoscalerError

T = TypeVar("T")
_ODD = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class CodecError(AutoscalerError):
    """A value does not fit the record it is read as."""


def to_json(value: Any) -> Any:
    """A record as JSON values: fields at their default are left out, NaN and infinities are strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: to_json(item) for field, item in fields if item is not field.default}
    return value


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def from_json(kind: type[T], data: Any, path: str = "record") -> T:
    """Read JSON values as a record. Raises CodecError with the path of what does not fit."""
    return typing.cast(T, _read(kind, data, path))


def _read(hint: Any, data: Any, path: str) -> Any:  # noqa: PLR0911 -- one return per kind of hint
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if data is None else _read(next(a for a in args if a is not types.NoneType), data, path)
    if origin is tuple:
        return _tuple(args, data, path)
    if dataclasses.is_dataclass(hint):
        return _record(typing.cast(type, hint), data, path)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        try:
            return hint(data)
        except ValueError:
            raise _misfit(path, data, f"one of {[member.value for member in hint]}") from None
    if hint is float and isinstance(data, (int, float, str)) and not isinstance(data, bool):
        if isinstance(data, str):
            if data not in _ODD:
                raise _misfit(path, data, "a number")
            return _ODD[data]
        return float(data)
    if type(data) is not hint:
        raise _misfit(path, data, getattr(hint, "__name__", str(hint)))
    return data


def _tuple(args: tuple[Any, ...], data: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise _misfit(path, data, "a list")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_read(args[0], item, f"{path}[{i}]") for i, item in enumerate(data))
    if len(args) != len(data):
        raise _misfit(path, data, f"{len(args)} items")
    return tuple(_read(arg, item, f"{path}[{i}]") for i, (arg, item) in enumerate(zip(args, data, strict=True)))


def _record(kind: type, data: Any, path: str) -> Any:
    if not isinstance(data, dict):
        raise _misfit(path, data, kind.__name__)
    hints = _hints(kind)
    unknown = data.keys() - hints.keys()
    if unknown:
        raise _misfit(path, sorted(unknown), f"fields of {kind.__name__}")
    try:
        return kind(**{name: _read(hints[name], item, f"{path}.{name}") for name, item in data.items()})
    except TypeError as error:
        raise _misfit(path, data, f"every field of {kind.__name__} ({error})") from None


def _misfit(path: str, data: object, expected: str) -> CodecError:
    return CodecError(f"{path}: found {str(data)[:60]!r}, expected {expected}")
