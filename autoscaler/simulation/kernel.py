"""Plain functions and their compiled twins.

Law: a kernel is an ordinary function on arrays, numbers and named tuples of them; `compiled(kernel)` gives its numba
twin, in which every kernel it calls is compiled too, `bound(kernel, *like)` the twin for given types. The demo runs
kernels plain and needs no compiler; the simulator runs the twins where numba is installed. A test proves both give the
same bits.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

_KERNELS: set[Callable[..., Any]] = set()
_BOUND: dict[tuple[Any, ...], Any] = {}
HAS_COMPILER = importlib.util.find_spec("numba") is not None


def kernel(function: F) -> F:
    """Mark a function as one that can be compiled; it stays as it is."""
    _KERNELS.add(function)
    return function


def compiled(function: F) -> F:
    """The compiled twin of a kernel; the kernel itself where numba is not installed."""
    return _twin(function) if HAS_COMPILER else function


def bound(function: F, *like: Any) -> F:
    """The compiled twin for arguments of exactly the types of `like`; the kernel itself where numba is not installed.

    A call of `compiled` looks at the type of every array in every tuple first: 9.0 microseconds for a fleet's `run`
    that has nothing to do, and 1.4 when bound. Whoever calls it must keep to these types, layouts included.
    """
    if not HAS_COMPILER:
        return function
    key = (function, *map(_kind, like))
    if key not in _BOUND:
        twin: Any = _twin(function)  # first: it says where numba keeps compiled code
        import numba  # noqa: PLC0415 -- an extra

        types_of = tuple(numba.typeof(one) for one in like)  # type: ignore[no-untyped-call]
        twin.compile(types_of)
        _BOUND[key] = twin.get_overload(types_of)
    entry: F = _BOUND[key]
    return entry


def _kind(value: Any) -> Any:
    """What numba's type of a value hangs on; numba's own takes 400 microseconds for a fleet."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.ndim, value.flags.num
    if isinstance(value, tuple):
        return type(value), *map(_kind, value)
    return type(value)


@functools.cache
def _jit() -> Callable[..., Any]:
    # Compiled code is kept between processes. numba notices an edit of the function itself only, not of those it
    # calls, so the folder's name is a digest of every module here; `policies` has no kernels.
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"llm-autoscaler-kernels-{digest}"))
    import numba  # noqa: PLC0415 -- an extra

    # Kernels allocate nothing. Without the run-time that counts references of every array in every tuple passed they
    # are five times as fast, and inlined into one another twice again: else every call of every event passes 40 arrays
    # over the stack (0.4, 1.3 and 2.7 million requests a second on ten replicas).
    return functools.partial(numba.njit, cache=True, nogil=True, _nrt=False, forceinline=True)


@functools.cache
def _twin(function: F) -> F:
    """A copy of the function whose global names of kernels are bound to their twins, compiled."""
    names = {
        name: _twin(value)
        for name in function.__code__.co_names
        if callable(value := function.__globals__.get(name)) and value in _KERNELS
    }
    copy = types.FunctionType(
        function.__code__, {**function.__globals__, **names}, function.__name__, function.__defaults__
    )
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    result: F = _jit()(copy)
    return result
