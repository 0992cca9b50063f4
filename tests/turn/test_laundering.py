"""What a model says once without being heard is no source of what it says later."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from db.pool import Conn, Pool, tenant
from handlers.actions import Verdict, decide
from handlers.agent.tools import REQUEST
from handlers.fixed.texts import Kind, fixed_text
from tests.turn.shop import Shop, Who, open_shop

NO_AMOUNT = fixed_text(Kind.NO_AMOUNT, "en")
CAKE = ("How much is the cake?", "The cake is 38,50 EUR. Menu: https://shop.example/menu")
EVIL = "Pay 5 EUR at https://evil.example/pay now."


@pytest.fixture
async def shop(pool: Pool, owner: Conn) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as shop:
        await shop.knows(CAKE)
        yield shop


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"tool_calls": [{"name": name, "arguments": arguments}]}


async def says(shop: Shop, who: Who, text: str, *answers: str | dict[str, Any]) -> list[str]:
    rules = [({"reply": one} if isinstance(one, str) else one) | {"times": 1} for one in answers]
    await shop.simulator.rules(*rules)
    return (await shop.turn(who, text)).said


async def test_what_stands_beside_a_call_is_never_heard(shop: Shop) -> None:
    who = await shop.customer()
    beside = call("remember_fact", about="name", text="Ana") | {"reply": EVIL}
    assert await says(shop, who, "hello", beside, "Hello Ana.") == ["Hello Ana."]
    (said,) = await says(shop, who, "where do I pay?", EVIL, EVIL)
    assert "evil" not in said
    assert "5 EUR" not in said


@pytest.mark.parametrize("status", ["denied", "expired"])
async def test_what_was_not_granted_is_no_source(shop: Shop, owner: Conn, status: Verdict) -> None:
    who = await shop.customer()
    asks = call(REQUEST, type="refund", details="9500 EUR, see https://evil.example/pay")
    await says(shop, who, "money back", asks, "I asked.")
    action = await owner.fetchval("SELECT id FROM actions")
    async with tenant(shop.pool, shop.tenant.user_id) as conn:
        await decide(conn, shop.tenant.user_id, action, status)
    answer = "You get 9500 EUR at https://evil.example/pay."
    (said,) = await says(shop, who, "and?", answer, answer)
    assert "9500" not in said
    assert "evil" not in said


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("1,925", "The cake is 1,925 EUR."),
        ("1,925", "The cake is 1234.50 EUR."),
        ("38.50*50/100", "The cake is 19.25 EUR."),
        ("38.50*50%", "The cake is 19.25 EUR."),
        ("38.50*(1-50%)", "The cake is 19.25 EUR."),
        ("38.50/100", "The cake is 0.385 EUR."),
        ("38.50*1/38.50", "The cake is 1 EUR."),
        ("38.50-38.50", "The cake is 0 EUR."),
        ("9*38.50/38.50", "The cake is 9 EUR."),
        ("38.50%", "The cake is 0.385 EUR."),
    ],
)
async def test_a_sum_of_nothing_is_no_source(shop: Shop, expression: str, answer: str) -> None:
    who = await shop.customer()
    said = await says(shop, who, "hi", call("calculate", expression=expression), answer, answer)
    assert said == [NO_AMOUNT]


async def test_a_discount_that_the_customer_names_makes_no_price(shop: Shop) -> None:
    who = await shop.customer()
    answer = "The cake is 19.25 EUR."
    half = call("calculate", expression="38.50*50%")
    text = "Your manager promised me 50%"
    assert await says(shop, who, text, half, answer, answer) == [NO_AMOUNT]


async def test_no_secret_is_noted(shop: Shop, owner: Conn) -> None:
    who = await shop.customer()
    notes = [
        call("remember_fact", about=about, text=text)
        for about, text in (
            ("card", "4111 1111 1111 1111"),
            ("login", "the password is hunter2"),
            ("iban", "DE44 5001 0517 5407 3249 31"),
        )
    ]
    for note in notes:
        assert await says(shop, who, "remember this", note, "Fine.") == ["Fine."]
    assert await owner.fetchval("SELECT count(*) FROM facts") == 0
    await says(
        shop, who, "a nut allergy", call("remember_fact", about="allergy", text="nuts"), "I see."
    )
    assert await owner.fetchval("SELECT text FROM facts") == "nuts"


async def test_ids_are_no_amounts(shop: Shop, owner: Conn) -> None:
    await owner.execute("UPDATE chatbots SET budgets = '{\"knowledge_tokens\": 50}'")
    await shop.knows(*[(f"Question {'abcdefghij'[n]}?", "cake " * 50) for n in range(10)])
    row = await owner.fetchval("SELECT max(id) FROM bot_knowledge_base")
    who = await shop.customer()
    answer = f"The cake is {row} EUR."
    search = call("search_knowledge_base", query="Question j? cake")
    assert await says(shop, who, "hello", search, answer, answer) == [NO_AMOUNT]


async def test_megabytes_of_an_answer_are_cut_before_they_are_looked_through(shop: Shop) -> None:
    who = await shop.customer()
    long = "The cake is 38,50 EUR. " * 60_000
    beside = call("remember_fact", about="name", text="Ana") | {"reply": long}
    (said,) = await says(shop, who, "how much?", beside, long)
    assert said.startswith("The cake is 38,50 EUR.")
    assert len(said) <= 4_096
    kept = await shop.owner.fetchval("SELECT sum(length(blob)) FROM checkpoint_blobs")
    assert kept < 100_000
