"""Wake sources: a missing series is unknown, never zero."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscaler.core.errors import TargetError
from autoscaler.core.records import HeldReading
from autoscaler.modelservers.gateways import read_held

DATA = Path(__file__).parent.parent / "data" / "metrics"


def held(body: str, kind: str = "auto", model: str | None = None, content_type: str = "text/plain") -> HeldReading:
    return read_held(body, content_type, kind, namespace="ns", service="chat", model=model, source="gw", at_s=5.0)


def test_the_new_name_of_the_endpoint_picker_is_not_added_to_its_legacy_twin() -> None:
    page = (
        'llm_d_epp_flow_control_queue_size{model_name="m",priority="0"} 3\n'
        'llm_d_epp_flow_control_queue_size{model_name="m",priority="1"} 2\n'
        'inference_extension_flow_control_queue_size{model_name="m"} 5\n'
    )
    assert held(page, model="m").held == 5.0
    assert held('inference_extension_flow_control_queue_size{model_name="m"} 4\n', model="m").held == 4.0


def test_a_gateway_without_a_series_for_the_service_says_nothing() -> None:
    reading = held('llm_d_epp_flow_control_queue_size{model_name="other"} 3\n', model="m")
    assert (reading.held, reading.arrivals) == (None, None)


def test_the_interceptors_queue_is_read_as_json() -> None:
    body = '{"ns/chat": {"Concurrency": 4, "RequestCount": 90}}'
    assert held(body, content_type="application/json") == HeldReading("gw", 5.0, 4.0, 90.0)
    assert held('{"ns/other": {}}', content_type="application/json").held is None
    with pytest.raises(TargetError, match="not an interceptor's queue"):
        held('{"ns/chat": 3}', content_type="application/json")


def test_our_own_front_queue_is_picked_by_namespace_and_service() -> None:
    page = "".join(
        f'llm_autoscaler_held_requests{{namespace="ns",service="{s}"}} {n}\n' for s, n in (("chat", 2), ("b", 9))
    )
    assert held(page).held == 2.0


def test_recorded_routers_give_arrivals() -> None:
    assert held((DATA / "vllm-router-0.1.17-busy.txt").read_text()).arrivals is not None
    assert held((DATA / "sglang-router-0.3.2-busy.txt").read_text()).arrivals is not None
