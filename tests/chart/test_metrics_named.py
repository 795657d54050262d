"""Alerts and dashboard name only metrics, labels and label values that exist."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

import grpc
import pytest
import yaml
from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from autoscaler.core.records import Mode
from autoscaler.telemetry.metrics import Metrics
from tests.chart.rendering import CHART, DEPLOY, ROOT

ALERTS = {one["alert"]: one for one in yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())}
BOARD = json.loads((DEPLOY / "grafana" / "llm-autoscaler.json").read_text())
TARGET_LABELS = {"pod"}  # what the scrape adds


def series() -> dict[str, set[str]]:
    """Every series of our page with its labels."""
    metrics = Metrics()
    found: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        name, labels = metric._name, set(metric._labelnames)
        if isinstance(metric, Counter):
            found[f"{name}_total"] = labels
        elif isinstance(metric, Histogram):
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for name, alert in ALERTS.items():
        yield name, alert["expr"]
    for panel in BOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in BOARD["templating"]["list"]:
        if "definition" in variable:
            yield variable["name"], variable["definition"]


EXPRESSIONS = list(expressions())


def matchers(text: str) -> Iterator[tuple[str, str, str]]:
    """Series, label and value of every label matcher."""
    for name, inside in re.findall(r"(llm_autoscaler_\w+)\{([^}]*)\}", text):
        for label, value in re.findall(r'(\w+)\s*=~?\s*"([^"]*)"', inside):
            yield name, label, value


@pytest.mark.parametrize(("where", "text"), EXPRESSIONS)
def test_an_expression_names_only_series_and_labels_that_our_page_has(where: str, text: str) -> None:
    known = series()
    named = re.findall(r"\bllm_autoscaler_\w+", text)
    assert named, f"{where} names no metric of ours"
    assert set(named) <= set(known), where
    of_them = set().union(*(known[name] for name in named)) | TARGET_LABELS
    for name, label, _ in matchers(text):
        assert label in known[name], where
    for inside in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", text):
        assert {label.strip() for label in inside.split(",") if label.strip()} <= of_them, where
    assert text.count("(") == text.count(")")


def reason_codes() -> set[str]:
    """Every word that a decision's rule may be called: the strings of the planner's source."""
    sources = (ROOT / "autoscaler" / "core").glob("*.py")
    nodes = (node for path in sources for node in ast.walk(ast.parse(path.read_text())))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def outcomes() -> set[str]:
    """What a scrape may end as: the strings of the calls that tell it."""
    calls = re.findall(r"\.scraped\((.*?), time", (ROOT / "autoscaler" / "collect" / "scrape.py").read_text())
    return set(re.findall(r'"(\w+)"', " ".join(calls)))


@pytest.mark.parametrize(("where", "text"), EXPRESSIONS)
def test_a_label_s_value_is_one_that_the_code_writes(where: str, text: str) -> None:
    codes = {code.name for code in grpc.StatusCode}
    for name, label, value in matchers(text):
        if value.startswith("$"):
            continue
        words = set(value.split("|"))
        if label == "mode":
            assert words <= {mode.value for mode in Mode}, where
        elif label == "outcome":
            assert words <= outcomes(), where
        elif label == "code" and "grpc" in name:
            assert words <= codes, where
        elif label == "code":
            assert words <= reason_codes(), where
        else:
            raise AssertionError(f"{where}: no list of values is known for {label}")


def test_every_alert_says_how_bad_what_and_what_to_do() -> None:
    assert len(ALERTS) == len(yaml.safe_load((CHART / "files" / "alerts.yaml").read_text()))
    for name, alert in ALERTS.items():
        assert name.startswith("LlmAutoscaler")
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert set(alert["annotations"]) == {"summary", "description"}
        for label in re.findall(r"\$labels\.(\w+)", json.dumps(alert)):
            assert label in alert["expr"], f"{name} tells a label that its expression drops"


def test_the_dashboard_shows_every_metric_of_ours() -> None:
    shown = " ".join(text for _, text in EXPRESSIONS)
    hidden = {name for name in Metrics().labels if not re.search(rf"\b{name}(_total|_bucket|\b)", shown)}
    # Decisions are counted by mode, and the panel of modes says as much.
    assert hidden == {"llm_autoscaler_decisions"}


def test_panels_of_the_dashboard_do_not_overlap_and_have_ids_of_their_own() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
