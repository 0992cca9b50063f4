"""The ingress process, wired: one HTTP server, the log's publisher, two small pools."""

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial

import aiohttp
import structlog
from aiohttp import web

from db.pool import Pool, create_pool, prove
from handlers.ingest_log.factory import adapter
from handlers.media_store.factory import store
from handlers.media_store.port import NoStore, Store
from handlers.media_store.sighting import Sight
from handlers.process import probes, telemetry
from handlers.process.http.bounds import Bounds
from handlers.process.http.gate import Gate
from handlers.process.http.server import NOT_UNPACKED, Runner, connections_allowed, not_unpacked
from handlers.process.secrets import Vault
from handlers.process.starting import proved
from handlers.sends.tokens import Tokens
from handlers.templates.account import Meta
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from ingress.api import door as api
from ingress.api.door import PREFIX, application
from ingress.api.keys import Keys
from ingress.api.meter import Meter
from ingress.api.table import Installation
from ingress.apps import Apps
from ingress.directory import Directory
from ingress.doorkeeper import MAX_BODY_BYTES, Doorkeeper, refused
from ingress.page import Page
from ingress.settings import Settings
from ingress.webhook import PATH, PATH_OF_APP, Webhook

log: structlog.stdlib.BoundLogger = structlog.get_logger()

POOL_SIZE = 4  # look-ups only, cached
API_POOL_SIZE = 8  # of its own, so that API calls never keep a webhook's look-up waiting
LAST_COUNT_S = 3.0  # for the API calls of the last second to be written
SHUTDOWN_S = 10.0  # for requests in flight at SIGTERM


def _here(settings: Settings, http: aiohttp.ClientSession) -> Installation:
    vault = Vault(settings.secrets_keys)
    graph = GraphApi(http, settings.graph_url, settings.graph_version)
    # By chatbots' own tokens: the installation's is no business of the door's.
    meta = Meta(graph, Tokens(vault, None))
    return Installation(vault, settings.outbound_allow, settings.ask_wait, meta)


async def create_app(settings: Settings, gate: Gate) -> web.Application:
    name = f"ingress@{socket.gethostname()}:{os.getpid()}"
    ingest_log = adapter(settings.log_url)
    publisher = ingest_log.Publisher(settings.log_url, name)
    pools = await _pools(settings, name)
    files = store(settings.media_store, settings.media_keys)
    meter = Meter(pools["api"], settings.api_calls_per_minute)
    keys = Keys(pools["keys"])
    directory = Directory(pools["directory"])
    apps = Apps(pools["directory"], settings.secrets_keys)
    webhook = Webhook(settings, publisher, directory, apps)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    async def services(_: web.Application) -> AsyncIterator[None]:
        publishing = asyncio.create_task(publisher.run())
        ended = asyncio.Event()
        metering = asyncio.create_task(meter.run(ended))
        apps.warm_up()
        await keys.warm_up()
        yield
        ended.set()
        await asyncio.wait({metering}, timeout=LAST_COUNT_S)
        metering.cancel()
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing
        keys.close()
        apps.close()
        await http.close()
        for pool in pools.values():
            pool.terminate()

    app.cleanup_ctx.extend([services, _seen(pools["api"], files, name)])
    app.add_subapp(PREFIX, application(pools["api"], keys, meter, _here(settings, http), files))
    app.add_routes(
        [
            *_webhook_routes(webhook, gate),
            *Page().routes(),
            *probes.routes(
                lambda: {ingest_log.NAME: publisher.problem} if publisher.problem else {},
                # Webhooks are durable without it, so the process stays ready.
                lambda: {"postgresql": directory.problem} if directory.problem else {},
            ),
        ]
    )
    return app


async def _pools(settings: Settings, name: str) -> dict[str, Pool]:
    pools = {
        pool: await create_pool(settings.database_url, size=size, name=f"swiftreplies {label}")
        for pool, size, label in (
            ("directory", POOL_SIZE, name),
            ("api", API_POOL_SIZE, f"api {name}"),
            ("keys", 1, f"keys {name}"),
        )
    }
    for label, pool in pools.items():
        telemetry.watch(pool, label)
    return pools


def _webhook_routes(webhook: Webhook, gate: Gate) -> Iterator[web.RouteDef]:
    """One doorkeeper for all paths: what is in flight of them takes room of one process."""
    door = Doorkeeper(webhook.receive, gate)
    for path in (PATH, PATH_OF_APP):
        yield web.get(path, webhook.verify)
        yield web.post(path, door.admit)


def _seen(pool: Pool, files: Store, name: str) -> Callable[[web.Application], AsyncIterator[None]]:
    """For `doctor`, which compares what each process reaches."""
    sight = Sight(pool, files, name)

    async def context(_: web.Application) -> AsyncIterator[None]:
        tasks = [] if isinstance(files, NoStore) else [asyncio.create_task(sight.keep_looking())]
        yield
        for task in tasks:
            task.cancel()
            await asyncio.wait({task})
        await files.close()

    return context


def refuse_packed(request: web.BaseRequest) -> web.Response:
    if request.path.startswith(f"{PREFIX}/"):
        return api.refuse_packed(request)
    if request.path == PATH or request.path.startswith(f"{PATH}/"):
        return refused(request, 415, "packed", NOT_UNPACKED)
    return not_unpacked(request)


async def create_runner(settings: Settings, bounds: Bounds, shutdown_s: float) -> Runner:
    gate = Gate(bounds)
    app = await create_app(settings, gate)
    return Runner(app, gate, refuse=refuse_packed, shutdown_timeout=shutdown_s)


async def _fit(settings: Settings) -> None:
    """Nothing waits for it: webhooks are durable without the database. But on one that is not what
    it has to be nothing will ever be answered, and nobody looks into a log while all seems well."""
    name = f"ingress@{socket.gethostname()}:{os.getpid()}"

    async def database() -> Sequence[str]:
        await prove(settings.database_url, f"swiftreplies {name}")
        return []

    async def ingest_log() -> Sequence[str]:
        await adapter(settings.log_url).prove(settings.log_url, name)
        return []

    looks = {"DATABASE_URL": database, "INGEST_LOG_URL": ingest_log}
    await proved(looks, asyncio.Event(), refusals_end=False)


def _stop_if_failed(stop: asyncio.Event, proving: asyncio.Task[None]) -> None:
    if not proving.cancelled() and proving.exception() is not None:
        stop.set()


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Raises CannotStart."""
    bounds = Bounds(connections=connections_allowed(), trusted=settings.trusted_proxies)
    runner = await create_runner(settings, bounds, SHUTDOWN_S)
    await runner.setup()
    try:
        # What the libraries brought never becomes garbage, and is looked through no more.
        gc.freeze()
        await runner.listen(settings.host, settings.port)
        log.info("ingress.started", addresses=[f"{a[0]}:{a[1]}" for a in runner.addresses])
        proving = asyncio.create_task(_fit(settings))
        proving.add_done_callback(partial(_stop_if_failed, stop))
        await stop.wait()
        log.info("ingress.stopping")
    finally:
        await runner.cleanup()
    if proving.done():
        proving.result()
    proving.cancel()
