"""What is added up and said of it."""

from decimal import Decimal
from typing import Any

import pytest

from handlers.fixed.languages import TEXTS_MAX
from handlers.fixed.texts import Kind, fixed_text, languages_spoken
from handlers.fixed.voice import Voice
from handlers.quotes import Offered, what_can_be
from handlers.rules.choices import BODY_UNITS
from handlers.rules.cutting import units
from handlers.rules.orders import Sold, Wanted
from handlers.rules.products import PRICE_MAX
from handlers.rules.quotes import (
    ITEMS_MAX,
    Lacking,
    Quoted,
    Seen,
    as_rows,
    cart_of,
    item_lines,
    of_rows,
    quoted,
    together,
)
from handlers.turns.sale import above, quote_text, said_of

SOLD = {
    "A": Sold("A", "Apple [cake]", Decimal("0.10"), 5),
    "B": Sold("B", "Bread", Decimal("3.05")),
    "N": Sold("N", "Not priced", None),
}


def of(**quantities: int) -> list[Wanted]:
    return [Wanted(sku, n) for sku, n in quantities.items()]


def test_it_is_added_up_exactly() -> None:
    found = quoted(of(A=3, B=7), SOLD, "EUR")
    assert isinstance(found, Quoted)
    assert found.total == Decimal("21.65")
    assert item_lines(found, 400) == "3 x Apple (cake): 0.30 EUR\n7 x Bread: 21.35 EUR"
    assert of_rows(as_rows(found), "EUR") == found


def test_each_product_stands_once() -> None:
    assert together([*of(A=1, B=2), *of(A=4)]) == of(A=5, B=2)


def test_what_cannot_be_is_told_and_the_rest_is() -> None:
    now, lacking = what_can_be(of(A=6, B=1, N=1, X=1), SOLD, "EUR")
    assert now is not None
    assert [one.product_sku for one in now.items] == ["B"]
    assert lacking == [
        Lacking("A", "Apple [cake]", 5),
        Lacking("N", "Not priced"),
        Lacking("X", None),
    ]
    assert what_can_be(of(X=1), SOLD, "EUR") == (None, [Lacking("X", None)])


def test_more_than_an_order_can_have_is_no_quote() -> None:
    dear = {"D": Sold("D", "Dear", PRICE_MAX), "E": Sold("E", "Dear too", PRICE_MAX)}
    assert isinstance(quoted([Wanted("D", 1)], dear, "EUR"), Quoted)
    assert isinstance(quoted([Wanted("D", 2)], dear, "EUR"), list)
    assert isinstance(quoted([Wanted("D", 1), Wanted("E", 1)], dear, "EUR"), list)


@pytest.mark.parametrize("language", sorted(languages_spoken()))
def test_the_longest_quote_fits_under_a_button_in_every_language(language: str) -> None:
    voice = Voice(chosen=language)
    sold = {
        f"S{n}": Sold(f"S{n}", "\u00e9" * 255, Decimal("99999999.99")) for n in range(ITEMS_MAX)
    }
    now = quoted([Wanted(sku, 999_999) for sku in sold], sold, "EUR")
    assert isinstance(now, Quoted)
    quote = quote_text(voice, now)
    assert units(quote) <= BODY_UNITS["buttons"]
    text = above("A sentence about cakes. " * 60, quote)
    assert units(text) <= BODY_UNITS["buttons"]
    assert text.endswith(quote)
    seen = {sku: Seen(Decimal(1), "EUR") for sku in sold}
    lacking = [Lacking(f"X{n}" * 30, None) for n in range(10)]
    said = said_of(Offered(now, lacking, seen, was_agreed=True), voice)
    assert units(said.text) <= BODY_UNITS["buttons"]
    assert said.text.endswith(quote)


def test_a_customer_is_spoken_to_in_their_language() -> None:
    wrote = Voice(wrote=["Hola, quisiera dos tartas por favor"][:TEXTS_MAX])
    said = said_of(Offered(None, [Lacking("X", None)]), wrote)
    assert said.text == fixed_text(Kind.UNAVAILABLE, "es", items="X")


@pytest.mark.parametrize(
    "items",
    [
        None,
        [],
        [{}],
        ["x"],
        [{"product_retailer_id": "A", "quantity": 0}],
        [{"product_retailer_id": "A", "quantity": True}],
        [{"product_retailer_id": "", "quantity": 1}],
        [{"product_retailer_id": "A", "quantity": "1.5"}],
        [{"product_retailer_id": "A", "quantity": 10**100}],
        [{"product_retailer_id": "A", "quantity": 600_000}] * 2,
        [{"product_retailer_id": f"A{n}", "quantity": 1} for n in range(ITEMS_MAX + 1)],
    ],
)
def test_what_no_phone_makes_is_no_cart(items: Any) -> None:
    assert cart_of({"product_items": items}) is None
    assert cart_of(items) is None


@pytest.mark.parametrize("price", [None, "x", "NaN", float("inf"), -1, 10**30, {}, True])
def test_a_price_that_is_none_was_not_seen(price: Any) -> None:
    item = {"product_retailer_id": "A", "quantity": 2, "item_price": price, "currency": "EUR"}
    cart = cart_of({"product_items": [item]})
    assert cart is not None
    assert (cart.wanted, cart.seen) == ((Wanted("A", 2),), {})
