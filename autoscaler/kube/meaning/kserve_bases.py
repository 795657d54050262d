"""LLMInferenceServices with the shared configurations that they name in `baseRefs` laid under their spec."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.objects import LLM_CONFIG, Objects
from autoscaler.kube.meaning.raw import Raw

_TEMPLATED = re.compile(r"\{\{-?\s*\.ObjectMeta\.(Name|Namespace)\s*-?\}\}")


def whole_spec(objects: Objects, raw: Raw) -> Raw:
    """An LLMInferenceService as its controller sees it; configurations of its own namespace win over others."""
    if not read.items(raw, "spec", "baseRefs"):
        return raw
    own = read.namespace(raw)
    configs = sorted(objects.find(LLM_CONFIG), key=lambda one: read.namespace(one) == own)
    return with_bases(raw, {read.name(one): one for one in configs})


def with_bases(raw: Raw, configs: Mapping[str, Raw]) -> Raw:
    """An LLMInferenceService with the configurations of `baseRefs` laid under its spec, in order."""
    spec: Raw = {}
    for ref in read.items(raw, "spec", "baseRefs"):
        base = read.mapping(configs.get(read.text(ref, "name")), "spec")
        spec = _merged(spec, _filled(base, raw))
    return {**raw, "spec": _merged(spec, read.mapping(raw, "spec"))}


def _merged(low: Raw, high: Raw) -> Raw:
    both = {**low, **high}
    for key in low.keys() & high.keys():
        if isinstance(low[key], Mapping) and isinstance(high[key], Mapping):
            both[key] = _merged(low[key], high[key])
    return both


def _filled(part: Any, raw: Raw) -> Any:
    """Configurations are templates of the service's own name and namespace."""
    if isinstance(part, str):
        words = {"Name": read.name(raw), "Namespace": read.namespace(raw) or "default"}
        return _TEMPLATED.sub(lambda found: words[found[1]], part)
    if isinstance(part, Mapping):
        return {key: _filled(value, raw) for key, value in part.items()}
    return [_filled(value, raw) for value in part] if isinstance(part, list) else part
