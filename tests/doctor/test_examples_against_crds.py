"""The examples and the recorded objects are ones that the real CRDs take, with no field that they would drop.

`KSERVE_CRDS` and `KEDA_CRDS` name folders of the CRDs' YAML; without them there is nothing to check against.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from autoscaler.doctor.files import documents
from autoscaler.kube.meaning import raw as read
from autoscaler.kube.meaning.objects import INFERENCE_SERVICE, LLM_CONFIG, LLM_INFERENCE_SERVICE, SCALED_OBJECT, kind_of
from tests.kube_meaning.recorded import DATA

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples" / "kserve"
KINDS = {SCALED_OBJECT, INFERENCE_SERVICE, LLM_INFERENCE_SERVICE, LLM_CONFIG}
FOLDERS = [Path(folder) for name in ("KSERVE_CRDS", "KEDA_CRDS") if (folder := os.environ.get(name))]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(len(FOLDERS) < 2, reason="KSERVE_CRDS and KEDA_CRDS name no folders of CRDs"),
]


def strict(schema: Any) -> Any:
    """The schema without leave for unknown fields: the API server would drop them silently."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items() if key not in ("format", "description", "default")}
    if isinstance(made.get("properties"), dict):
        made["properties"] = {key: strict(value) for key, value in schema["properties"].items()}
        if not made.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    if made.pop("x-kubernetes-int-or-string", False):
        made.pop("type", None)
    return made


@cache
def schema(api_version: str, kind: str) -> Any:
    for folder in FOLDERS:
        for file in sorted(folder.glob("*.yaml")):
            for crd in documents(file.read_text()):
                if read.text(crd, "spec", "names", "kind") != kind:
                    continue
                versions = read.items(crd, "spec", "versions")
                found = next((one for one in versions if api_version.endswith("/" + read.text(one, "name"))), None)
                if found is not None:
                    made = strict(read.at(found, "schema", "openAPIV3Schema"))
                    made["properties"]["metadata"] = {"type": "object"}
                    return made
    raise LookupError(f"no CRD of {kind} {api_version}")


def objects() -> Iterator[Any]:
    for file in sorted([*EXAMPLES.glob("*.yaml"), *DATA.glob("*.yaml")]):
        for raw in documents(file.read_text()):
            if kind_of(raw) in KINDS:
                yield pytest.param(raw, id=f"{file.stem}-{raw['kind']}-{read.name(raw)}")


@pytest.mark.parametrize("raw", list(objects()))
def test_an_object_is_taken_whole_by_its_crd(raw: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema(raw["apiVersion"], raw["kind"]))
    problems = [f"{'.'.join(map(str, one.path))}: {one.message[:200]}" for one in validator.iter_errors(raw)]
    assert problems == []
