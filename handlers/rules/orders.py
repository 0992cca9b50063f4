"""How an order moves, what it costs, and how it is called. Pure."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from handlers.rules.products import PRICE_MAX

# The database holds to the same (order_moves() of migrations/0056).
MOVES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = MappingProxyType(
    {
        "status": {
            "pending": ("confirmed", "cancelled"),
            "confirmed": ("preparing", "cancelled"),
            "preparing": ("shipped", "cancelled"),
            "shipped": ("delivered",),
            "delivered": (),
            "cancelled": (),
        },
        "payment_status": {
            "pending": ("paid", "failed"),
            "paid": ("refunded",),
            "failed": ("pending",),
            "refunded": (),
        },
    }
)
# No letter or digit that is read as another, and none twice in speech: 32 of them, 5 bits each.
NUMBER_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
NUMBER_CHARS = 8
_NUMBER = re.compile(rf"\b[{NUMBER_LETTERS}]{{4}}-[{NUMBER_LETTERS}]{{4}}\b")


@dataclass(frozen=True, slots=True)
class Wanted:
    product_sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Sold:
    """An active product."""

    sku: str
    name: str
    price: Decimal | None
    stock: int | None = None  # None: there is always enough


@dataclass(frozen=True, slots=True)
class Item:
    """As it is sold now: what becomes of the product later is not the order's."""

    product_name: str
    product_sku: str
    quantity: int
    unit_price: Decimal
    total_price: Decimal


@dataclass(frozen=True, slots=True)
class Wrong:
    place: int  # in what is wanted
    field: str
    why: str


def possible(column: str, state: str | None) -> tuple[str, ...]:
    """From a state that is none of ours, of an order of before: each."""
    moves = MOVES[column]
    return tuple(moves) if state is None else moves.get(state, tuple(moves))


def refused(state: Mapping[str, str | None], change: Mapping[str, Any]) -> dict[str, list[str]]:
    """Columns that cannot become what they are to be, and what they can become."""
    return {
        column: list(possible(column, state[column]))
        for column in MOVES
        if column in change
        and change[column] != state[column]
        and change[column] not in possible(column, state[column])
    }


def items_of(wanted: Sequence[Wanted], sold: Mapping[str, Sold]) -> list[Item] | list[Wrong]:
    """Each of them, or everything that is wrong with any."""
    items: list[Item] = []
    mistakes: list[Wrong] = []
    for place, one in enumerate(wanted):
        product = sold.get(one.product_sku)
        if product is None:
            mistakes.append(Wrong(place, "product_sku", "you have no active product with this sku"))
        elif product.price is None:
            mistakes.append(Wrong(place, "product_sku", "this product has no price"))
        elif product.price * one.quantity > PRICE_MAX:
            mistakes.append(Wrong(place, "quantity", f"comes to more than {PRICE_MAX}"))
        else:
            cost = product.price * one.quantity
            items.append(Item(product.name, product.sku, one.quantity, product.price, cost))
    return mistakes or items


def short_of(wanted: Sequence[Wanted], sold: Mapping[str, Sold]) -> list[Wrong]:
    """Of what there is less than is wanted, however often it is named: how much there is."""
    sums: Counter[str] = Counter()
    for one in wanted:
        sums[one.product_sku] += one.quantity
    return [
        Wrong(place, "quantity", f"there are {stock} of it")
        for place, one in enumerate(wanted)
        if (product := sold.get(one.product_sku)) is not None
        and (stock := product.stock) is not None
        and sums[one.product_sku] > stock
    ]


def total_of(items: Sequence[Item]) -> Decimal | None:
    """None: more than there can be."""
    total = sum((item.total_price for item in items), Decimal(0))
    return total if total <= PRICE_MAX else None


def number_of(draw: Callable[[int], int]) -> str:
    """Like K7Q2-M4XD. `draw(n)`: a number below n that nobody foresees."""
    letters = "".join(NUMBER_LETTERS[draw(len(NUMBER_LETTERS))] for _ in range(NUMBER_CHARS))
    return f"{letters[:4]}-{letters[4:]}"


def numbers_in(text: str) -> list[str]:
    """What looks like an order's number, however it is spelt."""
    return _NUMBER.findall(text.upper())


def merged(old: Mapping[str, Any] | None, patch: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7396): null takes a member away."""
    new = dict(old or {})
    for name, value in patch.items():
        if value is None:
            new.pop(name, None)
        elif isinstance(value, Mapping):
            before = new.get(name)
            new[name] = merged(before if isinstance(before, Mapping) else None, value)
        else:
            new[name] = value
    return new
