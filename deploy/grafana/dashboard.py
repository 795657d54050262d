"""The Grafana dashboard as data; deploy/generate.py writes llm-autoscaler.json and the chart's copy from it."""

from __future__ import annotations

from typing import Any

Panel = dict[str, Any]
WIDTH, HEIGHT = 8, 8  # of a panel, on Grafana's grid of 24 columns
ONE = 'namespace=~"$namespace", service=~"$service"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def by_role(name: str, how: str = "max") -> str:
    """A gauge of the services picked, over all replicas of ours."""
    return f"{how} by (namespace, service, role) (llm_autoscaler_{name}{{{ONE}}})"


def p99(name: str, by: str = "le") -> str:
    """99th percentile of a histogram over five minutes."""
    return f"histogram_quantile(0.99, sum by ({by}) (rate(llm_autoscaler_{name}_bucket[$__rate_interval])))"


def per_second(name: str, by: str, labels: str = "") -> str:
    """Rate of a counter."""
    return f"sum by ({by}) (rate(llm_autoscaler_{name}_total{labels}[$__rate_interval]))"


ROLE = "{{service}} {{role}}"
# Title, unit, (expression, legend)...
SERVICE_PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Replicas",
        "short",
        (
            (by_role("asked_replicas"), f"asked {ROLE}"),
            (by_role("listed_replicas"), f"listed {ROLE}"),
            (by_role("demand_replicas"), f"demand {ROLE}"),
        ),
    ),
    ("Requests inside the objective", "percentunit", ((by_role("attainment_ratio", "min"), ROLE),)),
    (
        "Requests",
        "reqps",
        (
            (by_role("arrivals_rps"), f"arriving {ROLE}"),
            (f"{by_role('capacity_rps', 'min')} * {by_role('listed_replicas')}", f"capacity {ROLE}"),
        ),
    ),
    ("Requests waiting and held", "short", ((by_role("backlog_requests"), ROLE),)),
    ("Lead time, 90th percentile", "s", ((by_role("lead_time_seconds"), ROLE),)),
    ("Age of data", "s", ((by_role("data_age_seconds"), ROLE),)),
    (
        "Mode",
        "short",
        ((f"max by (namespace, service, mode) (llm_autoscaler_mode{{{ONE}}})", "{{service}} {{mode}}"),),
    ),
    ("Active", "short", ((f"max by (namespace, service) (llm_autoscaler_active{{{ONE}}})", "{{service}}"),)),
    (
        "Rules that shaped decisions",
        "short",
        ((per_second("decision_reasons", "service, code", f"{{{ONE}}}"), "{{service}} {{code}}"),),
    ),
)
OWN_PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("Calls of KEDA", "reqps", ((per_second("grpc_calls", "method, code"), "{{method}} {{code}}"),)),
    ("Calls of KEDA, 99th percentile", "s", ((p99("grpc_call_duration_seconds", "le, method"), "{{method}}"),)),
    ("Push streams", "short", (("sum(llm_autoscaler_grpc_push_streams)", "open"),)),
    ("Scrapes", "reqps", ((per_second("scrapes", "outcome"), "{{outcome}}"),)),
    ("Scrapes, 99th percentile", "s", ((p99("scrape_duration_seconds", "le, outcome"), "{{outcome}}"),)),
    (
        "Who plans",
        "short",
        (
            ("sum(llm_autoscaler_owner)", "planning: more or less than 1 is wrong"),
            ("sum(llm_autoscaler_followers)", "following"),
            ("sum(llm_autoscaler_lease_problem)", "cannot use the Lease"),
            ("sum(llm_autoscaler_plans_without_lease)", "planning without it"),
        ),
    ),
    (
        "Changes of who plans",
        "short",
        (("sum(increase(llm_autoscaler_terms_total[$__rate_interval]))", "terms begun"),),
    ),
    (
        "Kinds of Kubernetes objects turned off",
        "short",
        (("min by (resource) (llm_autoscaler_kube_watched) == 0", "{{resource}}"),),
    ),
    (
        "Kubernetes lists and failures",
        "cps",
        (
            (per_second("kube_lists", "reason"), "lists: {{reason}}"),
            (per_second("kube_failures", "resource, reason"), "{{resource}}: {{reason}}"),
        ),
    ),
    (
        "Decisions and timers, 99th percentile",
        "s",
        ((p99("decision_duration_seconds"), "one decision"), (p99("loop_lag_seconds"), "timer lag")),
    ),
    (
        "Writes into the cluster",
        "cps",
        ((per_second("kube_writes", "writer, outcome"), "{{writer}}: {{outcome}}"),),
    ),
)


def _panel(number: int, top: int, index: int, row: tuple[str, str, tuple[tuple[str, str], ...]]) -> Panel:
    title, unit, queries = row
    targets = [
        {"datasource": SOURCE, "expr": text, "legendFormat": legend, "refId": chr(ord("A") + i)}
        for i, (text, legend) in enumerate(queries)
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": index % 3 * WIDTH, "y": top + index // 3 * HEIGHT},
        "fieldConfig": {
            "defaults": {"unit": unit, "min": 0, "custom": {"lineWidth": 1, "fillOpacity": 5, "showPoints": "never"}},
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def _variable(name: str, query: str) -> Panel:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "includeAll": True,
        "multi": True,
        "refresh": 2,
        "sort": 1,
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard() -> Panel:
    """The whole dashboard, in Grafana's JSON model."""
    panels: list[Panel] = []
    top = 0
    for title, rows in (("Services", SERVICE_PANELS), ("llm-autoscaler itself", OWN_PANELS)):
        place = {"h": 1, "w": 24, "x": 0, "y": top}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": place})
        top += 1
        panels += [_panel(len(panels) + 1 + i, top, i, row) for i, row in enumerate(rows)]
        top += -(-len(rows) // 3) * HEIGHT
    return {
        "uid": "llm-autoscaler",
        "title": "llm-autoscaler",
        "tags": ["llm", "keda", "autoscaling"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "current": {}},
                _variable("namespace", "label_values(llm_autoscaler_active, namespace)"),
                _variable("service", 'label_values(llm_autoscaler_active{namespace=~"$namespace"}, service)'),
            ]
        },
        "annotations": {"list": []},
        "panels": panels,
    }
