"""The HTTP door as its own process would run it: on a port, with a broker behind it."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aio_pika
import aiohttp
from aio_pika.abc import AbstractIncomingMessage

from handlers.ingest.envelope import Envelope, decode
from handlers.ingest_log.rabbitmq.topology import ORDERED_QUEUES, OTHER_QUEUES
from handlers.media_store.place import Keys
from handlers.outbound.addresses import NOTHING, Allow
from handlers.process.http.bounds import Bounds
from handlers.whatsapp.cloud_api.signature import sign
from ingress.app import create_runner
from ingress.settings import Settings
from tests.e2e.conftest import until

SECRET = "secret-of-the-app"
OLD_SECRET = "secret-before-the-rotation"
SECRETS_KEY = "of what is encrypted at rest"
VERIFY_TOKEN = "typed-into-the-dashboard"
DEAD_DATABASE = "postgresql://nobody@127.0.0.1:1/nothing"
DEAD_BROKER = "amqp://guest:guest@127.0.0.1:1/"
QUEUES = ORDERED_QUEUES | OTHER_QUEUES


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str
    headers: dict[str, str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Door:
    url: str
    http: aiohttp.ClientSession

    async def get(self, path: str, **query: str) -> Answer:
        return await self._answer("GET", path, params=query)

    async def post(
        self, body: Any, *, signature: str | None = "", secret: str = SECRET, app: str = ""
    ) -> Answer:
        """Bytes as they are, anything else as JSON; signed unless told otherwise."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        header = sign(data, secret) if signature == "" else signature
        return await self.send(data, header, f"/webhooks/whatsapp/{app}".rstrip("/"))

    async def send(
        self, data: Any, signature: str | None, path: str = "/webhooks/whatsapp"
    ) -> Answer:
        headers = {"X-Hub-Signature-256": signature} if signature is not None else {}
        if isinstance(data, bytes):  # aiohttp warns of large ones, which it writes in one go
            data = io.BytesIO(data)
        return await self._answer("POST", path, data=data, headers=headers)

    async def ready(self, patience_s: float = 20.0) -> None:
        await until(lambda: self.get("/readyz"), lambda a: a.status == 200, patience_s)

    async def _answer(self, method: str, path: str, **request: Any) -> Answer:
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with self.http.request(method, self.url + path, **request) as response:
            text = await response.text()
            return Answer(response.status, text, {**response.headers}, loop.time() - started)


@asynccontextmanager
async def door(
    log_url: str,
    database_url: str = DEAD_DATABASE,
    bounds: Bounds | None = None,
    *,
    secrets_key: str | tuple[str, ...] = SECRETS_KEY,
    outbound_allow: Allow = NOTHING,
    media_store: str = "",
    media_keys: Keys | None = None,
    ask_wait: timedelta = timedelta(seconds=60),
    calls_per_minute: int = 100_000,
    graph_url: str = "http://127.0.0.1:1",
) -> AsyncIterator[Door]:
    settings = Settings(
        database_url=database_url,
        log_url=log_url,
        app_secrets=(SECRET, OLD_SECRET),
        verify_token=VERIFY_TOKEN,
        host="127.0.0.1",
        port=0,
        log_level="info",
        log_format="json",
        secrets_keys=(secrets_key,) if isinstance(secrets_key, str) else secrets_key,
        outbound_allow=outbound_allow,
        media_store=media_store,
        media_keys=media_keys,
        ask_wait=ask_wait,
        api_calls_per_minute=calls_per_minute,
        graph_url=graph_url,
    )
    runner = await create_runner(settings, bounds or Bounds(), 1.0)
    await runner.setup()
    try:
        await runner.listen(settings.host, settings.port)
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
            yield Door(f"http://127.0.0.1:{port}", http)
    finally:
        await runner.cleanup()


Found = dict[str, list[AbstractIncomingMessage]]


async def messages(
    amqp_url: str, *lanes: str, enough: Callable[[Found], bool] | None = None
) -> Found:
    """What the lanes hold, in order; afterwards they are empty.

    `enough` is for a node that was just started: RabbitMQ counts nothing in a queue whose leader
    does not answer at once.
    """
    found: Found = {}
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        expected = 0
        for lane in lanes or QUEUES:
            queue = await channel.declare_queue(QUEUES[lane], passive=True)
            counted = queue.declaration_result.message_count or 0
            expected += counted
            if counted or enough is not None:
                group: list[AbstractIncomingMessage] = []
                found[lane] = group
                # Not basic.get: RabbitMQ refuses it on queues with a single active consumer.
                await queue.consume(_into(group), no_ack=True)

        def complete() -> bool:
            counted_all = sum(len(group) for group in found.values()) >= expected
            return counted_all and (enough is None or enough(found))

        await eventually(complete)
    return {lane: group for lane, group in found.items() if group}


def _into(
    group: list[AbstractIncomingMessage],
) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
    async def keep(message: AbstractIncomingMessage) -> None:
        group.append(message)

    return keep


async def taken(amqp_url: str, *lanes: str) -> dict[str, list[Envelope]]:
    return opened(await messages(amqp_url, *lanes))


def opened(found: Found) -> dict[str, list[Envelope]]:
    return {lane: [decode(message.body) for message in group] for lane, group in found.items()}


async def eventually(holds: Callable[[], bool], patience_s: float = 20.0) -> None:
    async def look() -> bool:
        return holds()

    await until(look, bool, patience_s)
