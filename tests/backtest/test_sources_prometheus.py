"""A Prometheus-compatible server as a history: the real API over HTTP, with resets, gaps and unknown servers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoscaler.backtest.sources_prometheus import Asked, read_prometheus
from autoscaler.core.errors import ConfigError, TargetError
from tests.backtest.fake_prometheus import FakePrometheus, Stored

START = 1_700_000_000.0
SCRAPE_S = 15.0


def replica(
    name: str,
    *,
    rate_rps: float = 2.0,
    from_s: float = 0.0,
    until_s: float = 3600.0,
    reset_s: float | None = None,
    hole: tuple[float, float] | None = None,
    prefix: str = "vllm:",
    labels: dict[str, str] | None = None,
) -> list[Stored]:
    """What a scraped vLLM replica leaves behind: 1,000 prompt and 150 output tokens a request."""
    series = {
        "num_requests_running": lambda _: 4.0,
        "num_requests_waiting": lambda _: 0.0,
        "time_to_first_token_seconds_count": lambda n: n,
        "prompt_tokens_total": lambda n: 1000.0 * n,
        "generation_tokens_total": lambda n: 150.0 * n,
    }
    times = [
        t for t in np.arange(from_s, until_s + 1e-9, SCRAPE_S).tolist() if hole is None or not hole[0] < t < hole[1]
    ]
    base = {"pod": name, "namespace": "demo", "model_name": "llama", **(labels or {})}

    def done(t: float) -> float:
        begun = reset_s if reset_s is not None and t >= reset_s else from_s
        return float(round(rate_rps * (t - begun)) + (500 if begun == from_s else 0))

    return [
        Stored({"__name__": prefix + metric, **base}, [(START + t, value(done(t))) for t in times])
        for metric, value in series.items()
    ]


def buckets(name: str, rate_rps: float, until_s: float) -> list[Stored]:
    """Histograms of sizes: 80 % prompts of up to 1,000 tokens, outputs likewise up to 100."""
    found = []
    for metric, cut, mean in (
        ("request_prompt_tokens", "1000.0", 1000.0),
        ("request_generation_tokens", "100.0", 150.0),
    ):
        for bound, share in ((cut, 0.8), ("10000.0", 1.0), ("+Inf", 1.0)):
            points = [(START + t, share * rate_rps * t) for t in np.arange(0, until_s + 1, SCRAPE_S).tolist()]
            labels = {"__name__": f"vllm:{metric}_bucket", "pod": name, "namespace": "demo", "le": bound}
            found.append(Stored(labels, points))
        points = [(START + t, mean * rate_rps * t) for t in np.arange(0, until_s + 1, SCRAPE_S).tolist()]
        found.append(Stored({"__name__": f"vllm:{metric}_sum", "pod": name, "namespace": "demo"}, points))
    return found


def asked(fake: FakePrometheus, **other: object) -> Asked:
    return Asked(**{"url": fake.url, "from_s": START, "until_s": START + 3600.0, "step_s": 60.0, **other})  # type: ignore[arg-type]


async def test_requests_are_as_many_as_the_counters_rose_by_and_as_large() -> None:
    fake = FakePrometheus(replica("a") + replica("b", rate_rps=3.0))
    async with fake.serving():
        told = await read_prometheus(asked(fake), seed=1)
    assert len(told.arrival_s) == pytest.approx(5.0 * 3600.0, abs=2)
    assert told.prompt_tokens.mean() == pytest.approx(1000.0, rel=0.03)
    assert told.output_tokens.mean() == pytest.approx(150.0, rel=0.03)
    assert "lognormal" in (told.reconstructed or "")
    assert told.ran == ((START, 2),)
    assert told.ran_are_ready, "replicas that are scraped serve already"


async def test_names_with_underscores_and_other_labels_are_found_too() -> None:
    fake = FakePrometheus(replica("a", prefix="vllm_") + replica("x", labels={"namespace": "other"}))
    async with fake.serving():
        told = await read_prometheus(asked(fake, labels='namespace="demo"'), seed=1)
    assert len(told.arrival_s) == pytest.approx(7200, abs=2)
    assert all('namespace="demo"' in query for query in fake.asked)


async def test_a_reset_is_counted_and_loses_at_most_its_step() -> None:
    fake = FakePrometheus(replica("a", reset_s=1800.0) + replica("b"))
    async with fake.serving():
        told = await read_prometheus(asked(fake), seed=1)
    assert told.resets == 1
    assert len(told.arrival_s) == pytest.approx(4.0 * 3600.0, abs=130)


async def test_a_hole_in_the_scrapes_is_a_gap_even_within_the_lookback() -> None:
    fake = FakePrometheus(replica("a", hole=(1200.0, 1800.0)))
    async with fake.serving():
        told = await read_prometheus(asked(fake), seed=1)
    (gap,) = told.gaps
    assert gap.from_s - START == 1200.0  # not two minutes later, when a sample of 1200 is plainly old
    assert gap.until_s - START == 1800.0
    assert len(told.arrival_s) < 7200 - 2 * 450


async def test_a_new_replica_counts_from_its_start_though_its_process_knows_no_model() -> None:
    # vLLM's series name the model, process_start_time_seconds does not: --query-labels left it out, and what a new
    # replica had counted by its first scrape was taken for its past.
    new = replica("b", from_s=1800.0, rate_rps=4.0)
    for one in new:
        one.samples = one.samples[4:]  # first scraped after a minute: 240 requests and 500 of before
    began = Stored({"__name__": "process_start_time_seconds", "pod": "b", "namespace": "demo"},
                   [(at_s, START + 1790.0) for at_s, _ in new[0].samples])  # fmt: skip
    other = Stored({"__name__": "process_start_time_seconds", "pod": "router", "namespace": "demo"},
                   [(START + t, START) for t in range(0, 3601, 15)])  # fmt: skip
    counts = []
    for series in ([*replica("a"), *new, began, other], [*replica("a"), *new, other]):
        async with (fake := FakePrometheus(series)).serving():
            told = await read_prometheus(asked(fake, labels='namespace="demo",model_name="llama"'), seed=1)
        counts.append(len(told.arrival_s))
        assert told.ran is not None
        assert max(count for _, count in told.ran) == 2  # the router is no replica
    assert counts[0] - counts[1] == pytest.approx(740, abs=2)


async def test_a_scale_up_and_its_end_are_what_ran() -> None:
    fake = FakePrometheus(replica("a") + replica("b", from_s=1200.0, until_s=2400.0))
    async with fake.serving():
        told = await read_prometheus(asked(fake), seed=1)
    assert told.ran is not None
    assert [(round(at_s - START), count) for at_s, count in told.ran] == [(0, 1), (1200, 2), (2760, 1)]


async def test_a_replicas_query_tells_zero_from_no_data() -> None:
    spec = Stored({"__name__": "kube_deployment_spec_replicas", "deployment": "chat"},
                  [(START + t, 0.0 if 1200 <= t < 2400 else 1.0) for t in range(0, 3601, 15)])  # fmt: skip
    fake = FakePrometheus([*replica("a", hole=(1200.0, 2400.0)), spec])
    async with fake.serving():
        told = await read_prometheus(
            asked(fake, replicas_query='kube_deployment_spec_replicas{deployment="chat"}'), seed=1
        )
    assert told.gaps == ()
    assert told.ran is not None
    assert [(round(at_s - START), count) for at_s, count in told.ran] == [(0, 1), (1200, 0), (2400, 1)]
    assert not told.ran_are_ready


async def test_sizes_come_from_histograms_where_there_are_any() -> None:
    fake = FakePrometheus(replica("a") + buckets("a", 2.0, 3600.0))
    async with fake.serving():
        told = await read_prometheus(asked(fake), seed=1)
    assert "size histograms" in (told.reconstructed or "")
    assert told.prompt_tokens.mean() == pytest.approx(1000.0, rel=0.05)


async def test_an_unknown_server_is_told_with_the_names_found_and_the_servers_known() -> None:
    fake = FakePrometheus([Stored({"__name__": "my_llm_requests_total", "pod": "a"}, [(START, 1.0)])])
    async with fake.serving():
        with pytest.raises(ConfigError, match=r"my_llm_requests_total.*vllm, sglang"):
            await read_prometheus(asked(fake), seed=1)
        with pytest.raises(ConfigError, match="no metric at all"):
            await read_prometheus(asked(fake, labels='namespace="nowhere"'), seed=1)


async def test_two_kinds_of_server_are_not_mixed() -> None:
    sglang = [Stored({"__name__": "sglang:num_running_reqs", "pod": "s"}, [(START, 1.0)])]
    fake = FakePrometheus(replica("a") + sglang)
    async with fake.serving():
        with pytest.raises(ConfigError, match="found vllm and sglang, expected one"):
            await read_prometheus(asked(fake), seed=1)
        assert len((await read_prometheus(asked(fake, server="vllm"), seed=1)).arrival_s) > 7000


async def test_a_server_that_counts_no_requests_is_refused() -> None:
    fake = FakePrometheus([Stored({"__name__": "llamacpp:requests_processing", "pod": "s"}, [(START, 1.0)])])
    async with fake.serving():
        with pytest.raises(ConfigError, match="llamacpp, which counts no requests"):
            await read_prometheus(asked(fake), seed=1)


async def test_a_token_is_sent_and_its_absence_is_told(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret\n")
    fake = FakePrometheus(replica("a"), token="secret")
    async with fake.serving():
        told = await read_prometheus(asked(fake, token_file=file), seed=1)
        assert len(told.arrival_s) > 7000
        with pytest.raises(TargetError, match=r"answers 401.*--token-file"):
            await read_prometheus(asked(fake), seed=1)
        with pytest.raises(ConfigError, match="readable file"):
            await read_prometheus(asked(fake, token_file=tmp_path / "absent"), seed=1)
    with pytest.raises(TargetError, match="does not answer"):
        await read_prometheus(asked(fake), seed=1)


async def test_a_long_span_is_asked_for_in_parts() -> None:
    fake = FakePrometheus(replica("a", until_s=600.0))
    async with fake.serving():
        told = await read_prometheus(asked(fake, until_s=START + 3000.0, step_s=1.0), seed=1, idle_gaps=True)
    ranges = [query for query in fake.asked if not query.endswith("s]")]
    assert len(ranges) == 4, "3,001 points twice, 2,000 at a time"
    assert len(told.arrival_s) == pytest.approx(1200, abs=2)
