"""The ingress process, wired: one HTTP server, the log's publisher, two small pools."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from db.pool import create_pool
from handlers import probes, telemetry
from handlers.ingest_log.factory import adapter
from ingress.api.door import PREFIX, application
from ingress.api.meter import Meter
from ingress.directory import Directory
from ingress.settings import Settings
from ingress.webhook import MAX_BODY_BYTES, PATH, Webhook

log: structlog.stdlib.BoundLogger = structlog.get_logger()

POOL_SIZE = 4  # look-ups only, cached
API_POOL_SIZE = 8  # of its own, so that API calls never keep a webhook's look-up waiting
LAST_COUNT_S = 3.0  # for the API calls of the last second to be written
SHUTDOWN_S = 10.0  # for requests in flight at SIGTERM
# What is held in memory at once: a body is parsed, encoded and waits for its confirm, 2 s at most.
IN_FLIGHT_MAX = 1_024  # POSTs
IN_FLIGHT_BYTES = 32 * 1024 * 1024  # of their bodies
BODY_TIMEOUT_S = 10.0  # for a body to arrive


async def create_app(settings: Settings) -> web.Application:
    name = f"ingress@{socket.gethostname()}:{os.getpid()}"
    ingest_log = adapter(settings.log_url)
    publisher = ingest_log.Publisher(settings.log_url, name)
    pool = await create_pool(settings.database_url, size=POOL_SIZE, name=f"swiftreplies {name}")
    api_pool = await create_pool(
        settings.database_url, size=API_POOL_SIZE, name=f"swiftreplies api {name}"
    )
    meter = Meter(api_pool)
    directory = Directory(pool)
    webhook = Webhook(settings, publisher, directory)
    app = web.Application(
        client_max_size=MAX_BODY_BYTES, middlewares=[Doorkeeper().admit, _whole_body]
    )

    async def services(_: web.Application) -> AsyncIterator[None]:
        publishing = asyncio.create_task(publisher.run())
        ended = asyncio.Event()
        metering = asyncio.create_task(meter.run(ended))
        yield
        ended.set()
        await asyncio.wait({metering}, timeout=LAST_COUNT_S)
        metering.cancel()
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing
        pool.terminate()
        api_pool.terminate()

    app.cleanup_ctx.append(services)
    app.add_subapp(PREFIX, application(api_pool, meter))
    app.add_routes(
        [
            web.get(PATH, webhook.verify),
            web.post(PATH, webhook.receive),
            *probes.routes(
                lambda: {ingest_log.NAME: publisher.problem} if publisher.problem else {},
                # Webhooks are durable without it, so the process stays ready.
                lambda: {"postgresql": directory.problem} if directory.problem else {},
            ),
        ]
    )
    return app


class Doorkeeper:
    """Refuses what there is no room for: Meta comes again, and a process out of memory does not."""

    def __init__(self) -> None:
        self._requests = 0
        self._bytes = 0

    @web.middleware
    async def admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not _is_webhook(request):
            return await handler(request)
        # A length that is not said is taken for the longest.
        declared = request.content_length
        size = min(declared if declared is not None else MAX_BODY_BYTES, MAX_BODY_BYTES)
        if not has_room(self._requests, self._bytes, size):
            return _refused(request, 503, "busy", "too much in flight: come again")
        self._requests += 1
        self._bytes += size
        try:
            return await handler(request)
        finally:
            self._requests -= 1
            self._bytes -= size


def has_room(requests: int, in_flight_bytes: int, size: int) -> bool:
    """For one more POST of this size, beside those in flight."""
    return requests < IN_FLIGHT_MAX and in_flight_bytes + size <= IN_FLIGHT_BYTES


def _is_webhook(request: web.Request) -> bool:
    """The API has bounds of its own, and nothing else takes a body."""
    return request.method == "POST" and request.path == PATH


@web.middleware
async def _whole_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The request keeps what was read of it."""
    if not _is_webhook(request):
        return await handler(request)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            await request.read()
    except TimeoutError:
        return _refused(request, 408, "slow", f"the body took longer than {BODY_TIMEOUT_S:.0f} s")
    except web.HTTPRequestEntityTooLarge:
        limit = f"the body is larger than {MAX_BODY_BYTES // 1024 // 1024} MiB"
        return _refused(request, 413, "oversize", limit)
    return await handler(request)


def _refused(request: web.Request, status: int, reason: str, text: str) -> web.Response:
    telemetry.WEBHOOKS.labels(str(status)).inc()
    log.warning("webhook.refused", reason=reason, content_length=request.content_length)
    again = {"Retry-After": "1"} if status == 503 else None
    return web.Response(status=status, text=text, headers=again)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    app = await create_app(settings)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        await site.start()
        log.info("ingress.started", addresses=[f"{a[0]}:{a[1]}" for a in runner.addresses])
        await stop.wait()
        log.info("ingress.stopping")
    finally:
        await runner.cleanup()
