"""Which series of a Prometheus-compatible server belong to a model server, and how they are asked for.

Law: pure; what a metric means is the profile's of `modelservers`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from autoscaler.exposition import normal
from autoscaler.modelservers.profiles import PROFILES, Profile
from autoscaler.modelservers.reading import Named, NamedHistogram

STARTED = "process_start_time_seconds"
REPLICA_LABELS = ("pod", "instance")  # what tells replicas apart, the first that every series has
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*"')
# Names of a Deployment's pods end in two parts that its controllers make; of a StatefulSet's and a group's in a number.
POD_SUFFIX = "(-[a-z0-9]{5,10}-[a-z0-9]{5}|-[0-9]+)"


def known(names: Iterable[str]) -> list[Profile]:
    """Model servers of which some series is among the names."""
    plain = {normal(name) for name in names}
    return [one for one in PROFILES if any(normal(mark) in plain for mark in one.marks)]


def names_of(one: Profile, signals: Sequence[str] | None = None) -> list[str]:
    """Normalised names of the series that tell the signals (default: all of them), of the marks and of the start."""
    fields = [field.name for field in dataclasses.fields(one)] if signals is None else signals
    reads = [read for name in fields if isinstance(read := getattr(one, name), (Named, NamedHistogram))]
    names = {name for read in reads for name in read.names}
    return sorted(names | {normal(mark) for mark in one.marks} | {STARTED})


def target_labels(one: Profile, labels: str) -> str:
    """Of matchers those that series of the process have too: all but the one on the model's name."""
    if one.model_label is None:
        return labels
    kept = [found.group(0) for found in MATCHER.finditer(labels) if found.group(1) != one.model_label[1]]
    return ",".join(kept)


def selector(names: Iterable[str], labels: str) -> str:
    """Series of any of the names, however their colons and dots are spelt there."""
    pattern = "|".join(name.replace("_", "[:_.]") for name in names)
    return f'{{__name__=~"{pattern}"{f",{labels}" if labels else ""}}}'


def replica_label(labels: Sequence[dict[str, str]]) -> str:
    """The label that tells the replicas apart."""
    return next((name for name in REPLICA_LABELS if all(name in one for one in labels)), REPLICA_LABELS[-1])


def pods_of(namespace: str, workload: str) -> str:
    """Matchers for the pods that a workload had, whether they are still there or not."""
    name = re.escape(workload).replace("\\", "\\\\")
    return f'namespace="{namespace}",pod=~"{name}{POD_SUFFIX}"'
