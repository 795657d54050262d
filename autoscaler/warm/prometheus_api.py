"""The HTTP API of Prometheus and what speaks it (Thanos, Mimir, VictoriaMetrics): metric names and range queries.

Facts: prometheus.io/docs/prometheus/latest/querying/api. A server gives at most 11,000 points a series and query.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp

from autoscaler.core.errors import ConfigError, Problem, TargetError

POINTS = 2_000  # asked for at a time, so that one answer stays small
TIMEOUT_S = 120.0
BODY_WORDS = 200  # of an answer that is not understood


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a range: its labels, and a value at each of its times."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


class Prometheus:
    """Asks one server."""

    def __init__(self, url: str, token_file: Path | None = None, set_by: str = "--token-file") -> None:
        self._url = url.rstrip("/")
        self._token_file = token_file
        self._set_by = set_by  # the option that names the file
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {}
        if self._token_file is not None:
            try:
                headers["Authorization"] = f"Bearer {self._token_file.read_text().strip()}"
            except OSError as error:
                problem = Problem(self._set_by, str(error.strerror), "a readable file of a bearer token")
                raise ConfigError(str(self._token_file), (problem,)) from None
        self._session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(TIMEOUT_S))
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def names(self, matcher: str, from_s: float, until_s: float) -> list[str]:
        """Names of the metrics that have series under a matcher such as `{namespace="x"}`. Raises TargetError."""
        form = {"start": f"{from_s:.3f}", "end": f"{until_s:.3f}"}
        if matcher:
            form["match[]"] = matcher
        found = await self._ask("label/__name__/values", form, method="GET")
        return [str(name) for name in found or ()]

    async def range(
        self, query: str, from_s: float, until_s: float, step_s: float, watch: Callable[[float], None] | None = None
    ) -> list[Series]:
        """Every series of a query at the steps of a span, both ends included. Raises TargetError."""
        steps = math.floor((until_s - from_s) / step_s + 1e-9)
        series: dict[tuple[tuple[str, str], ...], Series] = {}
        for first in range(0, steps + 1, POINTS):
            last = min(steps, first + POINTS - 1)
            form = {
                "query": query,
                "start": f"{from_s + first * step_s:.3f}",
                "end": f"{from_s + last * step_s:.3f}",
                "step": f"{step_s:g}",
            }
            found = await self._ask("query_range", form)
            for row in _rows(self._url, found):
                one = series.setdefault(tuple(sorted(row.labels.items())), Series(row.labels, []))
                one.points.extend(row.points)
            if watch is not None:
                watch((last + 1) / (steps + 1))
        return list(series.values())

    async def samples(self, series: str, until_s: float, span_s: float) -> tuple[list[Series], int]:
        """Every sample as it was scraped in the seconds before a time, and the answer's size in bytes.

        An instant query of a range gives samples with their own times, not values at steps. Raises TargetError.
        """
        form = {"query": f"{series}[{span_s:.0f}s]", "time": f"{until_s:.3f}"}
        found, size = await self._sized("query", form, "POST")

        return await asyncio.to_thread(_rows, self._url, found), size

    async def _ask(self, path: str, form: dict[str, str], method: str = "POST") -> Any:
        return (await self._sized(path, form, method))[0]

    async def _sized(self, path: str, form: dict[str, str], method: str) -> tuple[Any, int]:
        assert self._session is not None  # noqa: S101 -- used as a context
        url = f"{self._url}/api/v1/{path}"
        kind = {"params": form} if method == "GET" else {"data": form}
        try:
            async with self._session.request(method, url, **kind) as response:  # type: ignore[arg-type]
                body = await response.text()
                status = response.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise TargetError(
                f"Prometheus: {url} does not answer: {error or type(error).__name__}; expected its HTTP API"
            ) from None
        # Off the loop: a large answer takes a tenth of a second to read.
        return await asyncio.to_thread(_data, url, status, body, self._set_by), len(body)


def _rows(url: str, data: Any) -> list[Series]:
    """The series of an answer of kind `matrix`. Raises TargetError."""
    try:
        return [
            Series(dict(row["metric"]), [(float(at_s), float(value)) for at_s, value in row.get("values", ())])
            for row in data["result"]
        ]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise TargetError(
            f"Prometheus: {url} answers a query of a range with {str(data)[:BODY_WORDS]!r} ({error}); "
            "expected series of times and numbers: is it a Prometheus-compatible API?"
        ) from None


def _data(url: str, status: int, body: str, set_by: str) -> Any:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and answer.get("status") == "success":
        return answer.get("data")
    said = f"{answer.get('errorType')}: {answer.get('error')}" if isinstance(answer, dict) else body[:BODY_WORDS]
    raise TargetError(f"Prometheus: {url} answers {status}: {said!r}{_remedy(status, set_by)}")


def _remedy(status: int, set_by: str) -> str:
    if status in (401, 403):
        return f"; give {set_by}"
    if status == 422:
        return "; ask for less: a shorter span, a longer step, or labels that pick one service"
    if status == 429 or status >= 500:
        return "; the server is at fault or busy: try again, or ask for less at a time"
    return "" if status == 400 else "; expected the root of a Prometheus-compatible API"
