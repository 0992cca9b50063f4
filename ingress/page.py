"""GET /docs: the API's description as a page for people. Redoc draws it, in the reader's browser;
it comes from a package that is installed, and nothing comes from elsewhere."""

import asyncio
import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from aiohttp import web

from ingress.still import Still, still

PATH = "/docs"
PACKAGE = "drf-spectacular-sidecar"
SCRIPT = "drf_spectacular_sidecar/static/drf_spectacular_sidecar/redoc/bundles/redoc.standalone.js"
# All that the page does: run this script, read the description from beside it, and search in it
# (the worker). Redoc writes its styles into the page; its makers' logo, elsewhere, it does not get.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = MappingProxyType(
    {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
)
# Addresses are relative: the product may be behind a prefix.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>SwiftReplies tenant API</title>
<link rel="icon" href="data:,">
<style>body {{ margin: 0 }} noscript {{ display: block; padding: 1em }}</style>
</head>
<body>
<noscript>This page is drawn by a script. The same, for programs: <a
href="v1/openapi.json">v1/openapi.json</a></noscript>
<redoc spec-url="v1/openapi.json" hide-download-button="false" native-scrollbars="true"
expand-responses="200,201,202" json-sample-expand-level="3" hide-schema-titles="true"
payload-sample-idx="1"></redoc>
<script src="docs/redoc-{tag}.js"></script>
</body>
</html>
"""
MISSING = (
    "The page needs the package {package}, which is not installed here: `make setup`, or `uv sync`"
    " (or read v1/openapi.json, which is the same for programs).\n"
)


def script() -> bytes | None:
    try:
        found = importlib.metadata.distribution(PACKAGE).locate_file(SCRIPT)
        return Path(str(found)).read_bytes()
    except (importlib.metadata.PackageNotFoundError, FileNotFoundError):
        return None


class Page:
    """Made when it is first asked for: a process starts sooner."""

    def __init__(self, read: Callable[[], bytes | None] = script) -> None:
        self._read = read
        self._made: asyncio.Task[tuple[Still, Still] | None] | None = None

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(PATH, self._page),
            web.get(f"{PATH}/", self._without_slash),
            web.get(f"{PATH}/redoc-{{tag}}.js", self._script),
        ]

    async def _both(self) -> tuple[Still, Still] | None:
        if self._made is None:
            self._made = asyncio.create_task(asyncio.to_thread(self._make))
        return await asyncio.shield(self._made)

    def _make(self) -> tuple[Still, Still] | None:
        read = self._read()
        if read is None:
            return None
        redoc = still(read, "text/javascript; charset=utf-8")
        return still(PAGE.format(tag=redoc.tag).encode(), "text/html; charset=utf-8"), redoc

    async def _page(self, request: web.Request) -> web.Response:
        both = await self._both()
        if both is None:
            return web.Response(status=503, text=MISSING.format(package=PACKAGE))
        headers = {
            **HEADERS,
            "Content-Security-Policy": POLICY,
            "Cache-Control": "no-cache",
        }
        return both[0].answer(request, headers)

    async def _without_slash(self, _: web.Request) -> web.Response:
        return web.Response(status=308, headers={"Location": "../docs"})

    async def _script(self, request: web.Request) -> web.Response:
        both = await self._both()
        if both is None or request.match_info["tag"] != both[1].tag:
            raise web.HTTPNotFound
        for_ever = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
        return both[1].answer(request, for_ever)
