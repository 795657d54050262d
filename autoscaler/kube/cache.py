"""Objects of one informer, as it last knew them: lookups by name and by index, and who is told of changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from autoscaler.kube.decoding import Json

_log = structlog.get_logger(__name__)

Key = tuple[str, str]  # namespace ("" for kinds without), name
Index = Callable[[Json], Iterable[str]]


def key_of(item: Json) -> Key:
    """Namespace and name of an object."""
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _nothing(*_: Json) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Handlers:
    """Told of changes, on the event loop, in order; must be quick. The objects are the cache's own: read only."""

    added: Callable[[Json], None] = _nothing
    changed: Callable[[Json, Json], None] = _nothing  # before, after
    deleted: Callable[[Json], None] = _nothing  # as it was last known


class ObjectCache:
    """Objects by namespace and name, and by what index functions say of them."""

    def __init__(self, indexes: Mapping[str, Index] | None = None) -> None:
        self._indexes = dict(indexes or {})
        self._objects: dict[Key, Json] = {}
        self._found: dict[str, dict[str, dict[Key, None]]] = {name: {} for name in self._indexes}
        self._handlers: list[Handlers] = []

    def __len__(self) -> int:
        return len(self._objects)

    def subscribe(self, handlers: Handlers) -> None:
        """Tell of every change from now on, and of what is here already as added."""
        self._handlers.append(handlers)
        for item in list(self._objects.values()):
            _tell(handlers.added, item)

    def get(self, namespace: str, name: str) -> Json | None:
        """One object, None if there is none."""
        return self._objects.get((namespace, name))

    def all(self) -> list[Json]:
        """Every object."""
        return list(self._objects.values())

    def by_index(self, index: str, value: str) -> list[Json]:
        """Objects of which the index function named this value; KeyError for an index that was not asked for."""
        return [self._objects[key] for key in self._found[index].get(value, ())]

    def keys(self) -> set[Key]:
        """Namespace and name of every object."""
        return set(self._objects)

    def put(self, item: Json) -> bool:
        """Take an object as it is now; false if it is in the version we have, which is no change."""
        key = key_of(item)
        before = self._objects.get(key)
        if before is not None:
            version = item["metadata"].get("resourceVersion")
            if version is not None and version == before["metadata"].get("resourceVersion"):
                return False
            self._unindex(key, before)
        self._objects[key] = item
        self._index(key, item)
        for handlers in self._handlers:
            if before is None:
                _tell(handlers.added, item)
            else:
                _tell(handlers.changed, before, item)
        return True

    def remove(self, key: Key) -> None:
        """Forget an object."""
        before = self._objects.pop(key, None)
        if before is None:
            return
        self._unindex(key, before)
        for handlers in self._handlers:
            _tell(handlers.deleted, before)

    def _index(self, key: Key, item: Json) -> None:
        for name, values in self._indexes.items():
            for value in values(item):
                self._found[name].setdefault(value, {})[key] = None

    def _unindex(self, key: Key, item: Json) -> None:
        for name, values in self._indexes.items():
            for value in values(item):
                keys = self._found[name].get(value, {})
                keys.pop(key, None)
                if not keys:
                    self._found[name].pop(value, None)


def _tell(handler: Callable[..., None], *items: Json) -> None:
    try:
        handler(*items)
    except Exception:  # noqa: BLE001 -- one reader's fault must not blind the others
        _log.warning("a handler failed on a change", key=key_of(items[-1]), exc_info=True)
