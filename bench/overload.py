"""More than it can do: a shop whose customers write once a second, while its neighbours bring more
than two workers answer. What one of its customers waits, from the webhook's POST to the reply's
arrival at the Graph API, beside the same shop alone; how long until the message is a row; and
whether one tenant is answered as fast as the same load spread over twenty.

The whole product: ingress, RabbitMQ, PostgreSQL, two workers with all roles, all on this machine.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp

from bench.harness import Figures, Result, Spread, percentile, tested
from bench.outside import outside, told
from bench.prepared import Prepared, Variant, databases
from bench.turn import environment
from handlers.ingest_log.rabbitmq.topology import declare_topology
from handlers.whatsapp.cloud_api.signature import sign
from local.servers.daemon import free_ports
from local.servers.rabbitmq import rabbitmq
from local.stack import COMMAND, until_ready

SECRET = "bench-secret"  # noqa: S105 - nobody's
MODEL_S = 0.2
WORKERS = 2
SHOP = Variant("shop", tenants=1)
BIG = Variant("big", tenants=1)
TWENTY = Variant("twenty", tenants=20)
REFUSED = Variant("refused", tenants=1)
PER_S = 200.0
CROWD = 3_000
DRAIN_S = 300.0
FIRST = 491_510_000_000  # customers' numbers

_customers = count(FIRST)


@dataclass(slots=True)
class World:
    prepared: Prepared
    outside: str
    ingress: str
    http: aiohttp.ClientSession
    sent: dict[str, float] = field(default_factory=dict)  # customer: when the reply was there

    async def write(self, chatbot: tuple[int, int], numbers: dict[int, tuple[str, str]]) -> str:
        """A customer that nobody knew writes; their number."""
        phone_number_id, display = numbers[chatbot[1]]
        customer = str(next(_customers))
        body = json.dumps(_webhook(phone_number_id, display, customer)).encode()
        headers = {"X-Hub-Signature-256": sign(body, SECRET), "Content-Type": "application/json"}
        while True:  # as Meta repeats
            async with self.http.post(self.ingress, data=body, headers=headers) as answer:
                if answer.status == 200:
                    return customer
            await asyncio.sleep(0.2)

    async def look(self) -> None:
        for to, at in (await told(self.outside))["sends"]:
            self.sent.setdefault(to, at)


def _webhook(phone_number_id: str, display: str, customer: str) -> dict[str, Any]:
    return {
        "object": "whatsapp_business_account",
        "entry": [
            {
                "id": "440011",
                "changes": [
                    {
                        "field": "messages",
                        "value": {
                            "messaging_product": "whatsapp",
                            "metadata": {
                                "display_phone_number": display,
                                "phone_number_id": phone_number_id,
                            },
                            "contacts": [{"profile": {"name": "Ada"}, "wa_id": customer}],
                            "messages": [
                                {
                                    "from": customer,
                                    "id": f"wamid.{customer}",
                                    "timestamp": str(int(time.time())),
                                    "type": "text",
                                    "text": {"body": "Are you open on Saturday, and until when?"},
                                }
                            ],
                        },
                    }
                ],
            }
        ],
    }


async def run(quick: bool) -> list[Result]:
    seconds = 8.0 if quick else 40.0
    async with _world() as world:
        result = Result("overload", "A shop with a message a second, beside neighbours with more")
        await _case(world, SHOP, seconds / 4)  # warms up
        idle = await _case(world, SHOP, seconds)
        cases: dict[str, Callable[[], Awaitable[Figures]]] = {
            f"one tenant, {PER_S:.0f} a second": lambda: _case(world, BIG, seconds, PER_S),
            f"twenty tenants, {PER_S:.0f} a second": lambda: _case(world, TWENTY, seconds, PER_S),
            f"{CROWD:,} of one tenant wait": lambda: _crowded(world, BIG, seconds, quick),
            f"{CROWD:,} whose token is refused": lambda: _crowded(world, REFUSED, seconds, quick),
        }
        seen = {"alone": idle} | {name: await case() for name, case in cases.items()}
        for name, figures in seen.items():
            result.sides[name] = {figure: Spread.of([value]) for figure, value in figures.items()}
        bound = 2 * idle["reply_p99_s"] + 1
        for name in cases:
            result.goal(f"{name}: reply p99, s", seen[name]["reply_p99_s"], bound, at_least=False)
            if "refused" not in name:
                result.goal(f"{name}: unanswered", seen[name]["unanswered"], 0, at_least=False)
        return [result, await _shares(world, quick)]


async def _shares(world: World, quick: bool) -> Result:
    """The same crowd in one tenant and in twenty, by turns."""
    result = Result("overload_shares", "Answers a second: one tenant beside twenty")
    size, rounds = (200, 1) if quick else (800, 5)
    rates: dict[str, list[float]] = {"one": [], "twenty": []}
    for number in range(rounds):
        order = [("one", BIG), ("twenty", TWENTY)]
        for name, variant in order if number % 2 else reversed(order):
            conversations = await _waiting(world, variant, size)
            began = time.time()
            await world.prepared.due(conversations)
            await world.prepared.answered(conversations, DRAIN_S)
            rates[name].append(size / (time.time() - began))
        print(f"  overload_shares: round {number + 1} of {rounds}", flush=True)
    for name, values in rates.items():
        result.sides[name] = {"answers_per_s": Spread.of(values)}
    result.goal("one / twenty", result.compare("answers_per_s", "one", "twenty"), 0.8)
    return result


async def _waiting(world: World, variant: Variant, size: int) -> list[int]:
    conversations = await world.prepared.conversations(variant, size)
    await world.prepared.ask(variant, conversations)
    await world.prepared.vacuum()
    return conversations


async def _crowded(world: World, variant: Variant, seconds: float, quick: bool) -> Figures:
    conversations = await _waiting(world, variant, CROWD // 10 if quick else CROWD)
    await world.prepared.due(conversations)
    figures = await _case(world, SHOP, seconds)
    began = time.time()
    await world.prepared.answered(conversations, DRAIN_S)
    return figures | {"drained_s": time.time() - began}


async def _case(world: World, neighbours: Variant, seconds: float, per_s: float = 0.0) -> Figures:
    """The shop's customers write once a second; others at `per_s`."""
    numbers = await _numbers(world.prepared)
    shop, others = world.prepared.chatbots[SHOP.name][0], world.prepared.chatbots[neighbours.name]
    posted: dict[str, float] = {}
    crowd: list[str] = []

    async def one(_: int) -> None:
        began = time.time()
        posted[await world.write(shop, numbers)] = began

    async def other(n: int) -> None:
        crowd.append(await world.write(others[n % len(others)], numbers))

    async with asyncio.TaskGroup() as group:
        group.create_task(_at_rate(one, 1.0, seconds))
        if per_s:
            group.create_task(_at_rate(other, per_s, seconds))
    began = time.time()
    await _until(world, list(posted))
    figures = await _figures(world, posted)
    if per_s:
        await _until(world, crowd)
        figures["drained_s"] = time.time() - began
        figures["unanswered"] = float(sum(one not in world.sent for one in crowd))
    else:
        figures["unanswered"] = 0.0
    return figures


async def _at_rate(work: Callable[[int], Awaitable[None]], per_s: float, seconds: float) -> None:
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for n in range(int(per_s * seconds)):
            if (wait := began + n / per_s - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            group.create_task(work(n))


async def _until(world: World, customers: Sequence[str]) -> None:
    deadline = time.monotonic() + DRAIN_S
    while time.monotonic() < deadline:
        await world.look()
        if all(one in world.sent for one in customers):
            return
        await asyncio.sleep(0.2)


async def _figures(world: World, posted: dict[str, float]) -> Figures:
    rows = await world.prepared.owner.fetch(
        "SELECT replace(message_id, 'wamid.', '') AS customer,"
        " extract(epoch FROM created_at)::float8 AS at FROM messages"
        " WHERE direction = 'inbound' AND message_id = ANY ($1::text[])",
        [f"wamid.{customer}" for customer in posted],
    )
    recorded = sorted(row["at"] - posted[row["customer"]] for row in rows)
    replies = sorted(world.sent.get(one, float("inf")) - at for one, at in posted.items())
    return {
        "reply_p50_s": percentile(replies, 0.5),
        "reply_p99_s": percentile(replies, 0.99),
        "recorded_p50_s": percentile(recorded, 0.5),
        "recorded_p99_s": percentile(recorded, 0.99),
    }


async def _numbers(prepared: Prepared) -> dict[int, tuple[str, str]]:
    rows = await prepared.owner.fetch(
        "SELECT id, phone_number_id, ltrim(whatsapp_phone_number, '+') FROM chatbots"
    )
    return {row[0]: (row[1], row[2]) for row in rows}


@asynccontextmanager
async def _world() -> AsyncIterator[World]:
    async with AsyncExitStack() as ending:
        prepared = (await ending.enter_async_context(databases("product")))["product"]
        broker = await ending.enter_async_context(rabbitmq())
        url = await ending.enter_async_context(outside())
        await declare_topology(broker.url)
        for variant in (SHOP, BIG, TWENTY, REFUSED):
            await prepared.add_tenants(variant)
        await told(url, f"latency/{MODEL_S}")
        for _, chatbot_id in prepared.chatbots[REFUSED.name]:
            await told(url, f"refuse/{(await _numbers(prepared))[chatbot_id][0]}")
        values = environment(prepared, url) | {
            "AMQP_URL": broker.url,
            "WHATSAPP_APP_SECRET": SECRET,
            "WHATSAPP_VERIFY_TOKEN": "bench",
            "HOST": "127.0.0.1",
            "LOG_LEVEL": os.environ.get("LOG_LEVEL", "warning"),
        }
        ports = free_ports(WORKERS + 1)
        for port in ports[1:]:
            worker = await ending.enter_async_context(
                tested("worker", [str(COMMAND), "worker"], values | {"METRICS_PORT": str(port)})
            )
            await until_ready(worker, f"http://127.0.0.1:{port}/readyz")
        ingress = await ending.enter_async_context(
            tested("ingress", [str(COMMAND), "ingress"], values | {"PORT": str(ports[0])})
        )
        await until_ready(ingress, f"http://127.0.0.1:{ports[0]}/readyz")
        connector = aiohttp.TCPConnector(limit=100)
        http = await ending.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield World(prepared, url, f"http://127.0.0.1:{ports[0]}/webhooks/whatsapp", http)
