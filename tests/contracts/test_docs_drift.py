"""Generated pages say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings.md", "metrics.md"])
def test_a_generated_page_is_what_the_generator_writes(name: str) -> None:
    assert (DOCS / name).read_text() == generator().PAGES[name](), "run: python docs/generate.py"


def test_every_metric_names_its_labels_and_what_it_means() -> None:
    rows = [line.split(" | ") for line in (DOCS / "metrics.md").read_text().splitlines() if line.startswith("| `")]
    assert len(rows) > 15
    assert all(len(row) == 4 and row[3].strip("| ") for row in rows)
    asked = next(row for row in rows if "asked_replicas" in row[0])
    assert asked[2] == "`namespace`, `service`, `role`"
