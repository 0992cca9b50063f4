"""`make bench`: the ingress beside a bare floor in the same run; the ratio counts.

The floor does what cannot be left out: check the HMAC, parse, publish with confirm. The product
besides takes the POST apart, looks the tenant up, writes envelopes, metrics and its log line.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import aio_pika
import aiohttp
from aiohttp import web

from cli.servers import postgres, rabbitmq
from db.migrate import migrate
from db.pool import connect_owner
from handlers import telemetry
from handlers.ingest_log.rabbitmq import EXCHANGE, connect, declare, declare_topology
from handlers.whatsapp.signature import is_signed, sign
from ingress import settings
from ingress.app import create_app
from ingress.webhook import PATH

SECRET = "bench-secret"  # noqa: S105 - nobody's
RESULTS = Path(__file__).parent / "results"
ROUNDS = 5  # floor and product in turns, so that both meet the same weather
REQUESTS = 1_500  # a round and a side
CONCURRENCY = 50


@dataclass(frozen=True, slots=True)
class Side:
    """Medians over the rounds."""

    webhooks_per_s: float
    p50_ms: float
    p99_ms: float


async def main() -> None:
    telemetry.configure("warning", "json", "bench")
    print("starting private servers ...", flush=True)
    async with postgres() as database, rabbitmq() as broker:
        await migrate(database.url, database.url, lambda _: None)
        await declare_topology(broker.url)
        await _register_number(database.url)
        read = settings.read(
            {
                "DATABASE_URL": database.url,
                "AMQP_URL": broker.url,
                "WHATSAPP_APP_SECRET": SECRET,
                "WHATSAPP_VERIFY_TOKEN": "bench",
            }
        )
        product, floor = await create_app(read), await _floor(broker.url)
        async with _served(product) as product_url, _served(floor) as floor_url:
            await _until_ready(product_url)
            rounds: dict[str, list[Side]] = {"floor": [], "product": []}
            for number in range(ROUNDS):
                for name, url in (("floor", floor_url), ("product", product_url)):
                    rounds[name].append(await _round(url))
                    await _purge(broker.url)
                print(f"round {number + 1} of {ROUNDS}", flush=True)
    _report({name: _median(sides) for name, sides in rounds.items()})


async def _register_number(url: str) -> None:
    """A known number, as nearly every webhook has: what the look-up costs is cached."""
    conn = await connect_owner(url)
    await conn.execute(
        "INSERT INTO users (email, password_hash) VALUES ('bench@example.com', '!');"
        "INSERT INTO chatbots (user_id, name, whatsapp_phone_number, phone_number_id)"
        " SELECT id, 'bench', '+12025550143', '4098712345' FROM users"
    )
    await conn.close()


async def _floor(url: str) -> web.Application:
    connection = await connect(url, "bench floor")
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    await declare(channel)
    exchange = await channel.get_exchange(EXCHANGE, ensure=False)

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        if not is_signed(body, request.headers.get("X-Hub-Signature-256"), (SECRET,)):
            return web.Response(status=401)
        json.loads(body)
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await exchange.publish(message, routing_key="p00", mandatory=True)
        return web.Response(text="durable")

    async def close(_: web.Application) -> None:
        await connection.close()

    app = web.Application()
    app.add_routes([web.post(PATH, receive)])
    app.on_cleanup.append(close)
    return app


class _served:  # noqa: N801 - reads as the verb it is
    """The app on a free port of its own."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


async def _until_ready(url: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(20):
        while True:
            async with session.get(f"{url}/readyz") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.05)


async def _round(url: str) -> Side:
    bodies = [_body(number) for number in range(REQUESTS)]
    took: list[float] = []
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector) as session:
        numbers = iter(range(REQUESTS))

        async def sender() -> None:
            for number in numbers:
                body = bodies[number]
                headers = {"X-Hub-Signature-256": sign(body, SECRET)}
                started = time.perf_counter()
                async with session.post(f"{url}{PATH}", data=body, headers=headers) as response:
                    if response.status != 200:
                        raise RuntimeError(f"{response.status}: {await response.text()}")
                took.append((time.perf_counter() - started) * 1000)

        started = time.perf_counter()
        await _together(CONCURRENCY, sender)
        total = time.perf_counter() - started
    took.sort()
    return Side(REQUESTS / total, took[len(took) // 2], took[len(took) * 99 // 100])


async def _together(count: int, work: Callable[[], Awaitable[None]]) -> None:
    async def one() -> None:
        await work()

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one())


async def _purge(url: str) -> None:
    connection = await connect(url, "bench purge")
    async with connection, connection.channel() as channel:
        for number in range(16):
            await (await channel.get_queue(f"wa.in.{number:02d}", ensure=False)).purge()


def _body(number: int) -> bytes:
    customer = f"1202555{number % 200:04d}"
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "12025550143", "phone_number_id": "4098712345"},
        "contacts": [{"profile": {"name": "Noor"}, "wa_id": customer}],
        "messages": [
            {
                "from": customer,
                "id": f"wamid.{number:08d}",
                "timestamp": "1795338000",
                "type": "text",
                "text": {"body": "Is the lemon cake available for Saturday?"},
            }
        ],
    }
    change = {"field": "messages", "value": value}
    payload = {
        "object": "whatsapp_business_account",
        "entry": [{"id": "330021987654321", "changes": [change]}],
    }
    return json.dumps(payload).encode()


def _median(sides: list[Side]) -> Side:
    return Side(
        *(
            statistics.median(getattr(side, name) for side in sides)
            for name in ("webhooks_per_s", "p50_ms", "p99_ms")
        )
    )


def _report(sides: dict[str, Side]) -> None:
    print(f"\ningress, single messages, {CONCURRENCY} at a time, client on the same cores")
    print("            webhooks/s   p50 ms   p99 ms")
    for name, side in sides.items():
        print(f"  {name:<8} {side.webhooks_per_s:>11.0f} {side.p50_ms:>8.1f} {side.p99_ms:>8.1f}")
    ratio = sides["product"].webhooks_per_s / sides["floor"].webhooks_per_s
    print(f"  product / floor: {ratio:.2f}")
    RESULTS.mkdir(exist_ok=True)
    result = {"ratio": ratio, "sides": {name: asdict(side) for name, side in sides.items()}}
    (RESULTS / "ingress.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
