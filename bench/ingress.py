"""The door. Floor: `bench/floors/ingress.py`, which checks the HMAC, parses and publishes with
confirm; the product besides takes the POST apart, looks the tenant up, writes envelopes, metrics
and its log line, and is bounded. Beside them pywa's FastAPI server, which keeps nothing durable."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import aio_pika

from bench.client import Client, post
from bench.harness import (
    ROUNDS,
    Figures,
    Result,
    in_turns,
    percentile,
    spent,
    tested,
    usage,
)
from db.migrate import migrate
from db.pool import connect_owner
from handlers.ingest_log.rabbitmq.topology import ORDERED_QUEUES, declare_topology
from handlers.whatsapp.cloud_api.signature import sign
from local.processes import Process
from local.servers.daemon import free_ports
from local.servers.postgres import postgres
from local.servers.rabbitmq import rabbitmq
from local.stack import until_ready

SECRET = "bench-secret"  # noqa: S105 - nobody's
PATH = "/webhooks/whatsapp"
COMMAND = str(Path(sys.executable).with_name("swiftreplies"))
CONNECTIONS = 64
BATCH = 50  # items of one POST
SETTLE_S = 0.3

_numbers = count(1)


class Side:
    """A server under test, with its client."""

    def __init__(self, process: Process, client: Client, purge: Callable[[], object]) -> None:
        self.process = process
        self.client = client
        self._purge = purge

    async def flat_out(self, posts: int, items: int) -> Figures:
        """As many as it takes, all connections busy."""
        requests = [signed(items) for _ in range(posts)]
        before = usage(self.process.pid)
        seconds = await self.client.as_fast_as_it_goes(requests)
        after = usage(self.process.pid)
        await self._rest()
        figures = {"webhooks_per_s": posts / seconds}
        if items > 1:
            figures["items_per_s"] = posts * items / seconds
        return figures | spent(before, after, posts)

    async def half_load(self, posts: int, per_s: float) -> Figures:
        requests = [signed(1) for _ in range(posts)]
        before = usage(self.process.pid)
        took = await self.client.at_rate(requests, per_s)
        after = usage(self.process.pid)
        await self._rest()
        return {
            "webhooks_per_s": per_s,
            "ack_p50_ms": percentile(took, 0.5),
            "ack_p99_ms": percentile(took, 0.99),
        } | spent(before, after, posts)

    async def _rest(self) -> None:
        """The queues are emptied, so that no side finds what the other left."""
        await asyncio.sleep(SETTLE_S)
        purged = self._purge()
        if asyncio.iscoroutine(purged):
            await purged


async def run(quick: bool) -> list[Result]:
    rounds, posts = (2, 400) if quick else (ROUNDS, 4_000)
    async with AsyncExitStack() as ending:
        sides = await _sides(ending)
        single = await _single(sides, rounds, posts)
        per_s = single.sides["product"]["webhooks_per_s"].median / 2
        half = await _half(sides, rounds, posts, per_s)
        del sides["pywa"]  # of several messages it takes the first and drops the rest
        batches = await _batches(sides, rounds, posts // 10)
    return [single, half, batches]


async def _sides(ending: AsyncExitStack) -> dict[str, Side]:
    database = await ending.enter_async_context(postgres())
    broker = await ending.enter_async_context(rabbitmq())
    await migrate(database.url, database.url, lambda _: None)
    await declare_topology(broker.url)
    await register_number(database.url)
    purge = partial(purge_lanes, broker.url)
    environment = {
        "DATABASE_URL": database.url,
        "AMQP_URL": broker.url,
        "WHATSAPP_APP_SECRET": SECRET,
        "WHATSAPP_VERIFY_TOKEN": "bench",
        "SECRETS_KEY": "bench" * 8,
        "HOST": "127.0.0.1",
        "SECRET": SECRET,
    }
    commands = {
        "floor": [sys.executable, "-m", "bench.floors.ingress"],
        "product": [COMMAND, "ingress"],
        "pywa": [sys.executable, "-m", "bench.floors.pywa_server"],
    }
    return {
        name: await ending.enter_async_context(_side(name, arguments, environment, purge))
        for name, arguments in commands.items()
    }


async def _single(sides: dict[str, Side], rounds: int, posts: int) -> Result:
    single = Result("ingress", f"Webhooks of one message, {CONNECTIONS} at a time")
    turns = {name: partial(side.flat_out, posts, 1) for name, side in sides.items()}
    await in_turns(single, turns, rounds)
    ratio = single.compare("webhooks_per_s")
    single.compare("cpu_ms")
    beside_pywa = single.compare("webhooks_per_s", "product", "pywa")
    single.goal("webhooks/s, product / floor", ratio, 0.8)
    single.goal("webhooks/s, product / pywa", beside_pywa, 1.0)
    return single


async def _half(sides: dict[str, Side], rounds: int, posts: int, per_s: float) -> Result:
    half = Result("ingress_half_load", "Webhooks of one message at half of the product's most")
    turns = {name: partial(side.half_load, posts, per_s) for name, side in sides.items()}
    await in_turns(half, turns, rounds)
    half.compare("ack_p50_ms")
    half.compare("ack_p99_ms")
    half.goal("ack p99, ms", half.sides["product"]["ack_p99_ms"].median, 50, at_least=False)
    return half


async def _batches(sides: dict[str, Side], rounds: int, posts: int) -> Result:
    batches = Result("ingress_batches", f"Webhooks of {BATCH} messages of as many customers")
    turns = {name: partial(side.flat_out, posts, BATCH) for name, side in sides.items()}
    await in_turns(batches, turns, rounds)
    batches.goal("items/s, product / floor", batches.compare("items_per_s"), 2.0)
    return batches


@asynccontextmanager
async def _side(
    name: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    purge: Callable[[], object],
) -> AsyncIterator[Side]:
    (port,) = free_ports(1)
    ours = name == "product"
    async with tested(
        name,
        [*arguments, *([] if ours else [str(port)])],
        {**environment, **({"PORT": str(port)} if ours else {})},
    ) as process:
        url = f"http://127.0.0.1:{port}"
        await until_ready(process, f"{url}/readyz")
        yield Side(process, Client(url, CONNECTIONS), purge)


async def register_number(url: str) -> None:
    """A known number, as nearly every webhook has: what the look-up costs is cached."""
    conn = await connect_owner(url)
    await conn.execute(
        "INSERT INTO users (email, password_hash) VALUES ('bench@example.com', '!');"
        "INSERT INTO chatbots (user_id, name, whatsapp_phone_number, phone_number_id)"
        " SELECT id, 'bench', '+12025550143', '4098712345' FROM users"
    )
    await conn.close()


async def purge_lanes(url: str) -> None:
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        for name in ORDERED_QUEUES.values():
            await (await channel.get_queue(name, ensure=False)).purge()


def signed(items: int) -> bytes:
    """A POST of as many messages, each of another customer."""
    numbers = [next(_numbers) for _ in range(items)]
    customers = [f"1202{number % 10_000_000:07d}" for number in numbers]
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "12025550143", "phone_number_id": "4098712345"},
        "contacts": [
            {"profile": {"name": "Noor"}, "wa_id": customer, "user_id": f"US.{customer}"}
            for customer in customers
        ],
        "messages": [
            {
                "from": customer,
                "from_user_id": f"US.{customer}",
                "id": f"wamid.HBgLMTIwMjU1NTAxNDMVAgASGBQzQT{number:012d}",
                "timestamp": "1795338000",
                "type": "text",
                "text": {"body": "Is the lemon cake available for Saturday?"},
            }
            for customer, number in zip(customers, numbers, strict=True)
        ],
    }
    change = {"field": "messages", "value": value}
    payload = {
        "object": "whatsapp_business_account",
        "entry": [{"id": "330021987654321", "time": 1795338000, "changes": [change]}],
    }
    body = json.dumps(payload).encode()
    return post(PATH, body, {"X-Hub-Signature-256": sign(body, SECRET)})
