"""A shop under fire: who orders in it, who moves its orders, and who kills what they need."""

import asyncio
import random
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeAlias

import aiohttp

from handlers.rules.orders import NUMBER_LETTERS
from local.servers.postgres import Postgres
from local.servers.rabbitmq import RabbitMQ
from simulator.meta import new_wamid
from tests.api import Answer, Client
from tests.chaos.run import AWAY, Records
from tests.e2e.conftest import Bot, Product, until

CAKE, TART = "CAKE-1", "TART-1"
PRICES = {CAKE: "38.50", TART: "4.20"}
NUMBER = re.compile(rf"\b[{NUMBER_LETTERS}]{{4}}-[{NUMBER_LETTERS}]{{4}}\b")
Blow: TypeAlias = Literal["worker", "database", "broker"]
AT_ONCE = 40
# Then a customer writes or presses again: what they got may have been given up, after two kills.
PATIENCE_S = 45.0
TRIES = 12
STARTS_S = 240.0  # a worker, on a machine that others use too
AWAY_S = 1.0  # a server, before it is started again


@dataclass(frozen=True, slots=True)
class Servers:
    database: Postgres
    broker: RabbitMQ


@dataclass(slots=True)
class Fire:
    """What is ordered, by whom, and what came of it."""

    product: Product
    bot: Bot
    records: Records
    client: Client
    till: int  # the contact for whom a program orders
    wanted: int
    askers: int
    done: int = 0
    came: defaultdict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    asked_again: int = 0
    moves: set[tuple[int, str]] = field(default_factory=set)  # an order, and what it became
    blows: dict[str, int] = field(default_factory=lambda: defaultdict(int))


# ---- those who order -----------------------------------------------------------------------------


async def listen(fire: Fire) -> None:
    """What came to whom."""
    seq = 0
    while True:
        with suppress(aiohttp.ClientError):
            for entry in await fire.product.simulator.log("send", since=seq):
                seq = max(seq, entry["seq"])
                if entry["outcome"] == "accepted":
                    fire.came[str(entry["to"]).lstrip("+")].append(entry["body"])
        await asyncio.sleep(0.2)


def button_of(body: dict[str, Any]) -> str | None:
    action = body.get("interactive", {}).get("action", {})
    return action["buttons"][0]["reply"]["id"] if "buttons" in action else None


def customer_of(n: int) -> str:
    return f"1303{n:07}"


async def shopper(fire: Fire, n: int) -> None:
    """Talks or sends a cart, and presses whatever button comes, twice; until an order is told."""
    customer = customer_of(n)
    say = partial(wish if n % 2 else cart, fire, customer)
    await sent(say)
    seen = 0
    for _ in range(TRIES):
        if not await more_than(fire, customer, seen):
            fire.asked_again += 1
            await sent(say)
            continue
        token, seen = button_of(fire.came[customer][seen]), seen + 1
        if token is None:
            if told_of(fire.came[customer][seen - 1]):
                return
            continue
        say = partial(press, fire, customer, token)
        for _ in range(2):
            await sent(say)
    raise AssertionError(f"customer {n} never got an order: {fire.came[customer]}")


async def more_than(fire: Fire, customer: str, seen: int) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while len(fire.came[customer]) <= seen:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True


def told_of(body: dict[str, Any]) -> list[str]:
    """The numbers of orders in a message."""
    return NUMBER.findall(str(body.get("text", {}).get("body", "")))


async def wish(fire: Fire, customer: str, wamid: str) -> None:
    number = fire.bot.phone_number_id
    await fire.product.simulator.say(number, customer, "I want cake", wamids=[wamid])


async def cart(fire: Fire, customer: str, wamid: str) -> None:
    items = [
        {"product_retailer_id": sku, "quantity": 1, "item_price": price, "currency": "USD"}
        for sku, price in PRICES.items()
    ]
    number = fire.bot.phone_number_id
    await fire.product.simulator.do(number, customer, "order", items=items, wamid=wamid)


async def press(fire: Fire, customer: str, token: str, wamid: str) -> None:
    number, more = fire.bot.phone_number_id, {"choice": token, "text": "Place the order"}
    await fire.product.simulator.do(number, customer, "button_reply", wamid=wamid, **more)


async def sent(send: Callable[[str], Awaitable[object]]) -> None:
    """Under one wamid, as often as it takes: what was lost on the way may have come."""
    wamid = new_wamid()
    for _ in range(20):
        try:
            await send(wamid)
            return
        except aiohttp.ClientError:
            await asyncio.sleep(0.2)
    raise AssertionError("the simulator is away")


async def asker(fire: Fire, n: int) -> None:
    """Who only looks."""
    number = fire.bot.phone_number_id
    customer = customer_of(fire.wanted + n)
    await sent(lambda w: fire.product.simulator.say(number, customer, "Hello?", wamids=[w]))


async def by_program(fire: Fire, n: int) -> None:
    """One order, the same however often it had to be asked for; without tarts when there are
    none."""
    for skus, key in ((PRICES, f"order-{n}"), ([CAKE], f"order-{n}-cake")):
        body = {
            "chatbot_id": fire.bot.chatbot_id,
            "contact_id": fire.till,
            "items": [{"product_sku": sku, "quantity": 1} for sku in skus],
        }
        post = partial(fire.client.post, "/orders", body, Idempotency_Key=key)
        if (await answered(post)).status == 201:
            return
    raise AssertionError("there is always cake")


async def answered(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """By the product itself, and not because something of it is away."""
    while True:
        with suppress(aiohttp.ClientError, TimeoutError):
            answer = await call()
            if answer.status < 500 and answer.status != 429:
                if answer.status in (200, 201) or answer.problem == "out_of_stock":
                    return answer
                assert answer.problem == "idempotency_in_progress", answer
        await asyncio.sleep(0.3)


# ---- those who move orders -----------------------------------------------------------------------


def fate_of(order_id: int) -> list[tuple[str, str]]:
    """Columns that an order gets, one after the other."""
    moves = [("payment_status", "paid")] if order_id % 2 == 0 else []
    if order_id % 5 == 0:
        moves.append(("status", "cancelled"))
    elif order_id % 3 == 0:
        moves.append(("status", "confirmed"))
    return moves


async def clerk(fire: Fire, over: asyncio.Event) -> None:
    """Pays, confirms and cancels while it burns, each twice at once; and what is left, after it."""
    moved = 0
    while True:
        ending = over.is_set()
        rows = []
        with suppress(*AWAY):
            rows = await fire.records.rows(
                "SELECT id FROM orders WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT 20",
                *(fire.bot.user_id, moved),
            )
            if ending and not rows:
                return
        for row in rows:
            for column, state in fate_of(row["id"]):
                patch = partial(fire.client.patch, f"/orders/{row['id']}", {column: state})
                await asyncio.gather(answered(patch), answered(patch))
                fire.moves.add((row["id"], state))
            moved = row["id"]
        await asyncio.sleep(0.2)


# ---- those who kill ------------------------------------------------------------------------------


def blows_of(orders: int) -> list[tuple[int, Blow]]:
    """After how many orders what is killed: a worker and some connections again and again, the
    database and the broker in the middle."""
    every = max(8, orders // 40)
    workers: list[tuple[int, Blow]] = [(at, "worker") for at in range(3, orders, every)]
    parts = (3,) if orders < 100 else (3, 7)
    others: list[tuple[int, Blow]] = [(orders * part // 10, "database") for part in parts]
    others.append((orders // 2, "broker"))
    return sorted([*workers, *others])


async def killer(fire: Fire, servers: Servers) -> None:
    dice = random.Random(7)
    for at, blow in blows_of(fire.wanted):
        while fire.done < at:
            await asyncio.sleep(0.1)
        if blow == "worker" and fire.done == fire.wanted:
            continue  # where workers start slower than people order: nobody would be hit
        fire.blows[blow] += 1
        match blow:
            case "worker":
                await _kill_worker(fire.product, dice)
                await _cut_connections(fire)
            case "database":
                await _crash(servers.database)
            case "broker":
                await _crash(servers.broker)


async def _kill_worker(product: Product, dice: random.Random) -> None:
    alive = [p for p in product.stack.processes if p.name == "worker" and p.returncode is None]
    dice.choice(alive).kill()
    await product.stack.start_worker(patience_s=STARTS_S)


async def _cut_connections(fire: Fire) -> None:
    with suppress(*AWAY):
        await fire.records.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND datname = current_database() AND usename <> current_user"
            " ORDER BY random() LIMIT 3"
        )


async def _crash(server: Postgres | RabbitMQ) -> None:
    await server.crash()
    await asyncio.sleep(AWAY_S)
    await server.start()


# ---- all of them ---------------------------------------------------------------------------------


async def burn(fire: Fire, servers: Servers, say: Callable[[str], None]) -> None:
    """Until everybody has what they wanted and nothing is open any more."""
    over, places = asyncio.Event(), asyncio.Semaphore(AT_ONCE)
    began = time.monotonic()

    async def one(n: int) -> None:
        async with places:
            await (by_program if n % 3 == 2 else shopper)(fire, n)
        fire.done += 1
        if fire.done % 100 == 0:
            say(f"{time.monotonic() - began:6.0f} s  {fire.done} of {fire.wanted} have ordered")

    listening = asyncio.create_task(listen(fire))
    try:
        async with asyncio.TaskGroup() as beside:
            killing = beside.create_task(killer(fire, servers))
            beside.create_task(clerk(fire, over))
            async with asyncio.TaskGroup() as all_of_them:
                for n in range(fire.wanted):
                    all_of_them.create_task(one(n))
                for n in range(fire.askers):
                    all_of_them.create_task(asker(fire, n))
            await killing
            over.set()
        await fire.product.reconnect()
        await until(partial(open_work, fire), lambda n: n == 0, PATIENCE_S * 4)
        await asyncio.sleep(1)  # what came last is heard
    finally:
        listening.cancel()


async def open_work(fire: Fire) -> int:
    (row,) = await fire.records.rows(
        "SELECT (SELECT count(*) FROM conversations WHERE user_id = $1 AND (lease_owner IS NOT NULL"
        " OR input_seq > answered_seq)) + (SELECT count(*) FROM messages WHERE user_id = $1"
        " AND status IN ('queued', 'sending', 'unknown')) AS n",
        fire.bot.user_id,
    )
    return int(row["n"])


def numbers_told(fire: Fire, customers: Sequence[str]) -> dict[str, set[str]]:
    return {one: {n for body in fire.came[one] for n in told_of(body)} for one in customers}
