"""Scrapes, lists and wake sources against a real server on loopback."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from autoscaler.clock import LoopClock
from autoscaler.collect.fetching import BODY_LIMIT_BYTES, Fetcher, Refused
from autoscaler.collect.lists import ReplicaListing, read_list
from autoscaler.collect.scrape import BACKOFF_CAP_S, Scraper, next_delay, phase
from autoscaler.config.records import Access, ListKind, ReplicaList, TargetSettings
from autoscaler.core.errors import TargetError
from autoscaler.ports import Endpoint
from autoscaler.telemetry.metrics import Metrics
from tests.fakes.model_server import ScriptedServer, text, vllm_page

STATIC = TargetSettings("", ReplicaList(ListKind.STATIC))


async def fails(page: web.Response, access: Access | None = None) -> str:
    async with ScriptedServer(lambda: page) as server, Fetcher([access] if access else []) as fetcher:
        with pytest.raises(TargetError) as caught:
            await fetcher.get(server.url, access.name if access else "", 5.0)
    return str(caught.value)


async def test_a_401_is_the_operators_setting_and_not_an_empty_load() -> None:
    assert "operator's setting" in await fails(web.Response(status=401))


async def test_a_redirect_is_not_followed_and_named() -> None:
    assert "http://evil/" in await fails(web.Response(status=307, headers={"Location": "http://evil/"}))


async def test_a_page_beyond_the_limit_is_not_read() -> None:
    assert "larger than 8 MiB" in await fails(web.Response(body=b"x" * (BODY_LIMIT_BYTES + 1)))


async def test_a_503_is_a_server_that_loads() -> None:
    async with ScriptedServer(lambda: web.Response(status=503)) as server, Fetcher() as fetcher:
        with pytest.raises(Refused):
            await fetcher.get(server.url, "", 5.0)


async def test_nothing_listening_is_a_server_that_loads() -> None:
    async with ScriptedServer(lambda: web.Response()) as server:
        pass
    async with Fetcher() as fetcher:
        with pytest.raises(Refused):
            await fetcher.get(server.url, "", 5.0)


async def test_a_token_file_that_cannot_be_read_names_itself() -> None:
    assert "tokenFile" in await fails(web.Response(), Access("a", token_file="/nowhere/token"))


async def test_a_scrape_becomes_a_sample_and_a_failure_keeps_the_last_one() -> None:
    pages = [text(vllm_page(running=3)), web.Response(status=500)]
    async with ScriptedServer(lambda: pages[0]) as server, Fetcher() as fetcher:
        scraper = Scraper(fetcher, LoopClock(20.0), Metrics(), random.Random(1))
        scraper.watch("a", [Endpoint("r", server.url)])
        async with asyncio.timeout(10):
            while scraper.state("r").sample is None:
                await asyncio.sleep(0.01)
            pages[:] = [pages[1]]
            while scraper.state("r").failure is None:
                await asyncio.sleep(0.01)
        state = scraper.state("r")
        assert state.sample is not None
        assert state.sample.running == 3.0
        assert "answers 500" in str(state.failure)
        scraper.watch("a", [])
        assert scraper.state("r").sample is None
        await scraper.close()


async def test_what_is_not_watched_any_more_is_not_asked_again_and_what_is_goes_on() -> None:
    def page() -> web.Response:
        return text(vllm_page(running=3))

    async with ScriptedServer(page) as goes, ScriptedServer(page) as stays, Fetcher() as fetcher:
        scraper = Scraper(fetcher, LoopClock(), Metrics(), random.Random(1), interval_s=0.05)
        scraper.watch("a", [Endpoint("goes", goes.url), Endpoint("stays", stays.url)])
        async with asyncio.timeout(10):
            while scraper.state("goes").sample is None or scraper.state("stays").sample is None:
                await asyncio.sleep(0.01)
        scraper.watch("a", [Endpoint("stays", stays.url)])
        await asyncio.sleep(0.05)  # what was on its way has come
        hits, first = goes.hits, scraper.state("stays").attempts
        async with asyncio.timeout(10):
            while scraper.state("stays").attempts < first + 3:
                await asyncio.sleep(0.01)
        assert (goes.hits, scraper.state("goes").attempts) == (hits, 0)
        await scraper.close()
        hits = stays.hits
        await asyncio.sleep(0.2)
        assert stays.hits == hits


async def test_a_scrape_that_is_under_way_when_its_endpoint_goes_is_ended_and_leaves_nothing() -> None:
    asked, answers = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        asked.set()
        await answers.wait()
        return text(vllm_page(running=3))

    application = web.Application()
    application.router.add_get("/metrics", answer)
    async with TestServer(application) as server, Fetcher() as fetcher:
        scraper = Scraper(fetcher, LoopClock(), Metrics(), random.Random(1), interval_s=0.05, timeout_s=5.0)
        scraper.watch("a", [Endpoint("goes", str(server.make_url("/metrics")))])
        await asyncio.wait_for(asked.wait(), 10)
        scraper.watch("a", [])
        asked.clear()
        answers.set()
        await asyncio.sleep(0.2)
        assert scraper.state("goes").attempts == 0
        assert not asked.is_set()
        await scraper.close()


async def test_a_json_page_says_that_text_was_expected() -> None:
    async with ScriptedServer(lambda: text("[]", "application/json")) as server, Fetcher() as fetcher:
        scraper = Scraper(fetcher, LoopClock(20.0), Metrics(), random.Random(1))
        scraper.watch("a", [Endpoint("r", server.url)])
        async with asyncio.timeout(10):
            while scraper.state("r").failure is None:
                await asyncio.sleep(0.01)
        assert "expected a Prometheus text page" in str(scraper.state("r").failure)
        await scraper.close()


def test_two_hundred_replicas_are_spread_over_the_interval() -> None:
    tenths = [0] * 10
    for i in range(200):
        tenths[int(phase(f"10.0.0.{i}:8000") * 10)] += 1
    assert min(tenths) >= 8
    assert max(tenths) <= 36


@pytest.mark.parametrize("rnd", [0.0, 0.5, 1.0])
def test_backoff_grows_and_stays_within_its_cap(rnd: float) -> None:
    delays = [next_delay(n, 1.0, rnd) for n in range(40)]
    assert delays == sorted(delays)
    assert all(1.0 <= delay <= BACKOFF_CAP_S for delay in delays)


@pytest.mark.parametrize(("again_in_s", "open_after"), [(0.0, 1), (1.0, 1), (15.0, 0)])
async def test_a_connection_stays_open_only_for_a_get_that_may_use_it(again_in_s: float, open_after: int) -> None:
    """At 15 s an interval, 988 connections of 3,000 replicas waited for their end: 46 MiB."""
    async with ScriptedServer(lambda: text("a 1\n")) as server, Fetcher() as fetcher:
        for _ in range(2):
            await fetcher.get(server.url, "", 2.0, again_in_s)
        for _ in range(20):  # the server hears of the end in its own time
            await asyncio.sleep(0.005)
        assert server.connections() == open_after


def test_lists_in_every_form_name_the_same_replicas() -> None:
    urls = {"http://a:8000/metrics", "http://[::1]:9/metrics"}
    sd = [{"targets": ["a:8000", "[::1]:9"], "labels": {"__meta_created_at_s": "12.5"}}]
    for form in ("a:8000 # one\n\n[::1]:9\na:8000\n", json.dumps(["a:8000", "[::1]:9"]), json.dumps(sd)):
        assert {r.metrics_url for r in read_list(form, STATIC)} == urls
    assert read_list(json.dumps(sd), STATIC)[0].created_at_s == 12.5


async def test_a_half_written_list_keeps_the_last_good_one(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    settings = TargetSettings("", ReplicaList(ListKind.FILE, path=str(path), refresh_s=1.0))
    async with Fetcher() as fetcher:
        listing = ReplicaListing(settings, fetcher, LoopClock())
        assert listing.listing().replicas is None  # never read: not a zero
        path.write_text('["a:1", "b:2"]')
        listing._take_file()
        assert len(listing.listing().replicas or ()) == 2
        path.write_text('["a:1", ')
        listing._take_file()
        assert len(listing.listing().replicas or ()) == 2
        assert "half written" in str(listing.listing().failure)
        path.write_text("[]")
        listing._take_file()
        assert listing.listing().replicas == ()
