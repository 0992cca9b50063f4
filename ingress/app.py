"""The ingress process, wired: one HTTP server, one connection to the log, one small pool."""

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
from handlers.ingest_log.rabbitmq import Publisher
from ingress.directory import Directory
from ingress.settings import Settings
from ingress.webhook import MAX_BODY_BYTES, PATH, Webhook

log: structlog.stdlib.BoundLogger = structlog.get_logger()

POOL_SIZE = 4  # look-ups only, cached
SHUTDOWN_S = 10.0  # for requests in flight at SIGTERM


async def create_app(settings: Settings) -> web.Application:
    name = f"ingress@{socket.gethostname()}:{os.getpid()}"
    publisher = Publisher(settings.amqp_url, name)
    pool = await create_pool(settings.database_url, size=POOL_SIZE, name=f"swiftreplies {name}")
    directory = Directory(pool)
    webhook = Webhook(settings, publisher, directory)
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_oversize])

    async def services(_: web.Application) -> AsyncIterator[None]:
        publishing = asyncio.create_task(publisher.run())
        yield
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing
        pool.terminate()

    app.cleanup_ctx.append(services)
    app.add_routes(
        [
            web.get(PATH, webhook.verify),
            web.post(PATH, webhook.receive),
            *probes.routes(
                lambda: {"rabbitmq": publisher.problem} if publisher.problem else {},
                # Webhooks are durable without it, so the process stays ready.
                lambda: {"postgresql": directory.problem} if directory.problem else {},
            ),
        ]
    )
    return app


@web.middleware
async def _oversize(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        telemetry.WEBHOOKS.labels("413").inc()
        log.warning("webhook.refused", reason="oversize", content_length=request.content_length)
        return web.Response(
            status=413, text=f"the body is larger than {MAX_BODY_BYTES // 1024 // 1024} MiB"
        )


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
