"""A shop under fire: orders by talking, by carts and by the API at once, presses that come twice,
orders that are paid and cancelled meanwhile, and workers, the database and the broker killed.

`SHOP_ORDERS=2000 python -m pytest -s tests/e2e/test_shop.py` makes it large, as `make chaos` does.
"""

import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from functools import partial
from typing import Any

import aiohttp
import pytest

from local.servers.postgres import Postgres
from local.servers.rabbitmq import RabbitMQ
from tests.api import Client
from tests.chaos.run import Records
from tests.e2e.conftest import Product, until
from tests.e2e.shopping import (
    CAKE,
    PRICES,
    TART,
    Fire,
    Servers,
    burn,
    customer_of,
    fate_of,
    numbers_told,
)

ORDERS = int(os.environ.get("SHOP_ORDERS", "24"))
CAKES, TARTS = 1_000_000, ORDERS * 2 // 3  # of tarts there are fewer than are wanted
ASKERS = max(3, ORDERS // 100)  # who write and order nothing
PEOPLE = sum(n % 3 != 2 for n in range(ORDERS))  # the others' orders are by the API
FIGURES_S = 90.0  # the scheduler makes them within a minute


@pytest.fixture
async def fire(product: Product, workers: None) -> AsyncIterator[Fire]:
    bot = await product.bot(daily=1_000_000)
    await product.owner.execute(
        "UPDATE user_subscriptions SET monthly_message_limit = 1000000 WHERE user_id = $1",
        bot.user_id,
    )
    await product.owner.execute(
        "INSERT INTO products (user_id, sku, name, price, stock) VALUES"
        " ($1, 'CAKE-1', 'Lemon cake', 38.50, $2), ($1, 'TART-1', 'Walnut tart', 4.20, $3)",
        *(bot.user_id, CAKES, TARTS),
    )
    await product.simulator.config(webhook_retry=True)
    wanted = [{"sku": sku, "quantity": 1} for sku in PRICES]
    await product.simulator.rules(
        {"tool_match": "Only the|total", "reply": "Gladly."},
        {"tool_match": "there are", **_quote([{"sku": CAKE, "quantity": 1}])},
        {"match": "I want cake", **_quote(wanted)},
    )
    key = await product.stack.command(
        *("apikey", "create", "--user", str(bot.user_id), "--name", "till", "--json")
    )
    till = await product.owner.fetchval(
        "INSERT INTO contacts (user_id, chatbot_id, phone_number, thread_id)"
        " VALUES ($1, $2, '+13039999999', $1::bigint || ':till') RETURNING id",
        *(bot.user_id, bot.chatbot_id),
    )
    records = Records(product.owner_url)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
        client = Client(product.stack.ingress_url, http, key["api_key"])
        yield Fire(product, bot, records, client, till, ORDERS, ASKERS)
    records.close()


def _quote(items: list[dict[str, object]]) -> dict[str, object]:
    return {"tool_calls": [{"name": "quote", "arguments": {"items": items}}]}


@pytest.mark.timeout(300 + 6 * ORDERS)
async def test_orders_under_fire(
    fire: Fire, postgres_server: Postgres, rabbitmq_server: RabbitMQ
) -> None:
    began = time.monotonic()
    say = partial(print, flush=True)
    await burn(fire, Servers(postgres_server, rabbitmq_server), say)
    burnt = time.monotonic() - began
    by_press = await each_quote_is_one_order(fire)
    await everybody_has_what_they_were_told(fire)
    stocks = await stock_is_exact(fire)
    await every_move_is_told_once(fire)
    orders, created, revenue = await counters_are_what_rows_say(fire)
    moved = dict(Counter(state for _, state in fire.moves))
    say(
        f"{orders} orders in {burnt:.0f} s ({by_press} by press, {orders - by_press} by API);"
        f" killed: {dict(fire.blows)}; written again: {fire.asked_again}; moved: {moved};"
        f" tarts {stocks}; total_orders_created {created}, total_revenue {revenue}, conversion"
        f" {PEOPLE} of {PEOPLE + ASKERS}, recounted equal"
    )


async def each_quote_is_one_order(fire: Fire) -> int:
    """And is of the items and the amount that were quoted. How many there are."""
    rows = await fire.records.rows(
        "SELECT q.id, q.status, q.total_amount AS agreed, count(o.id) AS orders,"
        " min(o.total_amount) AS total, bool_and(q.items = (SELECT jsonb_agg(jsonb_build_object("
        "'product_sku', i.product_sku, 'product_name', i.product_name, 'quantity', i.quantity,"
        " 'unit_price', i.unit_price::text, 'total_price', i.total_price::text) ORDER BY i.id)"
        " FROM order_items i WHERE i.order_id = o.id)) AS as_quoted"
        " FROM quotes q LEFT JOIN orders o ON o.user_id = q.user_id AND o.quote_id = q.id"
        " WHERE q.user_id = $1 GROUP BY q.id",
        fire.bot.user_id,
    )
    ordered = [row for row in rows if row["status"] == "ordered"]
    assert {row["orders"] for row in ordered} == {1}
    assert {row["orders"] for row in rows if row["status"] != "ordered"} <= {0}
    assert all(row["total"] == row["agreed"] and row["as_quoted"] for row in ordered)
    by = await fire.records.rows(
        "SELECT contact_id, count(*) AS n, count(quote_id) AS of_quotes FROM orders"
        " WHERE user_id = $1 GROUP BY 1",
        fire.bot.user_id,
    )
    n_of = {row["contact_id"]: (row["n"], row["of_quotes"]) for row in by}
    assert n_of.pop(fire.till) == (ORDERS - PEOPLE, 0)
    assert Counter(n_of.values()) == {(1, 1): PEOPLE}
    return len(ordered)


async def everybody_has_what_they_were_told(fire: Fire) -> None:
    rows = await fire.records.rows(
        "SELECT k.wa_id, array_agg(o.order_number) AS numbers FROM orders o"
        " JOIN contacts k ON k.id = o.contact_id WHERE o.user_id = $1 AND k.id <> $2 GROUP BY 1",
        *(fire.bot.user_id, fire.till),
    )
    customers = [customer_of(n) for n in range(ORDERS) if n % 3 != 2]
    assert {row["wa_id"]: set(row["numbers"]) for row in rows} == numbers_told(fire, customers)


async def stock_is_exact(fire: Fire) -> str:
    rows = await fire.records.rows(
        "SELECT p.sku, p.stock, coalesce(sum(i.quantity), 0)::int AS ordered,"
        " coalesce(sum(i.quantity) FILTER (WHERE o.status = 'cancelled'), 0)::int AS cancelled"
        " FROM products p LEFT JOIN order_items i ON i.user_id = p.user_id"
        " AND i.product_sku = p.sku LEFT JOIN orders o ON o.id = i.order_id"
        " WHERE p.user_id = $1 GROUP BY 1, 2",
        fire.bot.user_id,
    )
    of = {row["sku"]: row for row in rows}
    for sku, start in ((CAKE, CAKES), (TART, TARTS)):
        assert of[sku]["stock"] >= 0
        assert of[sku]["stock"] == start - of[sku]["ordered"] + of[sku]["cancelled"], sku
    tart = of[TART]
    return f"{TARTS} - {tart['ordered']} + {tart['cancelled']} = {tart['stock']}"


async def every_move_is_told_once(fire: Fire) -> None:
    """And every order: what was done to it, however often it was asked for."""
    rows = await fire.records.rows(
        "WITH told AS (SELECT (event_data ->> 'order_id')::bigint AS id,"
        " count(*) FILTER (WHERE event_type = 'order.created') AS created,"
        " count(*) FILTER (WHERE event_type = 'order.updated') AS updated"
        " FROM analytics_events WHERE user_id = $1 AND event_type LIKE 'order.%' GROUP BY 1)"
        " SELECT o.id, o.status, o.payment_status, t.created, t.updated,"
        " o.total_amount - (SELECT sum(i.quantity * i.unit_price) FROM order_items i"
        " WHERE i.user_id = $1 AND i.order_id = o.id) AS beside"
        " FROM orders o LEFT JOIN told t ON t.id = o.id WHERE o.user_id = $1",
        fire.bot.user_id,
    )
    for row in rows:
        moves = fate_of(row["id"])
        become = {"status": "pending", "payment_status": "pending", **dict(moves)}
        assert {column: row[column] for column in become} == become
        assert (row["created"], row["updated"], row["beside"]) == (1, len(moves), 0)


async def counters_are_what_rows_say(fire: Fire) -> tuple[int, int, object]:
    """All of them, as `usage reconcile` counts; the sums also by other words."""
    await until(fire.records.recounted, lambda found: not found, FIGURES_S)
    await fire.product.stack.command("usage", "reconcile", "--user", str(fire.bot.user_id))

    async def months() -> list[Any]:
        return await fire.records.rows(
            "SELECT sum(total_orders_created)::int AS created, sum(total_revenue) AS revenue,"
            " max(avg_conversion_rate) AS rate FROM monthly_usage_summary WHERE user_id = $1",
            fire.bot.user_id,
        )

    # Made anew within a minute of what it is made of.
    share = round(Decimal(PEOPLE) / (PEOPLE + ASKERS), 4)
    (month,) = await until(months, lambda rows: rows[0]["rate"] == share, FIGURES_S)
    (sums,) = await fire.records.rows(
        "SELECT count(*)::int AS n, sum(total_amount) FILTER (WHERE payment_status = 'paid') AS"
        " paid FROM orders WHERE user_id = $1",
        fire.bot.user_id,
    )
    assert (month["created"], month["revenue"]) == (sums["n"], sums["paid"])
    assert sums["n"] == ORDERS
    return sums["n"], month["created"], month["revenue"]
