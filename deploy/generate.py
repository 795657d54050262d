"""Writes what the chart and Grafana take from the code: `python deploy/generate.py`; a test compares.

deploy/chart/values.schema.json, the values table in deploy/chart/README.md, deploy/grafana/llm-autoscaler.json and the
chart's copy of it (Helm reads no file outside a chart).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))

from grafana.dashboard import dashboard  # noqa: E402  -- scripts beside this one, no package
from values_schema import values_schema  # noqa: E402

VALUES = FOLDER / "chart" / "values.yaml"
README = FOLDER / "chart" / "README.md"
BEGIN, END = "<!-- values: written by deploy/generate.py -->\n", "<!-- end of values -->"
MARK = "# -- "


def rows() -> Iterator[tuple[str, str, str]]:
    """Path, default and meaning of every documented value; raises ValueError for one that no line documents."""
    lines = VALUES.read_text().splitlines()
    yield from _rows(yaml.compose(VALUES.read_text()), lines, "")


def _rows(node: yaml.Node | None, lines: list[str], at: str) -> Iterator[tuple[str, str, str]]:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{at}: no line above it begins with {MARK!r}")
    for key, value in node.value:
        path = f"{at}.{key.value}" if at else str(key.value)
        above = lines[key.start_mark.line - 1].strip()
        if above.startswith(MARK):
            yield path, _shown(value), above.removeprefix(MARK)
        else:
            yield from _rows(value, lines, path)


def _shown(node: yaml.Node) -> str:
    value: Any = yaml.SafeLoader("").construct_document(node)
    return f"`{json.dumps(value)}`" if len(json.dumps(value)) < 90 else "see values.yaml"


def values_table() -> str:
    """The table, as Markdown."""
    head = "| value | default | meaning |\n| --- | --- | --- |\n"
    escaped = ((path, default.replace("|", r"\|"), text.replace("|", r"\|")) for path, default, text in rows())
    return head + "".join(f"| `{path}` | {default} | {text} |\n" for path, default, text in escaped)


def readme() -> str:
    """The chart's README with the table as it should be."""
    before, rest = README.read_text().split(BEGIN)
    return f"{before}{BEGIN}{values_table()}{END}{rest.split(END)[1]}"


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"


def written() -> dict[Path, str]:
    """Every generated file with its text."""
    board = _json(dashboard())
    return {
        FOLDER / "chart" / "values.schema.json": _json(values_schema()),
        README: readme(),
        FOLDER / "grafana" / "llm-autoscaler.json": board,
        FOLDER / "chart" / "files" / "dashboard.json": board,
    }


def main() -> None:
    """Write them all."""
    for path, text in written().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
