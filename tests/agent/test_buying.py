"""What the built-in answerer takes for an order, a question about products, and neither."""

import pytest

from handlers.agent.buying import Product, products_in, sale_of, wish_of

LEMON = Product("CAKE-LEMON-20", "Lemon cake, 20 cm", "26.00 EUR", "in stock")
CHOCOLATE = Product("CAKE-CHOC-20", "Chocolate cake, 20 cm", "28.00 EUR", "only 2 left")
TART = Product("TART-APPLE", "Apple tart", "21.00 EUR", "in stock")
TORTE = Product("TORTE", "Zitronentorte", "30.00 EUR", "in stock")
TARTA = Product("TARTA", "Tarta de limón", "30.00 EUR", "in stock")
SHOP = (LEMON, CHOCOLATE, TART, TORTE, TARTA)


def quoted(text: str, before: str = "") -> list[tuple[str, int]] | None:
    """None: no order. Whatever there is was found."""
    wish = wish_of(text)
    sale = sale_of(wish, SHOP, wish_of(before)) if wish is not None else None
    return [(one.sku, count) for one, count in sale.items] if sale and sale.items else None


def shown(text: str) -> list[str] | None:
    wish = wish_of(text)
    sale = sale_of(wish, SHOP) if wish is not None else None
    return [one.sku for one in sale.shown] if sale and sale.shown else None


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("I want 2 lemon cakes", {LEMON: 2}),
        ("i would like to order a lemon cake", {LEMON: 1}),
        ("I'd like a lemon cake, 20 cm, please", {LEMON: 1}),
        ("Can I have three apple tarts?", {TART: 3}),
        ("2x lemon cake and 3 apple tarts", {LEMON: 2, TART: 3}),
        ("give me 3 chocolate cakes & 1 apple tart", {CHOCOLATE: 3, TART: 1}),
        ("We'll take two dozen apple tarts", {TART: 24}),
        ("an apple tart please", {TART: 1}),
        ("please send us 12 TART-APPLE", {TART: 12}),
        ("How do I order a lemon cake?", {LEMON: 1}),
        ("Quiero dos tartas de limón", {TARTA: 2}),
        ("Me gustaría pedir una tarta de limón, por favor", {TARTA: 1}),
        ("Ich möchte zwei Zitronentorten bestellen", {TORTE: 2}),
        ("Ich hätte gern eine Zitronentorte", {TORTE: 1}),
        ("Kann ich 3 Zitronentorten haben?", {TORTE: 3}),
        ('[in reply to "We bake, every day."]\nI want a lemon cake', {LEMON: 1}),
        ('[chose "Lemon cake, 20 cm"]', {LEMON: 1}),
    ],
)
def test_what_is_an_order(text: str, items: dict[Product, int]) -> None:
    assert quoted(text) == [(one.sku, count) for one, count in items.items()]


@pytest.mark.parametrize(
    "text",
    [
        "do you sell cars?",
        "I ordered 2 cakes yesterday",
        "I ordered 2 lemon cakes",
        "cancel my order",
        "I want to cancel my order of 2 lemon cakes",
        "I want a refund for my lemon cake",
        "I don't want a lemon cake",
        "I have 2 lemon cakes",
        "I like lemon cake",
        "my lemon cake was broken",
        "I want to know whether the lemon cake has nuts",
        "Can I get the lemon cake without sugar?",
        "2 lemon cakes for 12 people",
        "2 lemon cakes and 3",
        "I want a lemon tart",
        "I want 2 lemon cakes and a bicycle",
        "I want 99999 lemon cakes",
        "I need a birthday cake",
        "How long does a lemon cake take?",
        "where is my order?",
        "No quiero una tarta de limón",
        "¿Dónde está mi pedido?",
        "Ich möchte keine Zitronentorte",
        "Ich hatte eine Zitronentorte bestellt",
        '[chose "Bicycle"]',
        '[chose ""]',
        "I want " + "lemon " * 60 + "cake",
        "",
        "2",
    ],
)
def test_what_is_none(text: str) -> None:
    assert quoted(text) is None


@pytest.mark.parametrize(
    ("text", "products"),
    [
        ("what cakes do you have?", [LEMON, CHOCOLATE]),
        ("hi which cakes do you sell", [LEMON, CHOCOLATE]),
        ("I want 2 cakes", [LEMON, CHOCOLATE]),
        ("do you have apple tarts?", [TART]),
        ("how much is the lemon cake?", [LEMON]),
        ("what do you sell?", [*SHOP]),
        ("menu please", [*SHOP]),
        ("I'd like to order something", [*SHOP]),
        ("¿Qué tartas tienen?", [TARTA]),
        ("¿Cuánto cuesta la tarta de limón?", [TARTA]),
        ("Was verkaufen Sie?", [*SHOP]),
        ("Was kostet die Zitronentorte?", [TORTE]),
    ],
)
def test_what_asks_what_there_is(text: str, products: list[Product]) -> None:
    assert shown(text) == [one.sku for one in products]


@pytest.mark.parametrize(
    "text",
    [
        "do you sell cars?",
        "do you have parking?",
        "What do you have that is vegan?",
        "what do you have on Sunday?",
        "which of your products contain nuts?",
        "how much is a birthday cake?",
        "how much is it?",
        "When are you open?",
        "what can you do for me?",
    ],
)
def test_what_asks_something_else(text: str) -> None:
    assert shown(text) is None


def test_how_many_is_kept_where_there_was_a_choice() -> None:
    chosen = '[chose "Lemon cake, 20 cm"]'
    assert quoted(chosen, "I want 3 cakes") == [(LEMON.sku, 3)]
    assert quoted(chosen, "I want 3 tarts") == [(LEMON.sku, 1)]
    assert quoted(chosen, "what cakes do you have?") == [(LEMON.sku, 1)]


@pytest.mark.parametrize("result", ["nothing found: try other words", "error: the tool failed"])
def test_what_is_not_found_is_nothing(result: str) -> None:
    assert products_in(result) == []
