"""The ingress process, wired: one HTTP server, the log's publisher, two small pools."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

import structlog
from aiohttp import web

from db.pool import create_pool
from handlers.ingest_log.factory import adapter
from handlers.process import probes, telemetry
from ingress.api.door import PREFIX, application
from ingress.api.meter import Meter
from ingress.directory import Directory
from ingress.doorkeeper import MAX_BODY_BYTES, Doorkeeper
from ingress.settings import Settings
from ingress.webhook import PATH, Webhook

log: structlog.stdlib.BoundLogger = structlog.get_logger()

POOL_SIZE = 4  # look-ups only, cached
API_POOL_SIZE = 8  # of its own, so that API calls never keep a webhook's look-up waiting
LAST_COUNT_S = 3.0  # for the API calls of the last second to be written
SHUTDOWN_S = 10.0  # for requests in flight at SIGTERM


async def create_app(settings: Settings) -> web.Application:
    name = f"ingress@{socket.gethostname()}:{os.getpid()}"
    ingest_log = adapter(settings.log_url)
    publisher = ingest_log.Publisher(settings.log_url, name)
    pool = await create_pool(settings.database_url, size=POOL_SIZE, name=f"swiftreplies {name}")
    api_pool = await create_pool(
        settings.database_url, size=API_POOL_SIZE, name=f"swiftreplies api {name}"
    )
    telemetry.watch(pool, "directory")
    telemetry.watch(api_pool, "api")
    meter = Meter(api_pool)
    directory = Directory(pool)
    webhook = Webhook(settings, publisher, directory)
    app = web.Application(client_max_size=MAX_BODY_BYTES)

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
            web.post(PATH, Doorkeeper(webhook.receive).admit),
            *probes.routes(
                lambda: {ingest_log.NAME: publisher.problem} if publisher.problem else {},
                # Webhooks are durable without it, so the process stays ready.
                lambda: {"postgresql": directory.problem} if directory.problem else {},
            ),
        ]
    )
    return app


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
