"""Our own page says what was decided, how old the data is, and how calls and scrapes went."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from autoscaler.core import Planner
from autoscaler.telemetry.metrics import Metrics
from tests.fakes.observations import Fleet, without_samples

T0 = 1_000_000.0


def values(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Samples of one name, by their label values."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        tuple(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"llm_autoscaler_{name}"
    }


def decided(metrics: Metrics, ticks: int, *, blind: bool = False) -> None:
    fleet, planner = Fleet(), Planner()
    for i in range(ticks):
        observation = fleet.observe(T0 + 5.0 * i, 4, 5.0)
        if blind and i == ticks - 1:
            observation = without_samples(observation)
        metrics.publish(observation, planner.observe(observation, T0 + 5.0 * i + 2.0), 0.0003)


def test_a_decision_is_on_the_page_with_its_reasons_and_the_age_of_its_data() -> None:
    metrics = Metrics()
    decided(metrics, 30)
    assert values(metrics, "listed_replicas") == {("default", "", "chat"): 4.0}
    assert next(iter(values(metrics, "asked_replicas").values())) >= 4.0
    assert list(values(metrics, "data_age_seconds").values()) == [2.0]
    assert values(metrics, "decisions_total") == {("normal", "default", "chat"): 30.0}
    assert values(metrics, "active") == {("default", "chat"): 1.0}
    assert any("floor" in labels for labels in values(metrics, "decision_reasons_total"))
    assert next(iter(values(metrics, "arrivals_rps").values())) > 4.0


def test_a_blind_service_shows_its_mode_and_only_one_mode_at_a_time() -> None:
    metrics = Metrics()
    decided(metrics, 10, blind=True)
    modes = values(metrics, "mode")
    assert sum(modes.values()) == 1.0
    assert next(labels for labels, value in modes.items() if value)[0] == "hold"


def test_calls_scrapes_and_streams_are_counted() -> None:
    metrics = Metrics()
    metrics.called("GetMetrics", "OK", 0.001)
    metrics.called("GetMetrics", "UNAVAILABLE", 0.001)
    metrics.scraped("ok", 0.01)
    metrics.streams(+1)
    metrics.streams(+1)
    metrics.streams(-1)
    assert len(values(metrics, "grpc_calls_total")) == 2
    assert sum(values(metrics, "scrapes_total").values()) == 1.0
    assert sum(values(metrics, "grpc_push_streams").values()) == 1.0
