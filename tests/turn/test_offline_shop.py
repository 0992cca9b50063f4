"""A customer orders from a shop that has no model: by words, a list and a button."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from db.pool import Conn, Pool
from handlers.agent.graph import Agent
from handlers.agent.offline import Offline
from tests.turn.shop import Shop, Who, open_shop
from tests.turn.test_shop import orders, press, sells


@pytest.fixture
async def shop(pool: Pool, owner: Conn) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as shop:
        shop.agent = Agent(Offline())
        await sells(shop, "CAKE-1", "Lemon cake, 20 cm", "26.00", stock=5)
        await sells(shop, "CAKE-2", "Chocolate cake, 20 cm", "28.00")
        await sells(shop, "TART-1", "Walnut tart", "4.20", stock=0)
        yield shop


async def offered(shop: Shop) -> dict[str, Any]:
    """What stands under the newest message."""
    kept = await shop.owner.fetchval(
        "SELECT metadata -> 'interactive' FROM messages WHERE direction = 'outbound'"
        " ORDER BY id DESC LIMIT 1"
    )
    found: dict[str, Any] = json.loads(kept) if kept else {}
    return found


async def chooses(shop: Shop, who: Who, title: str) -> None:
    (choice,) = [one for one in (await offered(shop))["choices"] if one["title"] == title]
    reply = {"type": "list_reply", "list_reply": {"id": choice["id"], "title": title}}
    await shop.sends(who, "interactive", reply)


async def test_an_order_in_words_is_quoted_and_the_button_orders_it(shop: Shop) -> None:
    who = await shop.customer()
    turn = await shop.turn(who, "Hi! I want 2 lemon cakes")
    (said,) = turn.said
    assert said.startswith("Gladly.\n\nYour order would be:\n2 x Lemon cake, 20 cm: 52.00 ")
    assert turn.requests == []  # no model
    (button,) = (await offered(shop))["choices"]
    await press(shop, who, button["id"])
    (order,) = await orders(shop)
    assert (order["total"], order["items"]) == ("52.00", [["CAKE-1", 2, "26.00"]])


async def test_what_there_is_can_be_pressed_and_how_many_is_kept(shop: Shop) -> None:
    who = await shop.customer()
    (said,) = (await shop.turn(who, "I would like 3 cakes")).said
    assert "Lemon cake, 20 cm: 26.00 USD" in said
    assert "Walnut" not in said
    shown = await offered(shop)
    assert shown["type"] == "list"
    titles = {one["title"]: one["description"] for one in shown["choices"]}
    assert titles == {"Lemon cake, 20 cm": "26.00 USD", "Chocolate cake, 20 cm": "28.00 USD"}
    await chooses(shop, who, "Chocolate cake, 20 cm")
    (said,) = (await shop.turn(who)).said
    assert "3 x Chocolate cake, 20 cm: 84.00 USD" in said


async def test_everything_that_is_sold_is_told_but_what_is_sold_out(shop: Shop) -> None:
    who = await shop.customer()
    (said,) = (await shop.turn(who, "what do you sell?")).said
    assert "Lemon cake" in said
    assert "Walnut" not in said


@pytest.mark.parametrize("asked", ["I want 6 lemon cakes", "do you have a walnut tart?"])
async def test_what_there_is_not_enough_of_is_said_so(shop: Shop, asked: str) -> None:
    who = await shop.customer()
    (said,) = (await shop.turn(who, asked)).said
    assert said.startswith("This is not available as you want it:\n")
    assert await offered(shop) == {}


@pytest.mark.parametrize(
    "text",
    ["do you sell cars?", "I ordered 2 cakes yesterday", "cancel my order", "I want a bicycle"],
)
async def test_what_is_no_order_gets_no_quote(shop: Shop, text: str) -> None:
    who = await shop.customer()
    await shop.turn(who, text)
    assert await offered(shop) == {}
    assert await shop.owner.fetchval("SELECT count(*) FROM quotes") == 0


async def test_a_question_beside_an_order_is_answered_too(shop: Shop) -> None:
    who = await shop.customer()
    (said,) = (await shop.turn(who, "When are you open?", "I'd like a lemon cake")).said
    assert said.startswith("From 7 to 18.\n\nGladly.\n\nYour order would be:")


async def test_an_order_that_was_spoken_is_one(shop: Shop) -> None:
    who = await shop.customer()
    (said,) = (await shop.turn(who, "[voice message] I want two lemon cakes.")).said
    assert "2 x Lemon cake, 20 cm: 52.00 USD" in said


async def test_a_shop_that_sells_nothing_answers_as_before(shop: Shop) -> None:
    await shop.owner.execute("UPDATE products SET is_active = false")
    who = await shop.customer()
    (said,) = (await shop.turn(who, "I want 2 lemon cakes")).said
    assert "lemon" not in said.lower()
    assert await offered(shop) == {}
