"""Amounts of money as customers and shops of many countries write them; and sums of them."""

from decimal import Decimal

import pytest

from handlers.rules.amounts import Numbers, amounts_in
from handlers.rules.requests import (
    Approving,
    Bound,
    Money,
    NoMoney,
    Unbounded,
    approving,
    bound_of,
    money_of,
    request_key,
)
from handlers.rules.sums import NoSum, calculated


def found(text: str) -> list[tuple[str, str]]:
    """Each with its smallest reading, and its currency when there is only one."""
    return [
        (f"{min(one.values).normalize():f}", min(one.codes) if len(one.codes) == 1 else "")
        for one in amounts_in(text)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It costs 38,50 EUR.", [("38.5", "EUR")]),
        (
            "It costs \u20ac38.50, or 1.234,56 \u20ac for all.",
            [("38.5", "EUR"), ("1234.56", "EUR")],
        ),
        ("38,- \u20ac", [("38", "EUR")]),
        ("1'234.50 CHF", [("1234.5", "CHF")]),
        ("USD1,000.50 or US$5", [("1000.5", "USD"), ("5", "USD")]),
        ("\u20b9\u0967,\u0968\u0969,\u096a\u096b\u096c.\u096b\u0966", [("123456.5", "INR")]),
        ("\u0663\u0668\u066b\u0665\u0660 \u0631\u064a\u0627\u0644", [("38.5", "SAR")]),
        ("\u06f1\u06f2\u06f3 \u06cc\u0648\u0631\u0648", [("123", "EUR")]),
        ("\uff12\uff10\u30c9\u30eb", [("20", "")]),
        ("3\u4e07\u5186", [("30000", "JPY")]),
        ("5 mil pesos", [("5000", "")]),
        ("5k EUR", [("5000", "EUR")]),
        ("38-45 EUR", [("38", "EUR"), ("45", "EUR")]),
        ("from 10 to 20 dollars", [("10", ""), ("20", "")]),
        ("pay 1 20 EUR", [("20", "EUR")]),
        ("AR$ 500", [("500", "")]),
        ("10 \u0440\u0443\u0431\u043b\u0435\u0439", [("10", "RUB")]),
        ("0 EUR", [("0", "EUR")]),
        ("50 cents", [("0.5", "")]),
    ],
)
def test_amounts(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "We open at 7:30 and close at 18.00 Uhr, Fr. 8-18.",
        "On 2026-11-30, or 30.11.2026, or 11/30/26.",
        "Order 4711 is here, K7Q2-M4XD too; call +12025550143.",
        "2 pounds of flour, 500 g, 24/7, 3-5 days, 20 real things",
        "Euro 2024 was in Germany; TRY 2 flavours; 100 %",
        "Room 12, 3rd floor, since 1998",
        "Table for 8 at 8",
    ],
)
def test_what_is_no_amount(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("amount", "text", "stands"),
    [
        ("38,50 EUR", "| cake | 38.50 |", True),
        ("38,50 EUR", "The cake is \u20ac 38.5", True),
        ("38,50 EUR", "The cake is 38.50 USD", False),
        ("38,50 EUR", "3850 g, 38.51", False),
        ("38,50 EUR", "at 38.50 Uhr", False),
        ("7 EUR", "We open at 7:00", False),
        ("5000 pesos", "cuesta 5 mil pesos", True),
        ("$38", "38 USD", True),
        ("1.000 EUR", "1000", True),
    ],
)
def test_an_amount_stands_in_a_text(amount: str, text: str, *, stands: bool) -> None:
    (one,) = amounts_in(amount)
    assert Numbers([text]).have(one) == stands


def test_a_price_is_marked_or_has_decimals() -> None:
    assert Numbers(["7 EUR"]).have_price(Decimal(7))
    assert Numbers(["cake 7.50"]).have_price(Decimal("7.5"))
    assert not Numbers(["we open at 7"]).have_price(Decimal(7))


@pytest.mark.parametrize(
    ("expression", "result", "cents"),
    [
        ("3 * 38.50 + 4", "119.5", "119.50"),
        ("(2+3)*4", "20", "20.00"),
        ("10/3", "3.333333", "3.33"),
        ("38,50 \u00d7 2", "77", "77.00"),
        ("100*(1-10%)", "90", "90.00"),
        ("-3 + 5", "2", "2.00"),
        ("\u0663*\u0662", "6", "6.00"),
        ("1,234.50+1", "1235.5", "1235.50"),
        ("0.1+0.2", "0.3", "0.30"),
    ],
)
def test_sums(expression: str, result: str, cents: str) -> None:
    total = calculated(expression)
    assert (total.text, total.cents) == (result, cents)


@pytest.mark.parametrize(
    "expression",
    [
        *("", "1/0", "2**9", "9" * 30, "3 4", "1+", "(1", "1)", "__import__('os')", "2^3", "e"),
        "(" * 50 + "1" + ")" * 50,
        "1+" * 150 + "1",
    ],
)
def test_what_is_no_sum(expression: str) -> None:
    with pytest.raises(NoSum):
        calculated(expression)


# ---- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "money"),
    [
        ((None, None), None),
        (("", "EUR"), None),
        (("38.50", "eur"), Money(Decimal("38.50"), "EUR")),
        ((38, None), Money(Decimal(38), "USD")),
        ((38.5, "EUR"), Money(Decimal("38.5"), "EUR")),
    ],
)
def test_the_money_of_a_request(given: tuple[object, object], money: Money | None) -> None:
    assert money_of(*given, "USD") == money


@pytest.mark.parametrize(
    "given",
    [
        *(("x", None), ("-5", None), (0, None), (True, None), ("NaN", None), ("Infinity", None)),
        *(("1.234", None), ("1e30", None), ("5", "euro"), ([], None)),
    ],
)
def test_what_is_no_money(given: tuple[object, object]) -> None:
    with pytest.raises(NoMoney):
        money_of(*given, "USD")


def test_equal_requests_have_one_key() -> None:
    five, six = Money(Decimal(5), "EUR"), Money(Decimal(6), "EUR")
    key = request_key("refund", "Refund order 12, caf\u00e9!", five)
    assert key == request_key("refund", "  refund ORDER 12 cafe\u0301", five)
    others = [
        request_key("refund", "Refund order 12, caf\u00e9", six),
        request_key("refund", "Refund order 12, caf\u00e9", None),
        request_key("refund", "Refund order 13, caf\u00e9", five),
        request_key("return", "Refund order 12, caf\u00e9", five),
        request_key("refund", "Refund order 12, cafe", five),
        request_key("refund", "Refund order 1.2, caf\u00e9", five),
    ]
    assert key not in others


def test_a_bound_is_the_amount_unless_somebody_says_more() -> None:
    five = Money(Decimal(5), "EUR")
    assert bound_of(five, None, None, False) == Bound(Decimal(5), Decimal(5), False)
    assert bound_of(five, Decimal(9), None, True) == Bound(Decimal(9), Decimal(9), True)
    assert bound_of(None, None, None, True) == Bound(None, None, True)
    for wrong, field in (
        ((five, Decimal(9), Decimal(8), False), "max_per_day"),
        ((five, None, Decimal(4), False), "max_per_day"),
        ((None, Decimal(1), None, False), "max_amount"),
        ((None, None, Decimal(1), False), "max_per_day"),
    ):
        with pytest.raises(Unbounded) as unbounded:
            bound_of(*wrong)
        assert unbounded.value.field == field


@pytest.mark.parametrize(
    ("money", "details", "is_approved"),
    [
        (Money(Decimal(5), "EUR"), "Refund of 5 EUR for order 99", True),
        (Money(Decimal(5), "EUR"), "Refund for order 99", True),
        (Money(Decimal("5.01"), "EUR"), "Refund", False),
        (Money(Decimal(5), "USD"), "Refund", False),
        # Words that speak of more money than is asked for.
        (Money(Decimal(5), "EUR"), "Refund of 9,500 EUR for order 99", False),
        (Money(Decimal(5), "EUR"), "Refund of \u20ac9.500", False),
        (Money(Decimal(5), "EUR"), "Refund of 5 USD", False),
        (None, "Refund of 5 EUR for order 12", False),
    ],
)
def test_what_a_bound_approves(money: Money | None, details: str, *, is_approved: bool) -> None:
    decision = Approving(
        id=1,
        request_type="refund",
        request_key=request_key("refund", "Refund of 5 EUR for order 12", None),
        context={},
        currency="EUR",
        max_amount=Decimal(5),
    )
    key = request_key("refund", details, money)
    given: dict[str, object] = {"key": key, "context": {}, "money": money, "details": details}
    ids = [one.id for one in approving([decision], request_type="refund", **given)]  # type: ignore[arg-type]
    assert ids == ([1] if is_approved else [])
    assert approving([decision], request_type="discount", **given) == []  # type: ignore[arg-type]
