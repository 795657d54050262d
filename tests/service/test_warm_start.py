"""The whole service: one found in a cluster without learned state takes up what Prometheus has of its pods."""

from __future__ import annotations

import math

from structlog.testing import capture_logs

from autoscaler.config.records import TargetsFile, WarmStartSettings
from tests.backtest.fake_prometheus import FakePrometheus, Stored
from tests.service.crew import FACTOR
from tests.service.world import CHAT, world

HOUR_S = 3600.0


def recorded(pods: int, until_s: float, namespace: str) -> list[Stored]:
    """An hour of a Deployment's pods, each 3 req/s of 2,000 prompt and 100 output tokens."""
    times = [until_s - HOUR_S + 15.0 * n for n in range(241)]

    def series(pod: str, name: str, per_s: float) -> Stored:
        labels = {"__name__": name, "pod": pod, "namespace": namespace}
        return Stored(labels, [(at_s, math.floor(per_s * (at_s - times[0])) if per_s else 8.0) for at_s in times])

    names = {
        "vllm:num_requests_running": 0.0,
        "vllm:time_to_first_token_seconds_count": 3.0,
        "vllm:prompt_tokens_total": 6000.0,
        "vllm:generation_tokens_total": 300.0,
    }
    return [series(f"chat-6d9f7c5b8-aaaa{n}", name, per_s) for n in range(pods) for name, per_s in names.items()]


async def test_a_service_found_without_learned_state_lives_through_its_past_and_decides_meanwhile() -> None:
    fake = FakePrometheus()
    async with fake.serving(), world() as one:
        one.fill(4)
        fake.series = recorded(4, one.clock.now(), "models") + recorded(4, one.clock.now(), "elsewhere")
        file = TargetsFile((), scrape_timeout_s=2.0 * FACTOR, warm_start=WarmStartSettings(fake.url, hours=1.0))
        with capture_logs() as logs:
            ours = await one.start(file=file)
            first = await one.number(ours)

            def mean() -> float:
                decision = ours.service.board.decision(CHAT)
                return (decision.estimates[0].prompt_tokens_mean or 0.0) if decision and decision.estimates else 0.0

            # Its pages tell of 1,200 tokens a prompt, the past of 2,000.
            await one.until(lambda: mean() > 1500.0, "it took up its past", within_s=400.0)
        assert first == 4.0
        assert await one.ask(ours) >= 4.0  # type: ignore[operator]
        (said,) = [entry for entry in logs if entry["event"] == "took up its past"]
        assert said["service"] == "models/chat"
        assert all('namespace="models"' in query for query in fake.asked)
        saved = await ours.service._wiring.store.load(CHAT)
        assert saved is not None


async def test_a_store_that_does_not_answer_costs_one_line_and_nothing_else() -> None:
    async with world() as one:
        one.fill(4)
        file = TargetsFile((), scrape_timeout_s=2.0 * FACTOR, warm_start=WarmStartSettings("http://127.0.0.1:9"))
        with capture_logs() as logs:
            ours = await one.start(file=file)
            assert await one.number(ours) == 4.0
            await one.until(lambda: [e for e in logs if e["event"] == "begins without a past"], "it is said", 100.0)
        (said,) = [entry for entry in logs if entry["event"] == "begins without a past"]
        assert "does not answer" in said["reason"]
