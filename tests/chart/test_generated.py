"""What deploy/generate.py writes is what is there, and values, schema and table name the same keys."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, DEPLOY, ROOT

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deploy_generate", DEPLOY / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


WRITTEN = generator().written()


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_a_generated_file_is_what_the_generator_writes(path: Path) -> None:
    assert path.read_text() == WRITTEN[path], "run: python deploy/generate.py"


def strict(schema: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the schema that lists its keys, with its path."""
    if isinstance(schema, dict) and "properties" in schema:
        yield at, schema
        for name, one in schema["properties"].items():
            yield from strict(one, f"{at}.{name}".strip("."))


def test_every_object_with_keys_refuses_others() -> None:
    found = dict(strict(SCHEMA)) | dict(SCHEMA["definitions"])
    assert len(found) > 30
    # Globals belong to the parent chart.
    loose = {at for at, one in found.items() if one.get("additionalProperties") is not False}
    assert loose == {"global", "global.image"}


def test_values_and_schema_have_the_same_keys() -> None:
    for at, schema in strict(SCHEMA):
        value = VALUES
        for key in filter(None, at.split(".")):
            value = value[key]
        if at == "targets.defaults":
            continue
        assert set(value) == set(schema["properties"]), at or "the top level"


def test_the_table_has_every_value_once() -> None:
    readme = (CHART / "README.md").read_text()
    inside = readme.split("<!-- values:")[1].split("<!-- end of values -->")[0]
    table = [line.split("`")[1] for line in inside.splitlines() if line.startswith("| `")]
    assert len(table) == len(set(table))
    assert {row.split(".")[0] for row in table} == set(VALUES)
    assert len(table) > 80


def test_chart_and_package_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    package = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{chart["appVersion"]}"' in package
    assert chart["version"] == chart["appVersion"]
