"""Manifests from files, folders and standard input, as the objects that the checks look at."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from autoscaler.core.errors import ConfigError, Problem
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.kserve_made import files_set
from autoscaler.kube.meaning.objects import ObjectSet
from autoscaler.kube.meaning.raw import Raw

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
STDIN = Path("-")


def objects_of(paths: Iterable[Path]) -> ObjectSet:
    """Every object of the files, folders (with all below them) and `-`; what KServe will make of them is added.

    Raises ConfigError with every file that is missing or is no YAML, at once; documents that are no objects (Helm
    values, Kustomize patches) are passed by.
    """
    found: list[Raw] = []
    wrong: list[Problem] = []
    for path in paths:
        for file in _files(path):
            try:
                found += list(documents(_text(file)))
            except OSError as error:
                wrong.append(Problem(str(file), str(error.strerror), "a file or folder of manifests"))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                wrong.append(Problem(str(file), " ".join(str(error).split())[:200], "YAML; render a chart first"))
    if wrong:
        raise ConfigError("--files", tuple(wrong))
    if not found:
        names = ", ".join(map(str, paths))
        raise ConfigError("--files", (Problem(names, "no Kubernetes object", "manifests with apiVersion and kind"),))
    return files_set(found)


def _files(path: Path) -> list[Path]:
    if path != STDIN and path.is_dir():
        return sorted(one for one in path.rglob("*") if one.suffix in SUFFIXES and one.is_file())
    return [path]


def _text(file: Path) -> str:
    return sys.stdin.read() if file == STDIN else file.read_text()


def documents(text: str) -> Iterator[Raw]:
    """The objects of a stream of YAML documents; raises yaml.YAMLError."""
    for document in yaml.load_all(text, _Loader):
        yield from _unpacked(document)


def _unpacked(document: Any) -> Iterator[Raw]:
    """The object, or those of a List as `kubectl get -o yaml` writes it."""
    if not isinstance(document, dict) or not read.text(document, "kind") or not read.text(document, "apiVersion"):
        return
    if read.text(document, "kind").endswith("List") and isinstance(document.get("items"), list):
        for one in read.items(document, "items"):
            yield from _unpacked(one)
    else:
        yield document


# libyaml reads a dump of a cluster ten times faster; wheels of PyYAML bring it, some distributions do not.
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):  # type: ignore[misc]
    """Times stay text, as in JSON from the API server."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
