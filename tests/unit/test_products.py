"""What a product may be."""

from decimal import Decimal

import pytest

from handlers.rules import products


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("38.50", "38.50"),
        ("0", "0"),
        ("7.5", "7.5"),
        ("9999999999999999.99", "9999999999999999.99"),
        *[
            (wrong, None)
            for wrong in ("", " 1", "-1", "1,50", "1.234", "1e3", "NaN", "\uff11", "1\n")
        ],
        ("1" * 17, None),
    ],
)
def test_a_price_of_a_file(text: str, price: str | None) -> None:
    assert products.price_of(text) == (None if price is None else Decimal(price))


@pytest.mark.parametrize(
    ("price", "said"),
    [("-0.01", "less than 0"), ("0.001", "more than 2"), ("1e16", "at most"), ("1e15", None)],
)
def test_a_price(price: str, said: str | None) -> None:
    found = products.price_problem(Decimal(price))
    assert (found is None) if said is None else (found is not None and said in found)


def test_texts() -> None:
    assert products.name_problem("Lemon cake") is None
    assert products.name_problem(" \t") == "empty"
    assert products.name_problem("x" * 256) == "has 256 characters, 255 at most"
    assert products.sku_problem("CAKE-1") is None
    assert products.sku_problem("") == "empty"
    assert products.sku_problem("CAKE ") == "begins or ends with a space"
    assert products.description_problem("x" * 10_001) == "has 10001 characters, 10000 at most"


def test_an_image_is_of_the_internet() -> None:
    assert products.image_url_problem("https://shop.example/cake.png") is None
    for wrong in ("http://shop.example/", "javascript:alert(1)", "https://127.0.0.1/", "cake.png"):
        assert products.image_url_problem(wrong), wrong
