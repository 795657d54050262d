"""Recorded objects, and small edits of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoscaler.doctor.files import documents
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.objects import Kind, ObjectSet, Reading

DATA = Path(__file__).parents[1] / "data" / "kubernetes"
NAMES = sorted(path.stem for path in DATA.glob("*.yaml"))


class Recording:
    """The objects of one file, to be edited and then read as a cluster."""

    def __init__(self, name: str) -> None:
        read_documents = list(documents((DATA / f"{name}.yaml").read_text()))
        # Anchors of YAML are shared objects: an edit of one would be one of all.
        self.raws: list[dict[str, Any]] = json.loads(json.dumps(read_documents))

    def one(self, kind: str, name: str | None = None) -> dict[str, Any]:
        """The object of a kind, and of a name where there are several."""
        return next(o for o in self.raws if o["kind"] == kind and name in (None, read.name(o)))

    def put(self, kind: str, name: str, path: str, value: Any) -> Recording:
        """Set the value at a dotted path (a / in a key is fine, a dot is written ..)."""
        at: Any = self.one(kind, name)
        *way, last = (key.replace("\0", ".") for key in path.replace("..", "\0").split("."))
        for key in way:
            at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
        if value is None:
            at.pop(last, None)
        elif isinstance(at, list):
            at[int(last)] = value
        else:
            at[last] = value
        return self

    def drop(self, kind: str, name: str | None = None) -> Recording:
        """Take objects away."""
        self.raws = [o for o in self.raws if not (o["kind"] == kind and name in (None, read.name(o)))]
        return self

    def add(self, text: str) -> Recording:
        """More objects, as YAML."""
        self.raws += [dict(one) for one in documents(text)]
        return self

    def cluster(self, readings: Mapping[Kind, Reading] | None = None) -> ObjectSet:
        """As a cluster in which everything was read, unless `readings` says otherwise."""
        return ObjectSet(self.raws, readings)
