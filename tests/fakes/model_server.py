"""A model server that serves scripted pages over a real socket."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web


def vllm_page(
    *, running: int = 0, waiting: int = 0, first_tokens: int = 0, prompt: int = 0, generated: int = 0, kv: float = 0.0
) -> str:
    """A small page in vLLM's shape."""
    labels = 'engine="0",model_name="m"'
    return (
        f"vllm:num_requests_running{{{labels}}} {running}\n"
        f"vllm:num_requests_waiting{{{labels}}} {waiting}\n"
        f"vllm:kv_cache_usage_perc{{{labels}}} {kv}\n"
        f"vllm:prompt_tokens_total{{{labels}}} {prompt}\n"
        f"vllm:generation_tokens_total{{{labels}}} {generated}\n"
        f'vllm:time_to_first_token_seconds_bucket{{{labels},le="1.0"}} {first_tokens}\n'
        f'vllm:time_to_first_token_seconds_bucket{{{labels},le="+Inf"}} {first_tokens}\n'
        f"vllm:time_to_first_token_seconds_sum{{{labels}}} {0.2 * first_tokens}\n"
        f"vllm:time_to_first_token_seconds_count{{{labels}}} {first_tokens}\n"
    )


class ScriptedServer:
    """Serves `/metrics` from a callable; use as an async context manager."""

    def __init__(self, page: Callable[[], web.StreamResponse]) -> None:
        self._page = page
        self.hits = 0
        self.url = ""
        self.port = 0

    async def __aenter__(self) -> ScriptedServer:
        application = web.Application()
        application.router.add_get("/{tail:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        self.url = f"http://127.0.0.1:{self.port}/metrics"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    def connections(self) -> int:
        """How many are open."""
        assert self._runner.server is not None
        return len(self._runner.server.connections)

    async def _answer(self, _: web.Request) -> web.StreamResponse:
        self.hits += 1
        return self._page()


def text(page: str, content_type: str = "text/plain") -> web.Response:
    """A page as an answer."""
    return web.Response(text=page, content_type=content_type)
