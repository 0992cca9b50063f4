"""A shop sells: products are found, added up by code, ordered by a press and by nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from db.conversations import claim_conversations
from db.ids import WorkerId
from db.pool import Conn, Pool, tenant
from handlers.fixed.texts import Kind, fixed_text
from handlers.quotes import forget_old_quotes, keep
from handlers.rules.choices import BODY_UNITS
from handlers.rules.cutting import units
from handlers.rules.orders import Item
from handlers.rules.quotes import Quoted
from handlers.turns.run import run_turn
from tests.turn.shop import ME, Shop, Turn, Who, open_shop

CAKE, TART = "CAKE-1", "TART-1"


@pytest.fixture
async def shop(pool: Pool, owner: Conn) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as shop:
        # Without a number, which would be one that the bot was told.
        await owner.execute("UPDATE chatbots SET name = 'Corner bakery'")
        await sells(shop, CAKE, "Lemon cake", "38.50")
        await sells(shop, TART, "Walnut tart", "4.20", stock=3)
        yield shop


async def sells(
    shop: Shop, sku: str, name: str, price: str | None, *, stock: int | None = None
) -> None:
    await shop.owner.execute(
        "INSERT INTO products (user_id, sku, name, price, stock) VALUES ($1, $2, $3, $4::text"
        "::numeric, $5)",
        *(shop.tenant.user_id, sku, name, price, stock),
    )


def calls(name: str, **arguments: Any) -> dict[str, Any]:
    return {"tool_calls": [{"name": name, "arguments": arguments}], "times": 1}


def quotes(*items: tuple[str, int]) -> dict[str, Any]:
    return calls("quote", items=[{"sku": sku, "quantity": n} for sku, n in items])


def result(turn: Turn, place: int = 1) -> str:
    """Of the tool that the request before called."""
    return str(turn.requests[place]["messages"][-1]["content"])


async def quoted(shop: Shop, who: Who, *items: tuple[str, int], says: str = "Gladly.") -> str:
    """The button's id."""
    await shop.simulator.rules(quotes(*items), {"reply": says})
    await shop.turn(who, "I want cake")
    return await button(shop)


async def button(shop: Shop) -> str:
    row = await newest(shop)
    (choice,) = row["metadata"]["interactive"]["choices"]
    assert choice["title"] == fixed_text(Kind.ORDER_BUTTON, "en")
    return str(choice["id"])


async def newest(shop: Shop) -> dict[str, Any]:
    row = await shop.owner.fetchrow(
        "SELECT content_text, message_type, metadata FROM messages WHERE direction = 'outbound'"
        " ORDER BY id DESC LIMIT 1"
    )
    assert row is not None
    return {**dict(row), "metadata": json.loads(row["metadata"])}


async def press(shop: Shop, who: Who, token: str) -> Turn:
    await shop.presses(who, token, "Place the order")
    return await shop.turn(who)


async def orders(shop: Shop) -> list[dict[str, Any]]:
    rows = await shop.owner.fetch(
        "SELECT o.order_number, o.status, o.total_amount::text AS total, o.currency, o.contact_id,"
        " o.message_id, (SELECT jsonb_agg(jsonb_build_array(i.product_sku, i.quantity,"
        " i.unit_price::text) ORDER BY i.id) FROM order_items i WHERE i.order_id = o.id)::text"
        " AS items FROM orders o ORDER BY o.id"
    )
    return [{**dict(row), "items": json.loads(row["items"])} for row in rows]


async def stock(shop: Shop, sku: str = TART) -> int | None:
    left: int | None = await shop.owner.fetchval("SELECT stock FROM products WHERE sku = $1", sku)
    return left


async def statuses(shop: Shop) -> list[str]:
    return [r[0] for r in await shop.owner.fetch("SELECT status FROM quotes ORDER BY id")]


# ---- found ---------------------------------------------------------------------------------------


async def test_products_are_found_with_price_and_stock_as_they_are_now(shop: Shop) -> None:
    find = calls("find_products", query="lemon cake")
    await shop.simulator.rules(find, {"reply": "The lemon cake is 38.50 USD.", "times": 1})
    who = await shop.customer()
    turn = await shop.turn(who, "Do you have lemon cake?")
    assert turn.said == ["The lemon cake is 38.50 USD."]
    (first, *_) = json.loads(result(turn))
    assert first == {
        "sku": CAKE,
        "name": "Lemon cake",
        "price": "38.50 USD",
        "stock": "in stock",
    }
    # What is searched is kept by the process; what is told of it is read.
    await shop.owner.execute("UPDATE products SET price = 40, stock = 1 WHERE sku = $1", CAKE)
    await shop.simulator.rules(find, {"reply": "It is 40.00 USD.", "times": 1})
    turn = await shop.turn(who, "And now?")
    assert turn.said == ["It is 40.00 USD."]
    assert json.loads(result(turn))[0]["stock"] == "only 1 left"


async def test_a_change_of_the_catalogue_is_found_and_what_is_not_sold_is_not(shop: Shop) -> None:
    who = await shop.customer()
    for change, found in (
        ("SELECT 1", [CAKE]),
        ("UPDATE products SET name = 'Cherry pie' WHERE sku = 'TART-1'", [CAKE]),
        ("UPDATE products SET is_active = false WHERE sku = 'CAKE-1'", []),
    ):
        await shop.owner.execute(change)
        await shop.simulator.rules(calls("find_products", query="lemon"), {"reply": "Fine."})
        turn = await shop.turn(who, "lemon?")
        text = result(turn)
        assert [one["sku"] for one in json.loads(text)] == found if found else "nothing" in text
    await shop.simulator.rules(calls("find_products", query="cherry"), {"reply": "Fine."})
    assert json.loads(result(await shop.turn(who, "cherry?")))[0]["sku"] == TART
    await shop.simulator.rules(calls("find_products", query="tart-1 please"), {"reply": "Fine."})
    assert json.loads(result(await shop.turn(who, "TART-1?")))[0]["sku"] == TART


async def test_who_sells_nothing_has_none_of_it_in_the_prompt(shop: Shop) -> None:
    await shop.owner.execute("UPDATE products SET is_active = false")
    turn = await shop.turn(await shop.customer(), "Hello?")
    names = {one["function"]["name"] for one in turn.requests[0]["tools"]}
    assert not names & {"find_products", "quote", "get_order_status", "create_order"}
    assert "find_products" not in turn.requests[0]["messages"][0]["content"]


async def test_another_tenants_products_are_not_there(shop: Shop, pool: Pool, owner: Conn) -> None:
    async with open_shop(pool, owner) as other:
        await sells(other, "X-1", "Lemon soap", "1.00")
        await shop.simulator.rules(calls("find_products", query="lemon soap"), {"reply": "Fine."})
        turn = await shop.turn(await shop.customer(), "soap?")
        assert "X-1" not in result(turn)
        await shop.simulator.rules(quotes(("X-1", 1)), {"reply": "Fine."})
        turn = await shop.turn(await shop.customer(), "soap!")
        assert result(turn).startswith("error: item 1 has a sku that nothing is sold by")


# ---- quoted --------------------------------------------------------------------------------------


async def test_a_quote_is_added_up_by_code_and_stands_under_the_answer(shop: Shop) -> None:
    who = await shop.customer()
    token = await quoted(shop, who, (CAKE, 2), (TART, 1), (CAKE, 1), says="With pleasure.")
    row = await newest(shop)
    assert row["message_type"] == "interactive"
    assert row["content_text"] == (
        "With pleasure.\n\nYour order would be:\n3 x Lemon cake: 115.50 USD\n"
        "1 x Walnut tart: 4.20 USD\n"
        "Total: 119.70 USD. It is placed when you press the button."
    )
    kept = await shop.owner.fetchrow(
        "SELECT token, total_amount::text, currency, status, expires_at - created_at AS lives,"
        " contact_id, conversation_id FROM quotes"
    )
    assert kept is not None
    assert tuple(kept)[:4] == (token, "119.70", "USD", "open")
    assert (kept["lives"].total_seconds(), kept["contact_id"]) == (24 * 3600, who[0])
    assert await orders(shop) == []
    assert await stock(shop) == 3, "a quote takes nothing"


@pytest.mark.parametrize(
    ("items", "why"),
    [
        ([{"sku": "NONE 5 EUR", "quantity": 1}], "item 1 has a sku that nothing is sold by"),
        ([{"sku": TART, "quantity": 2}, {"sku": TART, "quantity": 2}], "of item 1 there are 3"),
        ([{"sku": CAKE, "quantity": 0}], "item 1 has no quantity"),
        ([{"sku": CAKE, "quantity": -1}], "item 1 has no quantity"),
        ([{"sku": CAKE, "quantity": 1.5}], "item 1 has no quantity"),
        ([{"sku": CAKE, "quantity": 10**9}], "1000000 of a product"),
        ([{"sku": CAKE, "quantity": 1, "price": "0.01"}], None),
        ([{"quantity": 1}], "item 1 has no sku"),
        ([], "items are missing"),
        ("cake", "items are missing"),
    ],
)
async def test_what_a_model_gives_is_no_price_and_no_source(
    shop: Shop, items: Any, why: str | None
) -> None:
    await shop.simulator.rules(calls("quote", items=items), {"reply": "It is 5 EUR."})
    turn = await shop.turn(await shop.customer(), "cake!")
    if why is None:
        assert json.loads(result(turn))["total"] == "38.50 USD"
    else:
        assert why in result(turn)
        assert "5 EUR" not in result(turn)
        assert turn.said == [fixed_text(Kind.NO_AMOUNT, "en")]
        assert await statuses(shop) == []


async def test_of_quotes_the_newest_counts(shop: Shop) -> None:
    who = await shop.customer()
    first = await quoted(shop, who, (CAKE, 1))
    second = await quoted(shop, who, (CAKE, 2))
    assert await statuses(shop) == ["replaced", "open"]
    await press(shop, who, first)
    assert (await newest(shop))["content_text"] == fixed_text(Kind.QUOTE_OVER, "en")
    assert await orders(shop) == []
    await press(shop, who, second)
    assert [one["total"] for one in await orders(shop)] == ["77.00"]


async def test_an_answer_that_is_not_sent_offers_nothing(shop: Shop) -> None:
    await shop.simulator.rules(quotes((CAKE, 1)), {"reply": "Only 1.99 EUR!"})
    await shop.turn(await shop.customer(), "cake!")
    assert (await newest(shop))["message_type"] == "text"
    assert await statuses(shop) == []


# ---- ordered -------------------------------------------------------------------------------------


async def test_the_press_orders_without_a_model_and_outside_the_meter(shop: Shop) -> None:
    who = await shop.customer()
    token = await quoted(shop, who, (CAKE, 2), (TART, 1))
    units = await shop.owner.fetchval("SELECT sum(daily_messages_sent) FROM usage_tracking")
    turn = await press(shop, who, token)
    assert (turn.requests, turn.said) == ([], [])
    (order,) = await orders(shop)
    pressed = await shop.owner.fetchval("SELECT max(id) FROM messages WHERE direction = 'inbound'")
    assert order == {
        "order_number": order["order_number"],
        "status": "pending",
        "total": "81.20",
        "currency": "USD",
        "contact_id": who[0],
        "message_id": pressed,
        "items": [[CAKE, 2, "38.50"], [TART, 1, "4.20"]],
    }
    said = await newest(shop)
    total = {"number": order["order_number"], "total": "81.20 USD"}
    assert said["content_text"] == fixed_text(Kind.ORDERED, "en", **total)
    assert (said["metadata"]["kind"], said["metadata"]["reason"]) == ("notice", "ordered")
    assert await statuses(shop) == ["ordered"]
    assert await stock(shop) == 2
    sent = await shop.owner.fetchval("SELECT sum(daily_messages_sent) FROM usage_tracking")
    assert sent == units
    told = await shop.owner.fetch(
        "SELECT event_data ->> 'order_number' FROM analytics_events"
        " WHERE event_type = 'order.created'"
    )
    assert [row[0] for row in told] == [order["order_number"]]
    made = await shop.owner.fetchval("SELECT total_orders_created FROM monthly_usage_summary")
    assert made == 1


async def test_pressed_again_at_once_or_later_it_is_one_order(shop: Shop) -> None:
    who = await shop.customer()
    token = await quoted(shop, who, (TART, 1))
    for _ in range(3):
        await shop.presses(who, token, "Place the order")
    await shop.turn(who)
    first = (await newest(shop))["content_text"]
    said = "SELECT count(*) FROM messages WHERE metadata ->> 'effect' = 'ordered'"
    assert await shop.owner.fetchval(said) == 1
    await press(shop, who, token)
    assert (await newest(shop))["content_text"] == first
    assert len(await orders(shop)) == 1
    assert await stock(shop) == 2


async def test_a_forged_foreign_or_guessed_id_orders_nothing(shop: Shop) -> None:
    who, other = await shop.customer(), await shop.customer()
    token = await quoted(shop, other, (CAKE, 1))
    await shop.simulator.rules({"reply": "Yes?"})
    for forged in (token, "order.1", f"order:confirm:{1}", token[:-1]):
        turn = await press(shop, who, forged)
        assert turn.requests[0]["messages"][-1]["content"] == '"Place the order"'
    assert await orders(shop) == []
    await press(shop, other, token)
    assert [one["contact_id"] for one in await orders(shop)] == [other[0]]


async def test_another_price_at_the_press_makes_another_quote(shop: Shop) -> None:
    who = await shop.customer()
    token = await quoted(shop, who, (CAKE, 2))
    await shop.owner.execute("UPDATE products SET price = 40 WHERE sku = $1", CAKE)
    await press(shop, who, token)
    assert await orders(shop) == []
    text = (await newest(shop))["content_text"]
    assert text.startswith(fixed_text(Kind.REQUOTED, "en"))
    assert "Lemon cake: 38.50 USD \u2192 40.00 USD" in text
    assert "Total: 80.00 USD" in text
    assert await statuses(shop) == ["void", "open"]
    await press(shop, who, await button(shop))
    assert [one["total"] for one in await orders(shop)] == ["80.00"]
    await press(shop, who, token)
    assert len(await orders(shop)) == 1, "what was agreed to before is over"


async def test_another_name_at_the_press_makes_another_quote(shop: Shop) -> None:
    """For the same money under the same sku."""
    who = await shop.customer()
    token = await quoted(shop, who, (CAKE, 1))
    await shop.owner.execute("UPDATE products SET name = 'Mouse trap' WHERE sku = $1", CAKE)
    await press(shop, who, token)
    assert (await orders(shop), await statuses(shop)) == ([], ["void", "open"])
    assert "1 x Mouse trap: 38.50 USD" in (await newest(shop))["content_text"]


async def test_after_a_day_it_is_made_anew(shop: Shop) -> None:
    who = await shop.customer()
    token = await quoted(shop, who, (CAKE, 1))
    await shop.owner.execute("UPDATE quotes SET expires_at = now() - interval '1 s'")
    await press(shop, who, token)
    assert await orders(shop) == []
    await press(shop, who, await button(shop))
    assert len(await orders(shop)) == 1


async def test_what_is_gone_meanwhile_is_named_and_the_rest_quoted(shop: Shop) -> None:
    who = await shop.customer()
    token = await quoted(shop, who, (CAKE, 1), (TART, 3))
    await shop.owner.execute("UPDATE products SET stock = 1 WHERE sku = $1", TART)
    await press(shop, who, token)
    text = (await newest(shop))["content_text"]
    assert fixed_text(Kind.UNAVAILABLE, "en", items="Walnut tart (1)") in text
    assert "Total: 38.50 USD" in text
    await shop.owner.execute("DELETE FROM products WHERE sku = $1", CAKE)
    await press(shop, who, await button(shop))
    assert (await newest(shop))["content_text"] == fixed_text(
        Kind.UNAVAILABLE, "en", items="CAKE-1"
    )
    assert await orders(shop) == []
    assert await stock(shop) == 1


async def test_a_question_beside_the_press_is_answered_too(shop: Shop) -> None:
    who = await shop.customer()
    token = await quoted(shop, who, (CAKE, 1))
    await shop.writes(who, "And when are you open?")
    await shop.presses(who, token, "Place the order")
    await shop.writes(who, "Thanks")
    await shop.simulator.rules({"reply": "From 7 to 18."})
    seen = [await shop.turn(who) for _ in range(3)]
    assert [len(one.requests) for one in seen] == [1, 0, 1]
    assert [one.due for one in seen] == [True, True, False]
    assert len(await orders(shop)) == 1
    # And the model may say that it is ordered, since it is: of this order, and of no other.
    ((number,),) = await shop.owner.fetch("SELECT order_number FROM orders")
    true = f"Yes, your order {number} has been placed."
    await shop.simulator.rules({"reply": true, "times": 1})
    assert (await shop.turn(who, "Did it work?")).said == [true]
    await shop.simulator.rules({"reply": "Your order has been placed."})
    said = (await shop.turn(who, "And three tarts!")).said
    assert said == [fixed_text(Kind.NOT_DONE, "en")]


async def test_a_person_who_has_the_conversation_has_the_press_too(shop: Shop) -> None:
    who = await shop.customer()
    token = await quoted(shop, who, (CAKE, 1))
    await shop.presses(who, token, "Place the order")
    await shop.owner.execute(
        "UPDATE conversations SET taken_over_at = now(), taken_over_until = 'infinity',"
        " taken_over_by = 'human'"
    )
    await shop.turn(who)
    assert (await orders(shop), await statuses(shop)) == ([], ["open"])


# ---- faults --------------------------------------------------------------------------------------


async def test_a_turn_that_dies_before_its_commit_has_ordered_nothing(shop: Shop) -> None:
    who = await shop.customer()
    token = await quoted(shop, who, (TART, 1))
    await shop.owner.execute(
        "CREATE FUNCTION dies() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE 'dies' USING ERRCODE = 'data_exception'; END $$;"
        " CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION dies()"
    )
    try:
        turn = await press(shop, who, token)
        assert (turn.failed, turn.due) == (True, True)
        assert (await orders(shop), await statuses(shop), await stock(shop)) == ([], ["open"], 3)
    finally:
        await shop.owner.execute("DROP FUNCTION dies() CASCADE")
    await shop.turn(who)
    assert len(await orders(shop)) == 1


async def test_a_press_that_two_workers_have_orders_once(shop: Shop) -> None:
    """The lease of the first is swept while it works: the second has it from the beginning."""
    who = await shop.customer()
    token = await quoted(shop, who, (TART, 1))
    await shop.presses(who, token, "Place the order")
    claims = []
    for worker in (ME, WorkerId(2)):
        async with shop.pool.acquire() as conn:
            (claim,) = await claim_conversations(conn, worker, 1, 100)
        claims.append((worker, claim))
        await shop.owner.execute(
            "UPDATE conversations SET lease_owner = NULL, ready_at = now() WHERE id = $1", who[1]
        )
    await shop.owner.execute(
        "UPDATE conversations SET lease_owner = 2, epoch = $2 WHERE id = $1",
        *(who[1], claims[1][1].epoch),
    )
    await asyncio.gather(
        *(run_turn(shop.pool, shop.agent, worker, claim) for worker, claim in claims)
    )
    assert len(await orders(shop)) == 1
    assert await stock(shop) == 2


async def test_the_last_of_it_is_sold_once(shop: Shop) -> None:
    await shop.owner.execute("UPDATE products SET stock = 4 WHERE sku = $1", TART)
    people = [await shop.customer() for _ in range(6)]
    tokens = [await quoted(shop, who, (TART, 1)) for who in people]
    await shop.owner.execute("UPDATE conversations SET ready_at = NULL")
    for who, token in zip(people, tokens, strict=True):
        await shop.presses(who, token, "Place the order")
    async with shop.pool.acquire() as conn:
        claims = await claim_conversations(conn, ME, 10, 100)
    assert len(claims) == 6
    await asyncio.gather(*(run_turn(shop.pool, shop.agent, ME, claim) for claim in claims))
    assert await stock(shop) == 0
    assert len(await orders(shop)) == 4
    assert sorted(await statuses(shop)) == ["ordered"] * 4 + ["void"] * 2


async def test_what_is_cancelled_comes_back_once(shop: Shop) -> None:
    who = await shop.customer()
    await press(shop, who, await quoted(shop, who, (TART, 3)))
    assert await stock(shop) == 0
    for again in ("status = 'cancelled'", "status = 'cancelled'", "order_notes = 'x'"):
        await shop.owner.execute(f"UPDATE orders SET {again}")
        assert await stock(shop) == 3


async def test_nobody_takes_more_than_there_is(shop: Shop) -> None:
    """Whoever writes an order's items: the rule of the last resort is the database's."""
    who = await shop.customer()
    await press(shop, who, await quoted(shop, who, (TART, 2)))
    with pytest.raises(Exception, match="products_stock_check"):
        await shop.owner.execute(
            "INSERT INTO order_items (user_id, order_id, product_name, product_sku, quantity,"
            " unit_price, total_price) SELECT user_id, id, 'x', $1, 2, 1, 2 FROM orders",
            TART,
        )
    assert await stock(shop) == 1


async def test_a_turn_that_is_written_twice_quotes_once(shop: Shop) -> None:
    """By the input that began it."""
    who = await shop.customer()
    token = await quoted(shop, who, (CAKE, 1))
    now = Quoted((Item("Lemon cake", CAKE, 1, Decimal("38.50"), Decimal("38.50")),), "USD")
    async with tenant(shop.pool, shop.tenant.user_id) as conn:
        with pytest.raises(Exception, match="quotes_user_id_conversation_id_input_seq_key"):
            await keep(conn, shop.tenant.user_id, who[1], now, begun_by=1, token="order.another")
    await press(shop, who, token)
    assert len(await orders(shop)) == 1


async def test_a_quote_makes_one_order_whoever_writes_it(shop: Shop) -> None:
    who = await shop.customer()
    await press(shop, who, await quoted(shop, who, (CAKE, 1)))
    with pytest.raises(Exception, match="orders_quote"):
        await shop.owner.execute(
            "INSERT INTO orders (user_id, chatbot_id, contact_id, order_number, quote_id)"
            " SELECT user_id, chatbot_id, contact_id, 'X', quote_id FROM orders"
        )


# ---- carts ---------------------------------------------------------------------------------------


def cart(*items: tuple[str, Any, Any], text: str = "") -> dict[str, Any]:
    return {
        "catalog_id": "7",
        "text": text,
        "product_items": [
            {"product_retailer_id": sku, "quantity": n, "item_price": price, "currency": "USD"}
            for sku, n, price in items
        ],
    }


async def test_a_cart_is_priced_anew_and_what_differs_is_said(shop: Shop) -> None:
    who = await shop.customer()
    await shop.sends(who, "order", cart((CAKE, 2, 0.01), ("GONE-1", 1, 5), (TART, 1, 4.2)))
    turn = await shop.turn(who)
    assert turn.requests == []
    text = (await newest(shop))["content_text"]
    assert "Lemon cake: 0.01 USD \u2192 38.50 USD" in text
    assert fixed_text(Kind.UNAVAILABLE, "en", items="GONE-1") in text
    assert "Walnut tart: 4.20 USD\n" in text
    assert "Walnut tart: 4.20 USD \u2192" not in text
    assert "Total: 81.20 USD" in text
    assert await orders(shop) == []
    await press(shop, who, await button(shop))
    assert [one["total"] for one in await orders(shop)] == ["81.20"]


async def test_a_cart_as_the_shop_has_it_is_only_confirmed(shop: Shop) -> None:
    who = await shop.customer()
    await shop.sends(who, "order", cart((CAKE, "2", "38.5")))
    await shop.turn(who)
    assert (await newest(shop))["content_text"] == fixed_text(
        Kind.QUOTE, "en", items="2 x Lemon cake: 77.00 USD", total="77.00 USD"
    )


@pytest.mark.parametrize(
    "given",
    [
        cart(("GONE-1", 1, 5)),
        cart((CAKE, -1, 5)),
        cart((CAKE, 1, 5), text="Can you deliver today?"),
        cart(*[(f"S-{n}", 1, 5) for n in range(16)]),
        cart((CAKE, 10**7, 5)),
        cart((CAKE, "1e3", 5)),
    ],
)
async def test_no_cart_orders_by_itself(shop: Shop, given: dict[str, Any]) -> None:
    await shop.simulator.rules({"reply": "Yes?"})
    who = await shop.customer()
    await shop.sends(who, "order", given)
    turn = await shop.turn(who)
    assert await orders(shop) == []
    asked = given["text"] or given["product_items"][0]["product_retailer_id"] != "GONE-1"
    assert len(turn.requests) == bool(asked)
    if not asked:
        said = fixed_text(Kind.UNAVAILABLE, "en", items="GONE-1")
        assert (await newest(shop))["content_text"] == said


# ---- how far an order is -------------------------------------------------------------------------


async def test_a_customer_hears_of_their_own_orders_only(shop: Shop) -> None:
    who, other = await shop.customer(), await shop.customer()
    await press(shop, who, await quoted(shop, who, (CAKE, 2)))
    (order,) = await orders(shop)
    number = order["order_number"]
    await shop.owner.execute("UPDATE orders SET status = 'confirmed'")
    status = calls("get_order_status", order_number=number.lower())
    await shop.simulator.rules(status, {"reply": f"{number} over 77.00 USD has been ordered."})
    turn = await shop.turn(who, "Where is it?")
    (told,) = json.loads(result(turn))
    assert told["order_number"] == number
    assert (told["status"], told["total"], told["items"]) == (
        "confirmed",
        "77.00 USD",
        ["2 x Lemon cake"],
    )
    assert turn.said == [f"{number} over 77.00 USD has been ordered."]
    # An old order is no source for what nobody ordered, and nothing of it was cancelled.
    done = fixed_text(Kind.NOT_DONE, "en")
    for claim in (
        "I have placed your order for three tarts.",
        f"Your order {number} has been cancelled.",
        f"Your order {number} and K2K2-K2K2 has been placed.",
        "The tarts have been ordered.",
    ):
        await shop.simulator.rules(calls("get_order_status"), {"reply": claim})
        assert (await shop.turn(who, "three tarts too!")).said == [done]
        await shop.simulator.rules({"reply": claim})
        assert (await shop.turn(who, "Did it work?")).said == [done]
    for asks in (status, calls("get_order_status")):
        await shop.simulator.rules(asks, {"reply": "I see none."})
        turn = await shop.turn(other, "Where is it?")
        assert result(turn) == "nothing found: this customer has no such order"


async def test_an_ordered_quote_is_forgotten_and_its_order_stays(shop: Shop) -> None:
    who = await shop.customer()
    token = await quoted(shop, who, (CAKE, 1))
    await press(shop, who, token)
    await shop.owner.execute("UPDATE quotes SET created_at = now() - interval '31 days'")
    await forget_old_quotes(shop.pool)
    assert await statuses(shop) == []
    assert len(await orders(shop)) == 1
    await shop.simulator.rules({"reply": "Yes?"})
    await press(shop, who, token)
    assert len(await orders(shop)) == 1


async def test_pressed_again_after_the_order_was_cancelled_it_is_offered_anew(shop: Shop) -> None:
    who = await shop.customer()
    token = await quoted(shop, who, (TART, 1))
    await press(shop, who, token)
    await shop.owner.execute("UPDATE orders SET status = 'cancelled'")
    await press(shop, who, token)
    said = await newest(shop)
    assert said["content_text"].startswith(fixed_text(Kind.REQUOTED, "en"))
    assert "effect" not in said["metadata"]
    assert (len(await orders(shop)), await statuses(shop)) == (1, ["ordered", "open"])
    again = await button(shop)
    assert again != token
    await press(shop, who, again)
    assert [one["status"] for one in await orders(shop)] == ["cancelled", "pending"]
    assert await stock(shop) == 2


async def test_a_cart_with_a_product_twice_loses_none_of_its_lines(shop: Shop) -> None:
    """Sixteen lines of the same, and one more behind them."""
    who = await shop.customer()
    lines = [(CAKE, 1, 38.5)] * 16
    await shop.sends(who, "order", cart(*lines, (TART, 1, 4.2)))
    await shop.turn(who)
    text = (await newest(shop))["content_text"]
    assert "16 x Lemon cake: 616.00 USD\n1 x Walnut tart: 4.20 USD" in text
    assert "Total: 620.20 USD" in text


async def test_stop_beside_an_order_leaves_a_message_that_whatsapp_takes(shop: Shop) -> None:
    for n in range(15):
        await sells(shop, f"X-{n}", f"{n} A cake with a name of some length, with cream", "10")
    who = await shop.customer()
    items = [(f"X-{n}", 1) for n in range(15)]
    await shop.simulator.rules(quotes(*items), {"reply": "Gladly, it is a pleasure. " * 40})
    await shop.turn(who, "I want cakes", "STOP")
    row = await newest(shop)
    assert row["metadata"]["interactive"]["type"] == "buttons"
    assert fixed_text(Kind.OPTED_OUT, "en") in row["content_text"]
    assert units(row["content_text"]) <= BODY_UNITS["buttons"]


async def test_a_tenant_that_is_not_served_sells_nothing(shop: Shop) -> None:
    who = await shop.customer()
    token = await quoted(shop, who, (CAKE, 1))
    await shop.owner.execute("UPDATE users SET is_active = false")
    await press(shop, who, token)
    assert (await orders(shop), await statuses(shop)) == ([], ["open"])


async def test_what_a_cart_claims_is_no_price_of_the_shop(shop: Shop) -> None:
    """Who sends a cart chooses what it says that things cost."""
    who = await shop.customer()
    await shop.sends(who, "order", cart((CAKE, 1, 33.5)))
    await shop.turn(who)
    sums = calls("calculate", expression="38.50 - 33.50")
    await shop.simulator.rules(sums, {"reply": "Then it is 5.00 USD."})
    turn = await shop.turn(who, "and the discount?")
    assert result(turn).startswith("error")
    assert not any("5.00 USD" in one for one in turn.said)
