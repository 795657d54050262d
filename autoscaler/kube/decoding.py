"""JSON without holding the event loop: lists item by item, watch streams line by line, only the fields needed."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from typing import Any

Json = dict[str, Any]
Trim = Callable[[Json], Json]

# At most this long between two chances for others; the acceptance is 20 ms, on a machine that does other things too.
SLICE_S = 0.005
# An object in etcd has 1.5 MiB at most (its default request limit); JSON is about twice its stored form.
LINE_LIMIT_BYTES = 8 * 1024 * 1024
# Short strings that repeat from object to object ("True", "Running", a phase, a node's name) are kept once.
INTERN_UP_TO = 32

# Different values of a shared path that are remembered, for each path: templates, of which each has many pods.
SHARED_MOST = 4096

# The whole object as text, by `kubectl apply` without --server-side.
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


class Breather:
    """Lets other tasks run when this one has worked for a slice of time."""

    def __init__(self, slice_s: float = SLICE_S) -> None:
        self._slice_s = slice_s
        self._since_s = time.perf_counter()

    async def pause(self) -> None:
        """Give way if the slice is used up."""
        if time.perf_counter() - self._since_s >= self._slice_s:
            await asyncio.sleep(0)
            self._since_s = time.perf_counter()


async def read_list(body: bytes, take: Callable[[Json], None], breather: Breather) -> Json:
    """Hand every object under `items` of a list to `take`; returns the other top-level fields.

    Raises ValueError (not a JSON object, or broken off).
    """
    text = body.decode()
    fields: Json = {}
    at = _expect(text, _skip(text, 0), "{")
    try:
        while text[at] != "}":
            key, at = _DECODER.raw_decode(text, at)
            at = _expect(text, _skip(text, at), ":")
            if key == "items" and text[at] == "[":
                at = await _read_items(text, at, take, breather)
            else:
                fields[key], at = _DECODER.raw_decode(text, at)
            at = _skip(text, at)
            if text[at] == ",":
                at = _skip(text, at + 1)
    except IndexError:
        raise ValueError("the list breaks off") from None
    return fields


async def _read_items(text: str, at: int, take: Callable[[Json], None], breather: Breather) -> int:
    at = _skip(text, at + 1)
    while text[at] != "]":
        item, at = _DECODER.raw_decode(text, at)
        take(item)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
        await breather.pause()
    return at + 1


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, sign: str) -> int:
    if text[at : at + 1] != sign:
        raise ValueError(f"found {text[at : at + 20]!r}, expected {sign!r}")
    return _skip(text, at + 1)


async def read_lines(parts: AsyncIterator[bytes], breather: Breather) -> AsyncGenerator[Json]:
    """The JSON objects of a watch stream, one a line, however it was cut. Raises ValueError (no JSON, endless line)."""
    pending: list[bytes] = []
    size = 0
    async for part in parts:
        *lines, rest = part.split(b"\n")
        for line in lines:
            whole = b"".join((*pending, line))
            pending, size = [], 0
            if whole.strip():
                yield json.loads(whole)
                await breather.pause()
        if rest:
            pending.append(rest)
            size += len(rest)
            if size > LINE_LIMIT_BYTES:
                raise ValueError(f"a watch event is larger than {LINE_LIMIT_BYTES // 2**20} MiB")


def without_bookkeeping(item: Json) -> Json:
    """The object without what others noted about writing it: a third to a half of a pod, nothing we decide on."""
    metadata = item.get("metadata") or {}
    metadata.pop("managedFields", None)
    (metadata.get("annotations") or {}).pop(LAST_APPLIED, None)
    return item


_IDENTITY: Mapping[str, Any] = {"metadata": {"name": True, "namespace": True, "resourceVersion": True, "uid": True}}


class _Shared:
    """Equal values, kept once; the ones met last are remembered."""

    def __init__(self, path: str) -> None:
        *self._parents, self._last = path.split(".")
        self._known: OrderedDict[str, Any] = OrderedDict()

    def settle(self, item: Json) -> None:
        """Put the known value in the place of an equal one."""
        node: Any = item
        for parent in self._parents:
            node = node.get(parent)
            if not isinstance(node, dict):
                return
        value = node.get(self._last)
        if not value:
            return
        text = repr(value)
        node[self._last] = self._known.setdefault(text, value)
        self._known.move_to_end(text)
        if len(self._known) > SHARED_MOST:
            self._known.popitem(last=False)


def keep(*paths: str, shared: Iterable[str] = ()) -> Trim:
    """A trim that keeps the named fields (`status.podIP`, `metadata.labels`; lists are gone through) and the identity.

    Below a named field everything stays. Keys and short strings are shared between objects, and equal values of the
    paths in `shared` (keys only, no lists on the way): nobody may change what a cache holds.
    """
    tree: Json = json.loads(json.dumps(_IDENTITY))
    for path in paths:
        node = tree
        *parents, last = path.split(".")
        for parent in parents:
            below = node.setdefault(parent, {})
            if below is True:
                break
            node = below
        else:
            node[last] = True
    settled = [_Shared(path) for path in shared]

    def trim(item: Json) -> Json:
        kept: Json = _kept(without_bookkeeping(item), tree)
        for one in settled:
            one.settle(kept)
        return kept

    return trim


def _kept(value: Any, tree: Any) -> Any:
    if isinstance(value, list):
        return [_kept(item, tree) for item in value]
    if isinstance(value, dict):
        if tree is True:
            return {sys.intern(key): _kept(item, True) for key, item in value.items()}
        return {sys.intern(key): _kept(value[key], below) for key, below in tree.items() if key in value}
    if isinstance(value, str) and len(value) <= INTERN_UP_TO:
        return sys.intern(value)
    return value
