"""Products: made, changed, found; what is wrong is told; a currency that is fixed."""

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from db.pool import Conn, Pool, connect_owner, tenant, tenant_transaction
from tests.api import Client
from tests.api.conftest import Connect
from tests.conftest import Database
from tests.factories import Tenant

CAKE = {"name": "Lemon cake", "sku": "CAKE-1", "price": "38.50"}


async def made(client: Client, **more: Any) -> Any:
    answer = await client.post("/products", CAKE | more)
    assert answer.status == 201, answer
    return answer.json


async def test_a_product_from_its_making_to_its_end(client: Client) -> None:
    answer = await client.post("/products", CAKE)
    row = answer.json
    assert (answer.status, answer.headers["ETag"]) == (201, '"1"')
    shown = {k: v for k, v in row.items() if k not in ("id", "created_at", "updated_at")}
    assert shown == CAKE | {
        "currency": "USD",
        "description": None,
        "image_url": None,
        "is_active": True,
        "stock": None,
    }
    path = f"/products/{row['id']}"
    assert (await client.get(path)).json == row
    same = await client.patch(path, {"price": 38.5, "name": "Lemon cake"})
    assert (same.headers["ETag"], same.json) == ('"1"', row), "nothing was changed"
    new = {"price": None, "sku": None, "image_url": "https://shop.example/c.png", "name": "Cake"}
    changed = await client.patch(path, new, If_Match='"1"')
    assert changed.headers["ETag"] == '"2"'
    assert {**changed.json, "updated_at": None} == {**row, **new, "updated_at": None}
    assert (await client.patch(path, {"name": "x"}, If_Match='"1"')).status == 412
    assert (await client.delete(path, If_Match='"1"')).status == 412
    assert (await client.delete(path)).status == 204
    for gone in (await client.get(path), await client.delete(path), await client.patch(path, {})):
        assert (gone.status, gone.problem) == (404, "not_found")


async def test_products_are_listed_in_pages_and_found(client: Client) -> None:
    rows = [
        await made(client, sku=f"S{n}", is_active=n % 2 == 0, description="x" * 10_000)
        for n in range(7)
    ]
    ids = [row["id"] for row in reversed(rows)]
    found: list[int] = []
    page: dict[str, Any] = {"limit": 3}
    while True:
        answer = (await client.get("/products", **page)).json
        found += [row["id"] for row in answer["data"]]
        if answer["next"] is None:
            break
        page["after"] = answer["next"]
        await made(client, sku=f"new{answer['next']}")
    assert found == ids
    off = (await client.get("/products", is_active="false", limit=2)).json
    rest = (await client.get("/products", is_active="false", after=off["next"])).json
    assert [row["sku"] for row in off["data"] + rest["data"]] == ["S5", "S3", "S1"]
    one = (await client.get("/products", sku="S3")).json
    assert ([row["sku"] for row in one["data"]], one["next"]) == (["S3"], None)
    assert (await client.get("/products", sku="S3", is_active="true")).json["data"] == []
    assert (await client.get("/products", sku="none")).json["data"] == []
    assert (await client.get("/products", is_active="1")).status == 400
    assert (await client.get("/products", name="x")).status == 400


async def test_a_sku_is_one_products(client: Client, connect: Connect, theirs: Tenant) -> None:
    first = await made(client)
    other = await made(client, sku="CAKE-2")
    for again in (
        await client.post("/products", CAKE),
        await client.patch(f"/products/{other['id']}", {"sku": "CAKE-1", "name": "x"}),
    ):
        assert (again.status, again.problem) == (409, "already_exists")
        assert again.json["product_id"] == first["id"]
    assert (await client.get(f"/products/{other['id']}")).json == other
    await made(client, sku=None)
    await made(client, sku=None)
    await made(await connect(theirs))


async def test_of_twenty_with_one_sku_one_is_made(owner: Conn, client: Client) -> None:
    answers = await asyncio.gather(*(client.post("/products", CAKE) for _ in range(20)))
    said = Counter(answer.status for answer in answers if answer.status != 429)
    assert said[201] == 1
    assert set(said) <= {201, 409}
    assert await owner.fetchval("SELECT count(*) FROM products") == 1
    rows = [await made(client, sku=f"S{n}") for n in range(6)]
    moved = await asyncio.gather(
        *(client.patch(f"/products/{row['id']}", {"sku": "ONE"}) for row in rows)
    )
    assert sorted(answer.status for answer in moved) == [200] + [409] * 5


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": ""}, "empty"),
        ({"name": None}, "not a text"),
        ({"name": "x" * 256}, "255 at most"),
        ({"name": "a\x00b"}, "cannot be stored"),
        ({"sku": ""}, "empty"),
        ({"sku": " A"}, "begins or ends with a space"),
        ({"sku": 7}, "not a text"),
        ({"price": "-1"}, "less than 0"),
        ({"price": "-0"}, "less than 0"),
        ({"price": "1.001"}, "after the point"),
        ({"price": "10000000000000000"}, "digits"),
        ({"price": 1e20}, "digits"),
        ({"price": "1e3"}, "not a decimal"),
        ({"price": ""}, "not a decimal"),
        ({"price": True}, "not a decimal"),
        ({"image_url": "http://shop.example/"}, "http://"),
        ({"image_url": "javascript:x"}, "https://"),
        ({"description": "x" * 10_001}, "10000 at most"),
        ({"is_active": None}, "not true"),
        ({"currency": "EUR"}, "no such field"),
        ({"stock": -1}, "0"),
        ({"stock": 1.5}, "whole"),
        ({"stock": 10**9 + 1}, "1000000000"),
    ],
)
async def test_what_is_wrong_is_told(
    owner: Conn, client: Client, wrong: dict[str, Any], said: str
) -> None:
    row = await made(client)
    for answer in (
        await client.post("/products", CAKE | {"sku": "other"} | wrong),
        await client.patch(f"/products/{row['id']}", wrong),
    ):
        assert (answer.status, answer.problem) == (400, "invalid_request"), answer
        (error,) = answer.json["errors"]
        assert error["field"] == next(iter(wrong))
        assert said in error["detail"]
    assert await owner.fetchval("SELECT count(*) FROM products WHERE version = 1") == 1


async def test_amounts_are_exact(client: Client) -> None:
    for n, (given, shown) in enumerate(
        [
            ("9999999999999999.99", "9999999999999999.99"),
            (0.1, "0.10"),
            ("0", "0.00"),
            (7, "7.00"),
        ]
    ):
        assert (await made(client, sku=f"S{n}", price=given))["price"] == shown


async def test_products_are_ones_own(client: Client, connect: Connect, theirs: Tenant) -> None:
    row = await made(await connect(theirs))
    path = f"/products/{row['id']}"
    for answer in (await client.get(path), await client.patch(path, {}), await client.delete(path)):
        assert (answer.status, answer.problem) == (404, "not_found")
    assert (await client.get("/products")).json["data"] == []


async def test_a_key_may_what_it_names(connect: Connect, ours: Tenant) -> None:
    reader = await connect(ours, "products:read")
    assert (await reader.get("/products")).status == 200
    assert (await reader.post("/products", CAKE)).problem == "permission_missing"
    writer = await connect(ours, "products:write")
    assert (await writer.post("/products", CAKE)).status == 201
    assert (await writer.get("/products")).problem == "permission_missing"


# ---- the currency --------------------------------------------------------------------------------


async def set_currency(conn: Conn, of: Tenant, currency: str) -> None:
    async with tenant_transaction(conn, of.user_id):
        await conn.execute("UPDATE users SET currency = $2 WHERE id = $1", of.user_id, currency)


async def test_a_currency_is_fixed_while_a_product_has_a_price(
    database: Database, client: Client, ours: Tenant
) -> None:
    conn = await connect_owner(database.owner_url)
    try:
        await made(client, price=None, sku="free")
        await set_currency(conn, ours, "EUR")
        row = await made(client)
        assert row["currency"] == "EUR"
        with pytest.raises(asyncpg.CheckViolationError, match="currency is fixed"):
            await set_currency(conn, ours, "USD")
        await set_currency(conn, ours, "EUR")  # no change
        await client.patch(f"/products/{row['id']}", {"price": None})
        await set_currency(conn, ours, "USD")
    finally:
        await conn.close()


@pytest.mark.parametrize("first", ["price", "currency"])
async def test_a_price_and_another_currency_at_once(
    database: Database, pool: Pool, ours: Tenant, first: str
) -> None:
    """Whoever comes second waits, and then knows."""
    conn = await connect_owner(database.owner_url)

    async def give_price(go: asyncio.Event, hold: asyncio.Event) -> None:
        async with tenant(pool, ours.user_id) as inner:
            await inner.execute(
                "INSERT INTO products (user_id, name, price) VALUES ($1, 'Cake', 1)", ours.user_id
            )
            go.set()
            await hold.wait()

    async def change(go: asyncio.Event, hold: asyncio.Event) -> None:
        async with tenant_transaction(conn, ours.user_id):
            await conn.execute("UPDATE users SET currency = 'EUR' WHERE id = $1", ours.user_id)
            go.set()
            await hold.wait()

    works = (give_price, change) if first == "price" else (change, give_price)
    events = [asyncio.Event() for _ in range(4)]
    try:
        one = asyncio.ensure_future(works[0](events[0], events[1]))
        await asyncio.wait_for(events[0].wait(), 5)
        two = asyncio.ensure_future(works[1](events[2], events[3]))
        await asyncio.sleep(0.3)
        assert not events[2].is_set(), "the second waits"
        events[1].set()
        events[3].set()
        await one
        if first == "price":
            with pytest.raises(asyncpg.CheckViolationError):
                await two
        else:
            await two
    finally:
        await conn.close()
    async with tenant(pool, ours.user_id) as inner:
        currency = await inner.fetchval("SELECT currency FROM users")
        assert currency == ("USD" if first == "price" else "EUR")
        assert await inner.fetchval("SELECT price FROM products") == Decimal(1)
