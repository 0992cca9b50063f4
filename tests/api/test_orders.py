"""Orders are made of products, move along their graph, and add up, whoever writes them."""

import asyncio
import itertools
import json
import random
import re
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from typing import Any

import aiohttp
import asyncpg
import pytest

from db.orders import _FILTERS, _list_query
from db.pool import Conn, Pool, tenant
from db.reconcile import recount
from handlers.fixed.texts import Kind, fixed_text
from handlers.rules.orders import MOVES, NUMBER_LETTERS, possible
from tests.api import Answer, Client, make_order, make_webhook
from tests.api.conftest import Connect
from tests.conftest import Database
from tests.factories import Tenant, make_conversation, make_tenant
from tests.usage import differences

PRICES = {"CAKE": "38.50", "TEA": "2.25", "FREE": "0"}


async def stock(client: Client) -> None:
    for sku, price in PRICES.items():
        made = await client.post("/products", {"name": sku.title(), "sku": sku, "price": price})
        assert made.status == 201
    await client.post("/products", {"name": "Off", "sku": "OFF", "price": 1, "is_active": False})
    await client.post("/products", {"name": "Unpriced", "sku": "UNPRICED"})


@pytest.fixture
async def whose(owner: Conn, client: Client, ours: Tenant) -> dict[str, Any]:
    """What an order names beside its items; the products are there."""
    await stock(client)
    contact, _ = await make_conversation(owner, ours)
    return {"chatbot_id": ours.chatbot_id, "contact_id": contact}


def of(*items: tuple[str, int]) -> dict[str, Any]:
    return {"items": [{"product_sku": sku, "quantity": n} for sku, n in items]}


async def made(client: Client, whose: dict[str, Any], **more: Any) -> Any:
    answer = await client.post("/orders", whose | of(("CAKE", 2), ("TEA", 3)) | more)
    assert answer.status == 201, answer
    return answer.json


async def told(owner: Conn, *, of_type: str = "order.%") -> list[tuple[str, Any]]:
    rows = await owner.fetch(
        "SELECT event_type, event_data FROM analytics_events WHERE event_type LIKE $1 ORDER BY id",
        of_type,
    )
    return [(row["event_type"], json.loads(row["event_data"])) for row in rows]


async def months(owner: Conn, tenant_: Tenant) -> tuple[int, Any]:
    row = await owner.fetchrow(
        "SELECT sum(total_orders_created), sum(total_revenue) FROM monthly_usage_summary"
        " WHERE user_id = $1",
        tenant_.user_id,
    )
    assert row is not None
    return row[0] or 0, row[1] or Decimal(0)


# ---- made ----------------------------------------------------------------------------------------


async def test_an_order_is_of_products_at_what_they_cost_now(
    owner: Conn, client: Client, ours: Tenant, whose: dict[str, Any]
) -> None:
    body = whose | of(("CAKE", 2), ("TEA", 3), ("FREE", 1))
    body |= {"order_notes": "ring twice", "shipping_address": {"city": "Utrecht", "no": 7}}
    answer = await client.post("/orders", body)
    row = answer.json
    assert (answer.status, answer.headers["ETag"]) == (201, '"1"')
    assert re.fullmatch(rf"[{NUMBER_LETTERS}]{{4}}-[{NUMBER_LETTERS}]{{4}}", row["order_number"])
    assert {k: row[k] for k in row if k not in ("id", "order_number", "items")} == {
        **whose,
        "message_id": None,
        "status": "pending",
        "payment_status": "pending",
        "total_amount": "83.75",
        "currency": "USD",
        "order_notes": "ring twice",
        "shipping_address": {"city": "Utrecht", "no": 7},
        "order_details": {},
        "paid_at": None,
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
    assert [
        (i["product_name"], i["product_sku"], i["quantity"], i["unit_price"], i["total_price"])
        for i in row["items"]
    ] == [
        ("Cake", "CAKE", 2, "38.50", "77.00"),
        ("Tea", "TEA", 3, "2.25", "6.75"),
        ("Free", "FREE", 1, "0.00", "0.00"),
    ]
    path = f"/orders/{row['id']}"
    assert (await client.get(path)).json == row
    listed = (await client.get("/orders")).json["data"]
    assert listed == [{k: v for k, v in row.items() if k != "items"}]
    ((kind, data),) = await told(owner)
    assert kind == "order.created"
    assert data.pop("conversation_id")
    assert data == {
        "order_id": row["id"],
        "order_number": row["order_number"],
        "status": "pending",
        "payment_status": "pending",
        "total_amount": "83.75",
        "currency": "USD",
    }
    assert await months(owner, ours) == (1, 0)

    product = (await client.get("/products", sku="CAKE")).json["data"][0]
    await client.patch(f"/products/{product['id']}", {"price": "1", "name": "x"})
    await client.delete(f"/products/{product['id']}")
    assert (await client.get(path)).json == row, "it keeps what it was made of"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            of(("NONE", 1), ("CAKE", 1), ("OFF", 1), ("UNPRICED", 2)),
            {
                "items.0.product_sku": "no active product",
                "items.2.product_sku": "no active product",
                "items.3.product_sku": "has no price",
            },
        ),
        ({"items": []}, {"items": "1 at least"}),
        ({"items": None}, {"items": "not a list"}),
        (of(*[("CAKE", 1)] * 101), {"items": "100 at most"}),
        (of(("CAKE", 0)), {"items.0.quantity": "1 at least"}),
        (of(("CAKE", 1_000_001)), {"items.0.quantity": "1000000 at most"}),
        (of(("", 1)), {"items.0.product_sku": "1 at least"}),
        ({"items": [{"product_sku": 7}]}, {"items.0.product_sku": "", "items.0.quantity": ""}),
        ({"chatbot_id": 0}, {"chatbot_id": "you have no chatbot"}),
        ({"contact_id": 10**18 - 1}, {"contact_id": "you have no contact"}),
        ({"contact_id": 10**18}, {"contact_id": "at most"}),
        ({"contact_id": None, "chatbot_id": "1"}, {"contact_id": "", "chatbot_id": ""}),
        ({"order_number": "A"}, {"order_number": "no such field"}),
        ({"status": "paid"}, {"status": "no such field"}),
        ({"total_amount": 1}, {"total_amount": "no such field"}),
        ({"order_notes": "x" * 4_001}, {"order_notes": "4000 at most"}),
        ({"shipping_address": "here"}, {"shipping_address": "not a JSON object"}),
        ({"shipping_address": {"a": "x" * 4_000}}, {"shipping_address": "4000 at most"}),
        ({"shipping_address": {"a": "\x00"}}, {"shipping_address.a": "cannot be stored"}),
    ],
)
async def test_what_is_wrong_is_told_and_leaves_nothing(
    owner: Conn,
    client: Client,
    whose: dict[str, Any],
    wrong: dict[str, Any],
    said: dict[str, str],
) -> None:
    answer = await client.post("/orders", whose | of(("CAKE", 1)) | wrong)
    assert (answer.status, answer.problem) == (400, "invalid_request"), answer
    found = {one["field"]: one["detail"] for one in answer.json["errors"]}
    assert found.keys() == said.keys()
    assert all(words in found[field] for field, words in said.items()), found
    for table in ("orders", "order_items", "analytics_events", "monthly_usage_summary"):
        assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_amounts_that_are_too_much_are_told(client: Client, whose: dict[str, Any]) -> None:
    much = {"name": "Much", "sku": "MUCH", "price": "9999999999999999.99"}
    assert (await client.post("/products", much)).status == 201
    twice = await client.post("/orders", whose | of(("MUCH", 2)))
    assert [e["field"] for e in twice.json["errors"]] == ["items.0.quantity"]
    both = await client.post("/orders", whose | of(("MUCH", 1), ("MUCH", 1)))
    assert [e["field"] for e in both.json["errors"]] == ["items"]
    for _ in range(3):  # the sum of a month has room for them
        row = await made(client, whose, **of(("MUCH", 1)))
        paid = await client.patch(f"/orders/{row['id']}", {"payment_status": "paid"})
        assert paid.status == 200
    month = (await client.get("/usage/months")).json["data"][0]
    assert month["total_revenue"] == "29999999999999999.97"


async def test_whose_it_is_is_ones_own_and_there(
    owner: Conn, client: Client, connect: Connect, theirs: Tenant, whose: dict[str, Any]
) -> None:
    contact, _ = await make_conversation(owner, theirs)
    stranger = await connect(theirs)
    for other, field in (
        ({"contact_id": contact}, "contact_id"),
        ({"chatbot_id": theirs.chatbot_id}, "chatbot_id"),
    ):
        answer = await client.post("/orders", whose | of(("CAKE", 1)) | other)
        assert [e["field"] for e in answer.json["errors"]] == [field]
    sold = await stranger.post(
        "/orders", {"chatbot_id": theirs.chatbot_id, "contact_id": contact} | of(("CAKE", 1))
    )
    assert [e["field"] for e in sold.json["errors"]] == ["items.0.product_sku"], "nobody else's"
    row = await made(client, whose)
    for hidden in (
        await stranger.get(f"/orders/{row['id']}"),
        await stranger.patch(f"/orders/{row['id']}", {"status": "confirmed"}),
    ):
        assert (hidden.status, hidden.problem) == (404, "not_found")
    assert (await stranger.get("/orders", contact_id=whose["contact_id"])).json["data"] == []


async def test_of_an_erased_contact_nothing_is_left_and_nothing_made(
    owner: Conn, client: Client, ours: Tenant, whose: dict[str, Any]
) -> None:
    first = await client.post(
        "/orders", whose | of(("CAKE", 1)) | {"order_notes": "for Ana"}, Idempotency_Key="k"
    )
    assert (await client.delete(f"/contacts/{whose['contact_id']}")).status == 204
    assert (await client.get(f"/orders/{first.json['id']}")).status == 404
    assert (await client.get("/orders")).json["data"] == []
    assert await owner.fetchval("SELECT count(*) FROM idempotency_keys WHERE body ~ 'Ana'") == 0
    again = await client.post("/orders", whose | of(("CAKE", 1)))
    assert [e["field"] for e in again.json["errors"]] == ["contact_id"]
    assert await months(owner, ours) == (1, 0), "the counters stay"
    found = await recount(owner, ours.user_id)
    assert {one.what.counter: one.what.why for one in found if one.what.why}.get(
        "total_orders_created"
    ) == "rows were removed"


async def test_an_erasure_and_an_order_at_once(
    owner: Conn, client: Client, whose: dict[str, Any]
) -> None:
    answers = await asyncio.gather(
        *(client.post("/orders", whose | of(("CAKE", 1))) for _ in range(6)),
        client.delete(f"/contacts/{whose['contact_id']}"),
    )
    assert answers[-1].status == 204
    assert {a.status for a in answers[:-1]} <= {201, 400, 429}
    assert await owner.fetchval("SELECT count(*) FROM orders") == 0


async def test_a_repeated_key_makes_one_order(
    owner: Conn, client: Client, ours: Tenant, whose: dict[str, Any]
) -> None:
    body = whose | of(("CAKE", 2))
    answers = [await client.post("/orders", body, Idempotency_Key="k") for _ in range(3)]
    assert [a.status for a in answers] == [201] * 3
    assert answers[0].json == answers[1].json == answers[2].json
    assert (await client.post("/orders", whose | of(("TEA", 1)), Idempotency_Key="k")).status == 422
    assert await owner.fetchval("SELECT count(*) FROM orders") == 1
    assert len(await told(owner)) == 1
    assert await months(owner, ours) == (1, 0)


# ---- moved ---------------------------------------------------------------------------------------


def states() -> list[tuple[str, str | None, str]]:
    known = [(c, a, b) for c, moves in MOVES.items() for a in moves for b in moves]
    return [*known, *((c, odd, b) for c in MOVES for odd in ("odd", None) for b in MOVES[c])]


async def test_code_and_database_know_the_same_moves(owner: Conn) -> None:
    for column, before, after in states():
        may = await owner.fetchval("SELECT order_moves($1, $2, $3)", column, before, after)
        assert may == (before == after or after in possible(column, before)), (before, after)


async def test_the_graph_is_held_by_the_api_and_by_the_database(
    owner: Conn, client: Client, ours: Tenant, whose: dict[str, Any]
) -> None:
    """Each pair of states, of an order that is put there."""
    row = await made(client, whose)
    path = f"/orders/{row['id']}"
    for column, before, after in states():
        if before is None or before == "odd":
            continue
        await owner.execute("ALTER TABLE orders DISABLE TRIGGER USER")
        await owner.execute(f"UPDATE orders SET {column} = $1", before)
        await owner.execute("ALTER TABLE orders ENABLE TRIGGER USER")
        version = (await client.get(path)).headers["ETag"]
        answer = await client.patch(path, {column: after})
        if before == after:
            assert (answer.status, answer.headers["ETag"]) == (200, version)
        elif after in MOVES[column][before]:
            assert (answer.status, answer.json[column]) == (200, after)
            assert answer.headers["ETag"] != version
        else:
            assert (answer.status, answer.problem) == (409, "wrong_state")
            assert answer.json["possible"] == {column: list(MOVES[column][before])}
            assert answer.json["state"][column] == before
            with pytest.raises(asyncpg.CheckViolationError):
                await owner.execute(f"UPDATE orders SET {column} = $1", after)


async def test_an_order_of_before_stays_writable(
    owner: Conn, client: Client, ours: Tenant, whose: dict[str, Any]
) -> None:
    order = await owner.fetchval(
        "INSERT INTO orders (user_id, chatbot_id, contact_id, status, payment_status,"
        " shipping_address, order_details, total_amount)"
        " VALUES ($1, $2, $3, 'done', NULL, '\"Main St 1\"', '[1]', 12) RETURNING id",
        *(ours.user_id, ours.chatbot_id, whose["contact_id"]),
    )
    await owner.execute("UPDATE orders SET status = 'archived', payment_status = 'cash'")
    path = f"/orders/{order}"
    row = (await client.get(path)).json
    assert (row["status"], row["order_number"], row["items"]) == ("archived", None, [])
    assert (row["shipping_address"], row["order_details"], row["total_amount"]) == ({}, {}, "12.00")
    noted = await client.patch(path, {"order_notes": "seen"})
    assert (noted.status, noted.json["status"]) == (200, "archived")
    moved = await client.patch(path, {"status": "delivered", "payment_status": "paid"})
    assert (moved.status, moved.json["status"]) == (200, "delivered")
    assert (await client.patch(path, {"status": "pending"})).problem == "wrong_state"
    await owner.execute("UPDATE orders SET status = 'archived'")


async def test_a_patch_changes_what_is_given_and_tells_what_moved(
    owner: Conn, client: Client, whose: dict[str, Any]
) -> None:
    row = await made(client, whose, shipping_address={"city": "Utrecht", "at": {"no": 7, "b": 1}})
    path = f"/orders/{row['id']}"
    nothing = await client.patch(path, {"status": "pending", "order_notes": None})
    assert (nothing.status, nothing.headers["ETag"], nothing.json) == (200, '"1"', row)
    noted = await client.patch(
        path, {"order_notes": "n", "shipping_address": {"city": None, "at": {"no": 8}, "x": []}}
    )
    assert noted.headers["ETag"] == '"2"'
    assert noted.json["shipping_address"] == {"at": {"no": 8, "b": 1}, "x": []}
    assert len(await told(owner)) == 1, "nothing moved"
    moved = await client.patch(path, {"status": "confirmed", "payment_status": "paid"})
    assert (moved.headers["ETag"], bool(moved.json["paid_at"])) == ('"3"', True)
    events = await told(owner, of_type="order.updated")
    assert [(d["status"], d["payment_status"]) for _, d in events] == [("confirmed", "paid")]
    gone = await client.patch(path, {"shipping_address": None, "order_notes": None})
    assert (gone.json["shipping_address"], gone.json["order_notes"]) == (None, None)
    full = await client.patch(path, {"shipping_address": {"a": "x" * 3_000}})
    over = await client.patch(path, {"shipping_address": {"b": "x" * 3_000}})
    assert (full.status, over.status) == (200, 400), "what it comes to is bounded"
    none: list[Any] = []
    for wrong in ({"status": None}, {"status": "sent"}, {"items": none}, {"total_amount": "1"}):
        assert (await client.patch(path, wrong)).status == 400
    both = await client.patch(path, {"status": "delivered", "payment_status": "failed"})
    assert both.json["possible"] == {
        "status": ["preparing", "cancelled"],
        "payment_status": ["refunded"],
    }
    assert (await client.patch(path, {"status": "preparing"}, If_Match='"1"')).status == 412


async def test_of_two_moves_at_once_one_is_made(
    owner: Conn, client: Client, ours: Tenant, whose: dict[str, Any]
) -> None:
    """Paid, or failed: never both, told once, earned once."""
    paid = 0
    for _ in range(8):
        path = f"/orders/{(await made(client, whose))['id']}"
        answers = await asyncio.gather(
            client.patch(path, {"payment_status": "paid"}),
            client.patch(path, {"payment_status": "failed"}),
        )
        assert sorted(a.status for a in answers) == [200, 409]
        now = (await client.get(path)).json
        assert next(a for a in answers if a.status == 200).json == now
        paid += now["payment_status"] == "paid"
    assert len(await told(owner, of_type="order.updated")) == 8
    assert await months(owner, ours) == (8, paid * Decimal("83.75"))


async def test_an_order_is_earned_once(
    owner: Conn, client: Client, ours: Tenant, whose: dict[str, Any]
) -> None:
    path = f"/orders/{(await made(client, whose))['id']}"
    for state in ("failed", "pending", "paid", "paid", "refunded"):
        assert (await client.patch(path, {"payment_status": state})).status == 200, state
    assert await months(owner, ours) == (1, Decimal("83.75")), "a refund does not lower it"
    # One of before tenants has no graph, and may become paid again.
    old = await owner.fetchval(
        "INSERT INTO orders (user_id, chatbot_id, contact_id, total_amount, currency)"
        " SELECT user_id, chatbot_id, contact_id, 10, currency FROM orders RETURNING id"
    )
    for state, amount in (("paid", 10), ("pending", 12), ("paid", 12)):
        await owner.execute(
            "UPDATE orders SET payment_status = $2, total_amount = $3 WHERE id = $1",
            *(old, state, amount),
        )
    assert await months(owner, ours) == (2, Decimal("93.75"))
    assert [d for d in await differences(owner, ours) if "total_" in d.what.counter] == []


# ---- the total, whoever writes -------------------------------------------------------------------


async def total(owner: Conn) -> tuple[Decimal | None, Decimal | None]:
    row = await owner.fetchrow(
        "SELECT total_amount, (SELECT sum(total_price) FROM order_items) FROM orders"
    )
    assert row is not None
    return row[0], row[1]


async def test_writers_of_items_at_once_come_to_the_sum(
    owner: Conn, pool: Pool, client: Client, ours: Tenant, whose: dict[str, Any]
) -> None:
    row = await made(client, whose)
    dice = random.Random(7)

    async def write(n: int) -> None:
        async with tenant(pool, ours.user_id) as conn:
            await conn.execute(
                "INSERT INTO order_items (user_id, order_id, product_name, quantity, total_price)"
                " VALUES ($1, $2, 'x', 1, $3)",
                *(ours.user_id, row["id"], Decimal(n)),
            )
            await asyncio.sleep(dice.random() / 50)
            if n % 3 == 0:
                await conn.execute(
                    "UPDATE order_items SET total_price = total_price + 1 WHERE id IN"
                    " (SELECT id FROM order_items WHERE total_price = $1)",
                    Decimal(n),
                )
            if n % 4 == 0:
                await conn.execute("DELETE FROM order_items WHERE total_price = $1", Decimal(n))

    await asyncio.gather(*(write(n) for n in range(100, 130)))
    is_, has_to_be = await total(owner)
    assert is_ == has_to_be
    shown = (await client.get(f"/orders/{row['id']}")).json
    assert Decimal(shown["total_amount"]) == sum(Decimal(i["total_price"]) for i in shown["items"])


async def test_nobody_gives_an_order_another_total(
    owner: Conn, client: Client, whose: dict[str, Any]
) -> None:
    row = await made(client, whose)
    version = (await client.get(f"/orders/{row['id']}")).headers["ETag"]
    with pytest.raises(asyncpg.CheckViolationError, match="sum of its items"):
        await owner.execute("UPDATE orders SET total_amount = 1")
    for wrong in ("order_number = 'mine'", "currency = 'EUR'"):
        with pytest.raises(asyncpg.CheckViolationError, match="keeps"):
            await owner.execute(f"UPDATE orders SET {wrong}")
    await owner.execute("UPDATE order_items SET product_name = 'Other' WHERE product_sku = 'TEA'")
    assert (await client.get(f"/orders/{row['id']}")).headers["ETag"] != version, "it is shown"
    await owner.execute("DELETE FROM order_items")
    assert (await total(owner))[0] == 0


# ---- lists ---------------------------------------------------------------------------------------


async def test_every_filter_goes_with_every_other(
    owner: Conn, client: Client, ours: Tenant, whose: dict[str, Any]
) -> None:
    other, _ = await make_conversation(owner, ours)
    rows = []
    for n in range(12):
        row = await made(client, whose | {"contact_id": other} if n % 2 else whose)
        change: dict[str, Any] = {"status": "confirmed"} if n % 3 else {}
        change |= {"payment_status": "failed"} if n % 4 else {}
        rows.append((await client.patch(f"/orders/{row['id']}", change)).json)
    asked: dict[str, Any] = {
        "contact_id": other,
        "chatbot_id": ours.chatbot_id,
        "status": "confirmed",
        "payment_status": "failed",
    }
    for count in range(5):
        for names in itertools.combinations(asked, count):
            query = {name: asked[name] for name in names}
            wanted = [r["id"] for r in reversed(rows) if all(r[n] == asked[n] for n in names)]
            first = (await client.get("/orders", limit=2, **query)).json
            found = [r["id"] for r in first["data"]]
            if first["next"]:
                rest = (await client.get("/orders", after=first["next"], **query)).json
                found += [r["id"] for r in rest["data"]]
            assert found == wanted, names
    assert (await client.get("/orders", chatbot_id=0)).json["data"] == []
    for wrong in ({"status": "odd"}, {"contact_id": "x"}, {"total_amount": "1"}):
        assert (await client.get("/orders", **wrong)).status == 400


async def test_a_list_walks_the_index_of_what_is_asked_for(
    owner: Conn, pool: Pool, ours: Tenant, theirs: Tenant
) -> None:
    """Of 20,000, one of which is like this: nobody's others are read."""
    contact, _ = await make_conversation(owner, ours)
    await owner.execute(
        "INSERT INTO orders (user_id, chatbot_id, contact_id, status, payment_status)"
        " SELECT $1, $2, $3, CASE n WHEN 7 THEN 'shipped' ELSE 'pending' END,"
        "        CASE n WHEN 7 THEN 'failed' ELSE 'pending' END"
        "   FROM generate_series(1, 20000) n",
        *(ours.user_id, ours.chatbot_id, contact),
    )
    await owner.execute("VACUUM ANALYZE orders")
    values: dict[str, Any] = {
        "contact_id": contact,
        "chatbot_id": ours.chatbot_id,
        "status": "shipped",
        "payment_status": "failed",
    }
    async with tenant(pool, ours.user_id) as conn:
        for count in range(5):
            for names in itertools.combinations(_FILTERS, count):
                if {"contact_id"} & set(names) and count > 1:
                    continue  # what one person ordered is looked through
                plan = await conn.fetchval(
                    f"EXPLAIN (ANALYZE, FORMAT JSON) {_list_query(names)}",
                    *(ours.user_id, 10**18, 50, 10**6),
                    *(values[name] for name in names),
                )
                removed = re.findall(r'"Rows Removed by \w+( Filter)?": (\d+)', json.dumps(plan))
                assert sum(int(n) for _, n in removed) < 200, (names, removed)


# ---- a storm -------------------------------------------------------------------------------------


async def test_a_storm_of_twenty_clients_adds_up(
    owner: Conn, pool: Pool, database: Database, connect: Connect
) -> None:
    """Connections are killed in the middle. What was answered is there, and what is counted can be
    counted again."""
    ours = await make_tenant(owner, timezone="Pacific/Kiritimati")
    client = await connect(ours)
    await stock(client)
    people = [(await make_conversation(owner, ours))[0] for _ in range(5)]
    await make_webhook(owner, ours, ordered=True)
    answered: Counter[str] = Counter()
    orders: list[int] = []
    over = asyncio.Event()

    async def call(dice: random.Random) -> Answer:
        if not orders or dice.random() < 0.3:
            whose = {"chatbot_id": ours.chatbot_id, "contact_id": dice.choice(people)}
            body = whose | of((dice.choice(list(PRICES)), dice.randrange(1, 5)), ("TEA", 1))
            return await client.post("/orders", body, Idempotency_Key=str(dice.random()))
        path = f"/orders/{dice.choice(orders)}"
        column = dice.choice(list(MOVES))
        return await client.patch(path, {column: dice.choice(list(MOVES[column]))})

    async def customer(n: int) -> None:
        dice = random.Random(n)
        while not over.is_set():
            with suppress(aiohttp.ClientError):
                answer = await call(dice)
                answered[f"{answer.status}"] += 1
                assert answer.status in (200, 201, 400, 409, 429, 503), answer
                if answer.status in (429, 503):
                    await asyncio.sleep(0.02)
                if answer.status == 201:
                    orders.append(answer.json["id"])

    async def killer() -> None:
        looking = await asyncpg.connect(database.owner_url)
        for _ in range(12):
            await asyncio.sleep(0.4)
            await looking.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <>"
                " pg_backend_pid() AND datname = current_database() AND state <> 'idle'"
                " AND usename <> current_user ORDER BY random() LIMIT 2"
            )
        await looking.close()
        over.set()

    await asyncio.gather(killer(), *(customer(n) for n in range(20)))
    assert answered["201"] > 10
    assert answered["200"] > 10
    assert answered["409"] > 10
    assert set(orders) <= {r["id"] for r in await owner.fetch("SELECT id FROM orders")}
    found = await recount(owner, ours.user_id)
    assert [f for f in found if f.what.counter in ("total_orders_created", "total_revenue")] == []
    bad = (
        "SELECT count(*) FROM orders o WHERE total_amount IS DISTINCT FROM (SELECT"
        " sum(total_price) FROM order_items i WHERE i.order_id = o.id)"
    )
    assert await owner.fetchval(bad) == 0
    made_, revenue = await months(owner, ours)
    assert made_ == await owner.fetchval("SELECT count(*) FROM orders")
    earned = "SELECT sum(total_amount) FROM orders WHERE paid_at IS NOT NULL"
    assert revenue == await owner.fetchval(earned)
    created = await told(owner, of_type="order.created")
    assert len({d["order_id"] for _, d in created}) == len(created) == made_
    for order in orders:
        walked = [d for _, d in await told(owner) if d["order_id"] == order]
        for before, after in itertools.pairwise(walked):
            for column in MOVES:
                assert before[column] == after[column] or after[column] in possible(
                    column, before[column]
                )


async def test_a_migrated_order_is_told_and_counted_too(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    """Made by SQL, by whoever does."""
    _, conversation = await make_conversation(owner, ours)
    await make_order(owner, ours, conversation)
    assert [kind for kind, _ in await told(owner)] == ["order.created"]
    assert await months(owner, ours) == (1, 0)
    await owner.execute("UPDATE orders SET payment_status = 'paid'")
    assert await months(owner, ours) == (1, 25)


# ---- stock ---------------------------------------------------------------------------------------


async def test_stock_is_taken_with_the_order_and_comes_back_once(
    owner: Conn, client: Client, whose: dict[str, Any]
) -> None:
    product = {"name": "Jam", "sku": "JAM", "price": "5.00", "stock": 3}
    made = await client.post("/products", product)
    path = f"/products/{made.json['id']}"
    assert made.json["stock"] == 3
    order = await client.post("/orders", whose | of(("JAM", 1), ("JAM", 1)))
    assert order.status == 201
    assert (await client.get(path)).json["stock"] == 1
    refused = await client.post("/orders", whose | of(("JAM", 2)))
    assert (refused.status, refused.problem) == (409, "out_of_stock")
    assert refused.json["errors"] == [{"field": "items.0.quantity", "detail": "there are 1 of it"}]
    assert await owner.fetchval("SELECT count(*) FROM orders") == 1
    for _ in range(2):
        at = f"/orders/{order.json['id']}"
        assert (await client.patch(at, {"status": "cancelled"})).status == 200
        assert (await client.get(path)).json["stock"] == 3
    await client.patch(path, {"stock": None})
    assert (await client.post("/orders", whose | of(("JAM", 500)))).status == 201


async def test_of_many_at_once_no_more_are_sold_than_there_are(
    client: Client, whose: dict[str, Any]
) -> None:
    rows = [
        (await client.post("/products", {"name": s, "sku": s, "price": "1", "stock": 10})).json
        for s in ("ONE", "TWO")
    ]
    wanted = [of(("ONE", 1), ("TWO", 2)), of(("TWO", 2), ("ONE", 1))] * 8
    answers = await asyncio.gather(*(client.post("/orders", whose | one) for one in wanted))
    assert Counter(answer.status for answer in answers) == {201: 5, 409: 11}
    left = [(await client.get(f"/products/{row['id']}")).json["stock"] for row in rows]
    assert left == [5, 0]


# ---- customers are told --------------------------------------------------------------------------


async def moved(client: Client, order: dict[str, Any], *statuses: str) -> None:
    for status in statuses:
        answer = await client.patch(f"/orders/{order['id']}", {"status": status})
        assert answer.status == 200


async def notices(owner: Conn) -> list[tuple[str, str]]:
    rows = await owner.fetch(
        "SELECT message_type, content_text FROM messages WHERE direction = 'outbound' ORDER BY id"
    )
    return [(row[0], row[1]) for row in rows]


@pytest.mark.parametrize("hours", [1, 30])
async def test_customers_hear_of_the_states_that_the_tenant_wants(
    owner: Conn, client: Client, whose: dict[str, Any], hours: int
) -> None:
    path = f"/chatbots/{whose['chatbot_id']}"
    assert (await client.patch(path, {"order_messages": ["lost"]})).status == 400
    await client.patch(path, {"order_messages": ["shipped", "cancelled"]})
    await owner.execute(
        "UPDATE conversations SET last_inbound_at = now() - make_interval(hours => $1)", hours
    )
    await owner.execute("UPDATE contacts SET language = 'de'")
    order = await made(client, whose)
    await moved(client, order, "confirmed", "preparing", "shipped", "shipped")
    await client.patch(f"/orders/{order['id']}", {"payment_status": "paid"})
    await moved(client, await made(client, whose), "cancelled")
    said = await notices(owner)
    if hours == 1:
        number = order["order_number"]
        assert said[0] == ("text", fixed_text(Kind.ORDER_SHIPPED, "de", number=number))
        assert len(said) == 2
        units = await owner.fetchval("SELECT count(*) FROM messages WHERE usage_day IS NOT NULL")
        assert units == 0
        return
    assert said == []  # the events alone
    template = {"name": "write_again", "language": "de"}
    await client.patch(path, {"window_template": template})
    await moved(client, await made(client, whose), "cancelled")
    await moved(client, await made(client, whose), "cancelled")
    assert await notices(owner) == [("template", "[template write_again]")]


async def test_nobody_is_told_unless_somebody_says_so(
    owner: Conn, client: Client, whose: dict[str, Any]
) -> None:
    await moved(client, await made(client, whose), "confirmed", "preparing", "shipped", "delivered")
    assert await notices(owner) == []
