"""GET /docs: the page of the description, in a real browser."""

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from ingress.api.endpoints import ENDPOINTS
from ingress.api.nouns import NOUNS, noun_of
from ingress.page import Page, script
from tests.ingress import DEAD_BROKER, Door, door
from tests.phone.browser import browser

WATCH = (
    "window.refused = []; document.addEventListener('securitypolicyviolation',"
    " (e) => refused.push(e.violatedDirective + ' ' + e.blockedURI))"
)

# Redoc's makers'; the policy keeps the browser from asking for it.
LOGO = "img-src https://cdn.redoc.ly/redoc/logo-mini.svg"


@pytest.fixture
async def bare() -> AsyncIterator[Door]:
    """Neither PostgreSQL nor RabbitMQ is there: the page needs none."""
    async with door(DEAD_BROKER) as opened:
        yield opened


async def fetched(bare: Door, path: str, **headers: str) -> tuple[int, bytes, CIMultiDict[str]]:
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with http.get(f"{bare.url}{path}", headers=sent, allow_redirects=False) as answer:
            return answer.status, await answer.read(), CIMultiDict(answer.headers)


async def test_it_is_prepared_once_and_packed(bare: Door) -> None:
    status, page, headers = await fetched(bare, "/docs", Accept_Encoding="identity")
    assert status == 200
    assert "script-src 'self';" in headers["Content-Security-Policy"]
    (source,) = re.findall(r'src="(docs/[^"]+)"', page.decode())
    for path, wanted in ((f"/{source}", script()), ("/docs", page)):
        status, packed, headers = await fetched(bare, path, Accept_Encoding="gzip, br")
        assert (status, headers["Content-Encoding"]) == (200, "gzip")
        assert gzip.decompress(packed) == wanted
        again = await fetched(bare, path, If_None_Match=headers["ETag"])
        assert (again[0], again[1]) == (304, b"")
    status, _, headers = await fetched(bare, "/docs/")
    assert (status, headers["Location"]) == (308, "../docs")
    assert (await fetched(bare, "/docs/redoc-of-yesterday.js"))[0] == 404


async def test_the_description_is_packed_too(bare: Door) -> None:
    plain = await fetched(bare, "/v1/openapi.json", Accept_Encoding="identity")
    packed = await fetched(bare, "/v1/openapi.json", Accept_Encoding="gzip")
    assert gzip.decompress(packed[1]) == plain[1]
    assert len(packed[1]) * 5 < len(plain[1])
    assert (await fetched(bare, "/v1/openapi.json", If_None_Match=plain[2]["ETag"]))[0] == 304


async def test_without_its_package_it_says_what_to_run() -> None:
    app = web.Application()
    app.add_routes(Page(lambda: None).routes())
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{port}/docs") as answer,
        ):
            assert answer.status == 503
            assert "make setup" in await answer.text()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("width", [390, 1280])
async def test_it_can_be_read_on_a_phone(bare: Door, tmp_path: Path, width: int) -> None:
    async with browser() as tab:
        await tab.call("Page.enable")
        await tab.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        await tab.size(width, 844)
        await tab.open(f"{bare.url}/docs")
        await tab.until("document.querySelector('h1')?.innerText.includes('tenant API')", 60)
        text = await tab.run("document.body.innerText")
        for noun in {noun_of(endpoint) for endpoint in ENDPOINTS}:
            assert NOUNS[noun] in text
        for endpoint in ENDPOINTS:
            assert endpoint.summary[:60] in text, endpoint.name
        lines = await tab.run("document.body.textContent.split('curl -s').length - 1")
        assert lines >= len(ENDPOINTS)
        # Nothing hangs out to the right, nothing was refused, nothing came from elsewhere.
        assert await tab.run("document.documentElement.scrollWidth") <= width
        assert set(await tab.run("refused")) <= {LOGO}
        assert await tab.run(
            "performance.getEntriesByType('resource').every((r) =>"
            f" r.name.startsWith(location.origin) || /^(blob|data):/.test(r.name)"
            f" || {LOGO!r}.endsWith(r.name))"
        )
        await tab.run("[...document.querySelectorAll('pre')].at(0)?.scrollIntoView()")
        await tab.picture(tmp_path / f"{width}.png")
