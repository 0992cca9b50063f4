"""A shop under fire: orders by talking, by carts and by the API at once, presses that come twice,
and workers and the database's connections killed in the middle.

`SHOP_ORDERS=2000 python -m pytest tests/e2e/test_shop.py` makes it large.
"""

import asyncio
import os
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp
import asyncpg
import pytest

from db.ids import UserId
from db.reconcile import recount
from simulator.meta import new_wamid
from tests.api import Client
from tests.e2e.conftest import Bot, Product, until

ORDERS = int(os.environ.get("SHOP_ORDERS", "24"))
AT_ONCE = 40
PATIENCE_S = 60.0 + ORDERS
CAKE, TART = "CAKE-1", "TART-1"
PRICES = {CAKE: "38.50", TART: "4.20"}


@dataclass
class Phones:
    """What came to whom."""

    product: Product
    bot: Bot
    came: defaultdict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    seq: int = 0

    async def listen(self) -> None:
        while True:
            with suppress(aiohttp.ClientError):
                for entry in await self.product.simulator.log("send", since=self.seq):
                    self.seq = max(self.seq, entry["seq"])
                    if entry["outcome"] == "accepted":
                        self.came[str(entry["to"]).lstrip("+")].append(entry["body"])
            await asyncio.sleep(0.2)

    async def next_of(self, customer: str, seen: int) -> dict[str, Any]:
        async def count() -> int:
            return len(self.came[customer])

        await until(count, lambda n: n > seen, PATIENCE_S)
        return self.came[customer][seen]


def button_of(body: dict[str, Any]) -> str | None:
    action = body.get("interactive", {}).get("action", {})
    return action["buttons"][0]["reply"]["id"] if "buttons" in action else None


async def shopper(phones: Phones, n: int) -> str:
    """Talks or sends a cart, and presses whatever button comes, twice; until none does."""
    simulator, number = phones.product.simulator, phones.bot.phone_number_id
    customer = f"1303{n:07}"
    if n % 2:
        await sent(lambda w: simulator.say(number, customer, "I want cake", wamids=[w]))
    else:
        cart = [
            {"product_retailer_id": sku, "quantity": 1, "item_price": price, "currency": "USD"}
            for sku, price in PRICES.items()
        ]
        await sent(lambda w: simulator.do(number, customer, "order", items=cart, wamid=w))
    for seen in range(6):
        token = button_of(await phones.next_of(customer, seen))
        if token is None:
            return "done"
        for _ in range(2):
            await sent(partial(press, phones, customer, token))
    return "never done"


async def press(phones: Phones, customer: str, token: str, wamid: str) -> None:
    number, more = phones.bot.phone_number_id, {"choice": token, "text": "Place the order"}
    await phones.product.simulator.do(number, customer, "button_reply", wamid=wamid, **more)


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


async def by_api(client: Client, bot: Bot, contact_id: int, n: int) -> int:
    """What came of it, the same however often it had to be asked."""
    items = [{"product_sku": sku, "quantity": 1} for sku in PRICES]
    body = {"chatbot_id": bot.chatbot_id, "contact_id": contact_id, "items": items}
    while True:
        try:
            answer = await client.post("/orders", body, Idempotency_Key=f"order-{n}")
        except aiohttp.ClientError:
            continue
        if answer.status in (201, 409):
            return answer.status
        assert answer.status in (429, 500, 503), answer
        await asyncio.sleep(0.2)


async def killer(product: Product, over: asyncio.Event) -> None:
    """A worker, then connections; again and again."""
    looking = await asyncpg.connect(product.owner_url)
    dice = random.Random(7)
    while not over.is_set():
        await asyncio.sleep(2.0)
        workers = [
            p for p in product.stack.processes if p.name == "worker" and p.returncode is None
        ]
        dice.choice(workers).kill()
        await product.stack.start_worker(patience_s=PATIENCE_S)
        await looking.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND datname = current_database() AND usename <> current_user"
            " ORDER BY random() LIMIT 3"
        )
    await looking.close()


@pytest.mark.timeout(240 + 6 * ORDERS)
async def test_orders_under_fire(product: Product, workers: None) -> None:
    bot = await product.bot(daily=100_000)
    tarts = ORDERS * 2 // 3  # there are fewer than are wanted
    await product.simulator.config(webhook_retry=True)
    await product.owner.execute(
        "UPDATE user_subscriptions SET monthly_message_limit = 100000 WHERE user_id = $1",
        bot.user_id,
    )
    await product.owner.execute(
        "INSERT INTO products (user_id, sku, name, price, stock) VALUES"
        " ($1, 'CAKE-1', 'Lemon cake', 38.50, 1000000), ($1, 'TART-1', 'Walnut tart', 4.20, $2)",
        *(bot.user_id, tarts),
    )
    wanted = [{"sku": sku, "quantity": 1} for sku in PRICES]
    cake_alone = [{"sku": CAKE, "quantity": 1}]
    await product.simulator.rules(
        {"tool_match": "Only the|total", "reply": "Gladly."},
        {
            "tool_match": "there are",
            "tool_calls": [{"name": "quote", "arguments": {"items": cake_alone}}],
        },
        {"match": "I want cake", "tool_calls": [{"name": "quote", "arguments": {"items": wanted}}]},
    )
    made = await product.stack.command(
        *("apikey", "create", "--user", str(bot.user_id), "--name", "till", "--json")
    )
    contact_id = await product.owner.fetchval(
        "INSERT INTO contacts (user_id, chatbot_id, phone_number, thread_id)"
        " VALUES ($1, $2, '+13039999999', $1::bigint || ':till') RETURNING id",
        *(bot.user_id, bot.chatbot_id),
    )
    phones, over, places = Phones(product, bot), asyncio.Event(), asyncio.Semaphore(AT_ONCE)
    listening = asyncio.create_task(phones.listen())
    killing = asyncio.create_task(killer(product, over))
    async with aiohttp.ClientSession() as http:
        client = Client(product.stack.ingress_url, http, made["api_key"])

        async def one(n: int) -> object:
            async with places:
                if n % 3 == 2:
                    return await by_api(client, bot, contact_id, n)
                return await shopper(phones, n)

        came = Counter(await asyncio.gather(*(one(n) for n in range(ORDERS))))
    over.set()
    await killing
    listening.cancel()
    await product.settled(bot)
    people = sum(n % 3 != 2 for n in range(ORDERS))
    assert came["done"] == people, came
    await judge(product, bot, tarts, people, came[201])


async def judge(product: Product, bot: Bot, tarts: int, people: int, by_program: int) -> None:
    owner = product.owner
    orders = "SELECT count(*) FROM orders WHERE user_id = $1"
    of_quotes = await owner.fetchval(f"{orders} AND quote_id IS NOT NULL", bot.user_id)
    assert await owner.fetchval(f"{orders} AND quote_id IS NULL", bot.user_id) == by_program
    ordered = await owner.fetchval(
        "SELECT count(*) FROM quotes WHERE user_id = $1 AND status = 'ordered'", bot.user_id
    )
    # Everybody who wanted to got what there was: one order each, whatever was killed.
    assert (of_quotes, ordered) == (people, people)
    whose = await owner.fetch(
        "SELECT contact_id FROM orders WHERE user_id = $1 AND quote_id IS NOT NULL", bot.user_id
    )
    assert len({row[0] for row in whose}) == people
    sold = await owner.fetchval(
        "SELECT sum(quantity) FROM order_items WHERE user_id = $1 AND product_sku = 'TART-1'",
        bot.user_id,
    )
    left = await owner.fetchval(
        "SELECT stock FROM products WHERE user_id = $1 AND sku = 'TART-1'", bot.user_id
    )
    assert left >= 0
    assert sold + left == tarts
    wrong = await owner.fetchval(
        "SELECT count(*) FROM orders o WHERE o.user_id = $1 AND o.total_amount IS DISTINCT FROM"
        " (SELECT sum(i.quantity * i.unit_price) FROM order_items i WHERE i.order_id = o.id)",
        bot.user_id,
    )
    assert wrong == 0
    told = await owner.fetchval(
        "SELECT count(DISTINCT event_data ->> 'order_id') FROM analytics_events"
        " WHERE user_id = $1 AND event_type = 'order.created'",
        bot.user_id,
    )
    assert told == people + by_program
    await owner.execute("UPDATE orders SET payment_status = 'paid' WHERE user_id = $1", bot.user_id)
    month = await owner.fetchrow(
        "SELECT total_orders_created, total_revenue FROM monthly_usage_summary WHERE user_id = $1",
        bot.user_id,
    )
    summed = await owner.fetchrow(
        "SELECT count(*), sum(total_amount) FROM orders WHERE user_id = $1", bot.user_id
    )
    assert month is not None
    assert summed is not None
    assert tuple(month) == tuple(summed)
    found = await recount(owner, UserId(bot.user_id))
    assert [f for f in found if f.what.counter in ("total_orders_created", "total_revenue")] == []
    print(
        f"{summed[0]} orders ({people} by press, {by_program} by API) over {summed[1]}: one a"
        f" quote, {left} of {tarts} left, counters equal"
    )
