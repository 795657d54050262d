"""A planner that lives through recorded counters stands where one stands that was there."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from autoscaler.core import Planner
from autoscaler.core.errors import ConfigError, TargetError
from autoscaler.core.records import (
    Decision,
    Mode,
    Observation,
    Replica,
    ReplicaPhase,
    RoleObservation,
    RoleSpec,
    Sample,
    ServiceId,
    ServiceSpec,
)
from autoscaler.exposition import Page, normal
from autoscaler.modelservers import read_sample
from autoscaler.warm.prometheus_api import Series
from autoscaler.warm.replay import interval_s, samples_of
from autoscaler.warm.series import pods_of
from autoscaler.warm.warming import WarmStart, Where
from tests.backtest.fake_prometheus import FakePrometheus, Stored

T0 = 1_700_000_000.0
CHAT = ServiceId("models", "chat")
SPEC = ServiceSpec(CHAT, (RoleSpec("", 0, 20, 4, "llama-3.1-70b/a100x4", 2048),), lead_time_prior_s=120.0)
POD = "chat-6d9f7c5b8-"
HOURS = 2.0
SPAN_S = HOURS * 3600.0


def wave(at_s: float) -> float:
    """Requests per second of the service: a swell of 40 minutes, with unrest within it."""
    return 6.0 + 3.0 * math.sin(at_s / 382.0) + 1.5 * math.sin(at_s / 17.0)


def step_s(rate_rps: float) -> float:
    """What a step takes at a rate, by Little's law: 20 ms, 0.3 ms a sequence, 0.1 ms a prompt token."""
    return 0.02 / (1.0 - 0.0003 * 180.0 * rate_rps - 0.0001 * 900.0 * rate_rps)


@dataclass(slots=True)
class Past:
    """`count` vLLM replicas that share a load, with their pages at any time and what a scraper kept."""

    count: int = 3
    every_s: float = 15.0
    rate_rps: Callable[[float], float] = wave
    reset_s: float | None = None  # the first replica's process began anew
    stored: list[Stored] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    spent_s: list[float] = field(default_factory=list)  # between tokens, summed
    at_s: float = 0.0

    def pages(self, at_s: float) -> dict[str, dict[str, list[tuple[dict[str, str], float]]]]:
        """Every replica's page."""
        self.done = self.done or [100.0 * (n + 1) for n in range(self.count)]
        rate_rps = self.rate_rps(at_s) / self.count
        if self.reset_s is not None and self.at_s < self.reset_s <= at_s:
            self.done[0] = self.spent_s[0] = 0.0
        token_s, came = step_s(rate_rps), rate_rps * (at_s - self.at_s)
        self.done = [one + came for one in self.done]
        self.spent_s = [one + came * 179.0 * token_s for one in self.spent_s or [0.0] * self.count]
        self.at_s = at_s
        running = round(rate_rps * 180.0 * token_s)
        return {
            f"{POD}{'abcdefgh'[n] * 5}": self._page(float(int(self.done[n])), running, self.spent_s[n])
            for n in range(self.count)
        }

    def _page(self, done: float, running: int, spent_s: float) -> dict[str, list[tuple[dict[str, str], float]]]:
        return {
            "vllm:num_requests_running": [({}, float(running))],
            "vllm:num_requests_waiting": [({}, 0.0)],
            "vllm:kv_cache_usage_perc": [({}, 0.01 * running)],
            "vllm:cache_config_info": [({"num_gpu_blocks": "29804", "block_size": "16"}, 1.0)],
            "vllm:time_to_first_token_seconds_count": [({}, done)],
            "vllm:prompt_tokens_total": [({}, 900.0 * done)],
            "vllm:generation_tokens_total": [({}, 180.0 * done)],
            "vllm:inter_token_latency_seconds_bucket": [({"le": "0.05"}, 179.0 * done), ({"le": "+Inf"}, 179.0 * done)],
            "vllm:inter_token_latency_seconds_sum": [({}, spent_s)],
        }

    def scraped(self) -> Iterator[float]:
        """Run it for the span, kept at every scrape; gives every second of it that a live scraper would look at."""
        rows: dict[tuple[str, ...], Stored] = {}
        at_s = 0.0
        while at_s <= SPAN_S:
            for pod, page in self.pages(at_s).items():
                for name, values in page.items() if at_s % self.every_s == 0.0 else ():
                    for labels, value in values:
                        key = (pod, name, labels.get("le", ""))
                        named = {"__name__": name, "pod": pod, "namespace": CHAT.namespace, **labels}
                        rows.setdefault(key, Stored(named, [])).samples.append((T0 + at_s, value))
            yield at_s
            at_s += 5.0
        self.stored = list(rows.values())

    def observed(self, at_s: float) -> Observation:
        """What a live look sees."""
        plain = {
            pod: Page({normal(name): values for name, values in page.items()}) for pod, page in self.pages(at_s).items()
        }
        replicas = tuple(
            Replica(f"uid-{pod}", ReplicaPhase.READY, sample=read_sample(page, "vllm", T0 + at_s))
            for pod, page in plain.items()
        )
        return Observation(SPEC, (RoleObservation("", replicas, len(replicas), len(replicas)),))


def ran(past: Past) -> Past:
    for _ in past.scraped():
        pass
    return past


def warm_start(
    fake: FakePrometheus, *, hours: float = HOURS, limit_s: float = 30.0, token: Path | None = None
) -> WarmStart:
    return WarmStart(Where(fake.url, token, hours), lambda: T0 + SPAN_S, limit_s)


async def learn(past: Past, listed: int = 3, **other: object) -> bytes:
    fake = FakePrometheus(past.stored)
    async with fake.serving():
        learned = await warm_start(fake, **other).learn(SPEC, {"": pods_of("models", "chat")}, {"": listed})  # type: ignore[arg-type]
    return learned.snapshot


async def test_warm_and_then_live_aims_as_one_that_lived_through_it() -> None:
    past, lived = Past(), Planner()
    for at_s in past.scraped():
        lived.observe(past.observed(at_s), T0 + at_s)
    warm, cold = Planner(), Planner()
    warm.restore(await learn(past))
    for step in range(1, 61):  # five minutes of which all see the same
        seen, now = past.observed(SPAN_S + 5.0 * step), T0 + SPAN_S + 5.0 * step
        told = {
            name: planner.observe(seen, now) for name, planner in (("lived", lived), ("warm", warm), ("cold", cold))
        }
    rates = {name: aim(decision) for name, decision in told.items()}
    assert rates["warm"] == pytest.approx(rates["lived"], rel=0.05)
    assert rates["cold"] != pytest.approx(rates["lived"], rel=0.05), "else this test would pass without a past"
    assert told["warm"].estimates[0].arrivals_rps == pytest.approx(told["lived"].estimates[0].arrivals_rps, rel=0.05)
    assert told["warm"].estimates[0].prompt_tokens_mean == pytest.approx(900.0, rel=0.02)


def aim(decision: Decision) -> float:
    found = decision.estimates[0].capacity_rps
    assert found is not None
    return found


async def test_a_fleet_met_with_a_past_is_held_at_first_sight_as_one_without() -> None:
    past = ran(Past(count=3, rate_rps=lambda _: 0.4))
    planner = Planner()
    planner.restore(await learn(past))
    for step in range(1, 38):  # 185 s of the 200 s for which nothing is taken away
        decision = planner.observe(past.observed(SPAN_S + 5.0 * step), T0 + SPAN_S + 5.0 * step)
        assert (decision.mode, decision.roles[0].replicas) == (Mode.NORMAL, 3)


async def test_blind_before_it_saw_anything_it_knows_nothing_though_it_has_a_past() -> None:
    planner = Planner()
    planner.restore(await learn(ran(Past())))
    unread = Observation(SPEC, (RoleObservation("", None, 3, 3),))
    assert planner.observe(unread, T0 + SPAN_S + 5.0).mode is Mode.UNKNOWN


async def test_a_reset_and_slow_scrapes_do_not_change_the_aim_much() -> None:
    aims = []
    for past in (ran(Past()), ran(Past(reset_s=3000.0)), ran(Past(every_s=30.0)), ran(Past(every_s=60.0))):
        planner = Planner()
        planner.restore(await learn(past))
        decisions = [planner.observe(past.observed(SPAN_S + 5.0 * n), T0 + SPAN_S + 5.0 * n) for n in range(1, 20)]
        aims.append(aim(decisions[-1]))
    assert aims[1:] == pytest.approx([aims[0]] * 3, rel=0.1)


async def test_what_is_of_no_use_is_told_in_one_line() -> None:
    past = ran(Past())
    with pytest.raises(TargetError, match="series of 3 replicas where 12 are listed: set warmStartLabels"):
        await learn(past, listed=12)
    with pytest.raises(TargetError, match="scraped every 120 s, expected every 60 s"):
        await learn(ran(Past(every_s=120.0)))
    with pytest.raises(TargetError, match=r"found 1\d requests in \d+ minutes, expected 100"):
        await learn(ran(Past(rate_rps=lambda _: 0.002)))
    with pytest.raises(TargetError, match="none of a known model server"):
        await learn(Past())


async def test_a_server_that_takes_too_long_or_wants_a_token_is_told(tmp_path: Path) -> None:
    past = ran(Past())
    fake = FakePrometheus(past.stored, token="secret", late_s=0.05)
    series = {"": pods_of("models", "chat")}
    (tmp_path / "token").write_text("secret\n")
    async with fake.serving():
        with pytest.raises(TargetError, match=r"answers 401.*--warm-start-token-file"):
            await warm_start(fake).learn(SPEC, series, {})
        with pytest.raises(ConfigError, match="readable file"):
            await warm_start(fake, token=tmp_path / "absent").learn(SPEC, series, {})
        with pytest.raises(TargetError, match="not read within 0 s"):
            await warm_start(fake, limit_s=0.2, token=tmp_path / "token").learn(SPEC, series, {})
    with pytest.raises(TargetError, match="does not answer"):
        await warm_start(fake, token=tmp_path / "token").learn(SPEC, series, {})


async def test_one_service_at_a_time() -> None:
    fake = FakePrometheus(ran(Past()).stored, late_s=0.02)
    async with fake.serving():
        store = warm_start(fake, hours=0.5)
        two = [{"": f'namespace="models",pod=~"chat-.*",job=~"{job}|"'} for job in ("one", "two")]
        await asyncio.gather(*(store.learn(SPEC, series, {}) for series in two))
    jobs = ["one" if '"one|"' in query else "two" for query in fake.asked]
    assert jobs == sorted(jobs)
    assert set(jobs) == {"one", "two"}


async def test_answers_stay_small_whatever_the_number_of_replicas() -> None:
    few, many = FakePrometheus(ran(Past(count=1)).stored), FakePrometheus(ran(Past(count=5)).stored)
    for fake in (few, many):
        for one in fake.series:  # as if each had a hundred buckets
            one.labels["note"] = "x" * 20_000
        async with fake.serving():
            await warm_start(fake).learn(replace(SPEC), {"": pods_of("models", "chat")}, {})
    assert len(many.asked) > 1.5 * len(few.asked)


def test_pods_of_a_workload_are_its_own_and_not_those_of_a_longer_name() -> None:
    pattern = pods_of("models", "chat").split('pod=~"')[1].rstrip('"').replace("\\\\", "\\")
    for pod in ("chat-6d9f7c5b8-x2x4z", "chat-0", "chat-12"):
        assert re.fullmatch(pattern, pod)
    for pod in ("chat", "chat-large-6d9f7c5b8-x2x4z", "chat-large-0", "my-chat-0"):
        assert not re.fullmatch(pattern, pod)
    assert pods_of("models", "a.b").endswith(r'pod=~"a\\.b(-[a-z0-9]{5,10}-[a-z0-9]{5}|-[0-9]+)"')


def test_samples_carry_the_time_of_their_scrape() -> None:
    rows = [
        Series({"__name__": "vllm:num_requests_running", "pod": pod}, [(T0 + 7.25 + 30 * n, 1.0 * n) for n in range(3)])
        for pod in ("a", "b")
    ]
    found = samples_of(rows, "vllm")
    assert [one.at_s for one in found["a"]] == [T0 + 7.25, T0 + 37.25, T0 + 67.25]
    assert [one.running for one in found["b"]] == [0.0, 1.0, 2.0]
    assert isinstance(found["a"][0], Sample)
    assert interval_s(found) == 30.0
