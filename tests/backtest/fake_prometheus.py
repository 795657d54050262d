"""A small server that speaks Prometheus' range-query API over samples it is given, with its five-minute lookback."""

from __future__ import annotations

import asyncio
import bisect
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

LOOKBACK_S = 300.0
SPAN = re.compile(r"\[(\d+)s\]$")
SELECTOR = re.compile(r"\{(.*)\}", re.DOTALL)
MATCHER = re.compile(r'(\w+)\s*(=~|=)\s*"((?:[^"\\]|\\.)*)"')


@dataclass(slots=True)
class Stored:
    """One series: labels with `__name__`, and samples in order of time; it ends for good after the last one."""

    labels: dict[str, str]
    samples: list[tuple[float, float]]

    def at(self, at_s: float) -> tuple[float, float] | None:
        """The newest sample at a time, unless it is too old or the series had ended (a staleness marker)."""
        place = bisect.bisect_right(self.samples, (at_s, float("inf"))) - 1
        if place < 0 or at_s - self.samples[place][0] > LOOKBACK_S:
            return None
        return self.samples[place]


@dataclass(slots=True)
class FakePrometheus:
    """The series it has, what it was asked, and the token it wants."""

    series: list[Stored] = field(default_factory=list)
    token: str | None = None
    asked: list[str] = field(default_factory=list)
    late_s: float = 0.0  # it answers a query so much later
    url: str = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FakePrometheus]:
        """Serve while inside."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/api/v1/label/__name__/values", self._names),
                web.post("/api/v1/query_range", self._range),
                web.post("/api/v1/query", self._instant),
            ]
        )
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = runner.addresses[0]
        self.url = f"http://{address[0]}:{address[1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def _chosen(self, query: str) -> list[Stored]:
        found = SELECTOR.search(query)
        matchers = MATCHER.findall(found.group(1)) if found else []

        def fits(labels: dict[str, str]) -> bool:
            return all(
                re.fullmatch(value.replace("\\\\", "\\"), labels.get(name, "")) is not None
                if kind == "=~"
                else labels.get(name, "") == value
                for name, kind, value in matchers
            )

        return [one for one in self.series if fits(one.labels)]

    def _refused(self, request: web.Request) -> web.Response | None:
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"status": "error", "errorType": "auth", "error": "who are you"}, status=401)
        return None

    async def _names(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request)) is not None:
            return refused
        chosen = self._chosen(request.query.get("match[]", ""))
        return web.json_response({"status": "success", "data": sorted({one.labels["__name__"] for one in chosen})})

    async def _range(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request)) is not None:
            return refused
        form = await request.post()
        query = str(form["query"])
        start_s, end_s, step_s = (float(str(form[name])) for name in ("start", "end", "step"))
        self.asked.append(query)
        if (end_s - start_s) / step_s > 11_000:
            error = "exceeded maximum resolution of 11,000 points per timeseries"
            return web.json_response({"status": "error", "errorType": "bad_data", "error": error}, status=400)
        times = [start_s + k * step_s for k in range(int((end_s - start_s) / step_s + 1e-9) + 1)]
        chosen = self._chosen(query)
        rows = []
        for one in chosen:
            values = [(t, found) for t in times if (found := one.at(t)) is not None]
            rows.append((one.labels, [(t, sample) for t, sample in values]))
        if query.startswith("max(timestamp("):
            nameless = [tuple(sorted({**labels, "__name__": ""}.items())) for labels, values in rows if values]
            if len(nameless) != len(set(nameless)):
                error = "vector cannot contain metrics with the same labelset"
                return web.json_response({"status": "error", "errorType": "execution", "error": error}, status=422)
            newest = {t: max((s[0] for _, values in rows for u, s in values if u == t), default=None) for t in times}
            result = [{"metric": {}, "values": [[t, str(v)] for t, v in newest.items() if v is not None]}]
        elif query.startswith("sum("):
            sums = {t: [s[1] for _, values in rows for u, s in values if u == t] for t in times}
            result = [{"metric": {}, "values": [[t, str(sum(v))] for t, v in sums.items() if v]}]
        else:
            result = [
                {"metric": labels, "values": [[t, str(s[1])] for t, s in values]} for labels, values in rows if values
            ]
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": result}})

    async def _instant(self, request: web.Request) -> web.Response:
        """A range selector at one time: samples as they were scraped, without those at the very start."""
        if (refused := self._refused(request)) is not None:
            return refused
        await asyncio.sleep(self.late_s)
        form = await request.post()
        query, until_s = str(form["query"]), float(str(form["time"]))
        self.asked.append(query)
        span = SPAN.search(query)
        assert span is not None
        since_s = until_s - float(span.group(1))
        rows = []
        for one in self._chosen(query):
            low, high = (bisect.bisect_right(one.samples, (at_s, float("inf"))) for at_s in (since_s, until_s))
            if low < high:
                values = [[at_s, str(value)] for at_s, value in one.samples[low:high]]
                rows.append({"metric": one.labels, "values": values})
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": rows}})
