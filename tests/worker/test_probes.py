"""A worker's probes are bounded like the ingress's door."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from handlers.process import probes
from handlers.process.http.bounds import Bounds
from tests.ingress.lines import head, lines
from tests.ingress.test_door import bomb, rss_mb
from worker import app as worker


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Its server without its work."""
    runner = worker.probe_server(probes.routes(dict, dict), Bounds(connections=10, head_s=0.5))
    await runner.setup()
    await runner.listen("127.0.0.1", 0)
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/nowhere"])
async def test_nothing_is_unpacked(url: str, path: str) -> None:
    before = rss_mb()
    async with (
        aiohttp.ClientSession() as http,
        http.post(url + path, data=bomb(64), headers={"Content-Encoding": "gzip"}) as response,
    ):
        assert response.status == 415
        assert "not unpacked" in await response.text()
    assert rss_mb() - before < 20


async def test_who_keeps_it_waiting_gives_way(url: str) -> None:
    async with lines(url, [b"GET /metrics HTTP/1.1\r\n"] * 30) as flood:
        async with aiohttp.ClientSession() as http, http.get(f"{url}/healthz") as response:
            assert response.status == 200
        assert not flood[0].is_open
        assert (await flood[-1].end()).startswith(b"HTTP/1.1 408 ")
    async with lines(url, [head("GET", "/readyz")]) as (line,):
        assert (await line.answer())[0] == 200
