"""Gateways and routers that know of demand while nothing runs: their pages to a reading.

A missing series is unknown, never zero. What a gateway counts differs: some hold requests while there are no replicas
(a gauge), others refuse them but count them (a counter).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from autoscaler.core.errors import TargetError
from autoscaler.core.records import HeldReading
from autoscaler.exposition import Page, SeriesCache, normal, read_page


@dataclass(frozen=True, slots=True)
class Gateway:
    """Which series of a gateway's page speak of demand; of twins the first present is taken, never their sum."""

    kind: str
    held: tuple[str, ...] = ()  # gauges: requests waiting there
    arrivals: tuple[str, ...] = ()  # counters: requests that came in
    model_labels: tuple[str, ...] = ()  # any of these equal to the model picks the series
    service_labels: tuple[str, str] | None = None  # (namespace label, service label)


GATEWAYS = (
    Gateway(
        "llm-autoscaler",
        ("llm_autoscaler_held_requests",),
        ("llm_autoscaler_arrivals_total",),
        service_labels=("namespace", "service"),
    ),
    # The endpoint picker holds requests when its flowControl gate is on; the second name is the legacy twin.
    Gateway(
        "llm-d",
        ("llm_d_epp_flow_control_queue_size", "inference_extension_flow_control_queue_size"),
        ("llm_d_epp_flow_control_requests_total",),
        model_labels=("model_name", "target_model_name", "inference_pool"),
    ),
    Gateway(
        "http-add-on",
        ("interceptor_request_concurrency",),
        ("interceptor_request_count_total", "interceptor_request_count"),
        service_labels=("route_namespace", "route_name"),
    ),
    Gateway(
        "knative-activator",
        ("kn_revision_request_queued", "kn_revision_request_concurrency"),
        service_labels=("k8s_namespace_name", "kn_revision_name"),
    ),
    Gateway("kubeai", ("kubeai_inference_requests_active",), model_labels=("request_model",)),
    # These refuse requests at zero replicas but count them.
    Gateway("vllm-router", (), ("vllm:num_incoming_requests_total",), model_labels=("model",)),
    Gateway("aibrix", ("gateway_model_in_flight_requests",), ("gateway_request_total",), model_labels=("model",)),
    Gateway(
        "litellm", ("litellm_in_flight_requests",), ("litellm_proxy_total_requests_metric_total",), ("requested_model",)
    ),
    Gateway("sglang-router", ("smg_http_connections_active",), ("smg_router_requests_total",), model_labels=("model",)),
    Gateway("vllm-rust-router", (), ("vllm_router_requests_total",)),
    # Blind at zero: it deletes the model's series with the last worker. Useful above zero only.
    Gateway(
        "dynamo-frontend",
        ("dynamo_frontend_queued_requests",),
        ("dynamo_frontend_requests_started_total",),
        model_labels=("model",),
    ),
)
_BY_KIND = {gateway.kind: gateway for gateway in GATEWAYS}
WANTED_HELD = frozenset(normal(name) for gateway in GATEWAYS for name in (*gateway.held, *gateway.arrivals))


def gateway_kinds() -> tuple[str, ...]:
    """Every value `kind` may have."""
    return ("auto", *_BY_KIND)


def read_held(
    body: str,
    content_type: str,
    kind: str,
    *,
    namespace: str,
    service: str,
    model: str | None,
    source: str,
    at_s: float,
) -> HeldReading:
    """What a gateway's page says of one service; None where it has no series for it.

    Raises TargetError (not a page of that kind).
    """
    if "json" in content_type or body.lstrip().startswith("{"):
        return _queue_json(body, namespace, service, source, at_s)
    page = read_page(body, SeriesCache(WANTED_HELD))
    gateway = _BY_KIND[kind] if kind in _BY_KIND else _detect(page)
    if gateway is None:
        # A router that has served nothing yet prints none of its families: unknown, not an error.
        return HeldReading(source, at_s)
    held = _first(page, gateway, gateway.held, namespace, service, model)
    arrivals = _first(page, gateway, gateway.arrivals, namespace, service, model)
    return HeldReading(source, at_s, held, arrivals)


def _detect(page: Page) -> Gateway | None:
    return next((g for g in GATEWAYS if any(normal(name) in page for name in (*g.held, *g.arrivals))), None)


def _first(
    page: Page, gateway: Gateway, names: tuple[str, ...], namespace: str, service: str, model: str | None
) -> float | None:
    for name in names:
        rows = page.series(normal(name))
        if gateway.service_labels is not None:
            space, label = gateway.service_labels
            rows = [(ls, v) for ls, v in rows if ls.get(space) == namespace and ls.get(label) == service]
        elif model is not None and gateway.model_labels:
            rows = [(ls, v) for ls, v in rows if any(ls.get(label) == model for label in gateway.model_labels)]
        if rows:
            return sum(value for _, value in rows)
    return None


def _queue_json(body: str, namespace: str, service: str, source: str, at_s: float) -> HeldReading:
    """The KEDA HTTP add-on interceptor's `/queue`: {"ns/name": {"Concurrency": n, "RequestCount": m}}."""
    try:
        entry = json.loads(body).get(f"{namespace}/{service}")
        if entry is None:
            return HeldReading(source, at_s)
        return HeldReading(source, at_s, float(entry["Concurrency"]), float(entry["RequestCount"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TargetError(
            f"wake source {source}: found JSON that is not an interceptor's queue ({error}), expected "
            '{"namespace/name": {"Concurrency": n, "RequestCount": m}}'
        ) from None
