"""What is added up for a customer, and said of it. Pure. A model never reckons: it names products
and how many of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from handlers.rules.cutting import head, units
from handlers.rules.orders import Item, Sold, Wanted, Wrong, items_of, short_of, total_of

LIVES = timedelta(hours=24)
ITEMS_MAX = 15  # of a quote, each product once: they are lines of a message with a button
QUANTITY_MAX = 1_000_000
NAME_UNITS, LEAST_NAME = 60, 8  # of a product in a line
_TO = " \u2192 "  # between a price as it was and as it is
FEW = 5  # so many or fewer are told


@dataclass(frozen=True, slots=True)
class Quoted:
    """Of today's prices."""

    items: tuple[Item, ...]
    currency: str

    @property
    def total(self) -> Decimal:
        return sum((one.total_price for one in self.items), Decimal(0))

    @property
    def wanted(self) -> list[Wanted]:
        return [Wanted(one.product_sku, one.quantity) for one in self.items]


@dataclass(frozen=True, slots=True)
class Lacking:
    """Something that cannot be had as it is wanted; `left`: how many of it, None: none at all."""

    sku: str
    name: str | None  # None: nothing is sold by this sku
    left: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A price that the customer was shown."""

    price: Decimal
    currency: str


def money(amount: Decimal, currency: str) -> str:
    return f"{amount:.2f} {currency}"


def together(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Each product once, in the order of their first mention."""
    sums: dict[str, int] = {}
    for one in wanted:
        sums[one.product_sku] = sums.get(one.product_sku, 0) + one.quantity
    return [Wanted(sku, quantity) for sku, quantity in sums.items()]


def quoted(
    wanted: Sequence[Wanted], sold: Mapping[str, Sold], currency: str
) -> Quoted | list[Lacking]:
    """Of products that are named once each. What is too much money for an order is lacking too."""
    found = items_of(wanted, sold)
    wrong = [one for one in found if isinstance(one, Wrong)]
    short = {one.place for one in short_of(wanted, sold)}
    if wrong or short:
        places = sorted({*short, *(one.place for one in wrong)})
        return [_lacking(wanted[place].product_sku, sold) for place in places]
    items = tuple(one for one in found if isinstance(one, Item))
    if total_of(items) is None:
        return [_lacking(one.product_sku, sold) for one in wanted]
    return Quoted(items, currency)


def _lacking(sku: str, sold: Mapping[str, Sold]) -> Lacking:
    product = sold.get(sku)
    if product is None or product.price is None:
        return Lacking(sku, product.name if product else None)
    return Lacking(sku, product.name, product.stock)


def seen_in(before: Quoted) -> dict[str, Seen]:
    return {one.product_sku: Seen(one.unit_price, before.currency) for one in before.items}


# ---- as it is said -------------------------------------------------------------------------------


def item_lines(now: Quoted, room: int) -> str:
    """A line an item; where they are too long together the names are cut."""
    fixed = [
        (f"{one.quantity} x ", f": {money(one.total_price, now.currency)}") for one in now.items
    ]
    left = room - sum(units(a) + units(b) + 1 for a, b in fixed)
    longest = max(LEAST_NAME, min(NAME_UNITS, left // max(1, len(fixed))))
    names = [head(_line(one.product_name), longest) for one in now.items]
    return "\n".join(f"{a}{name}{b}" for (a, b), name in zip(fixed, names, strict=True))


def price_lines(seen: Mapping[str, Seen], now: Quoted, room: int) -> str:
    """Of each price that is another: as it was seen, and as it is. Empty: none is."""
    return _within(_prices(seen, now), room)


def _prices(seen: Mapping[str, Seen], now: Quoted) -> Iterator[str]:
    for before, one in _changed(seen, now):
        was = money(before.price, before.currency)
        name = head(_line(one.product_name), NAME_UNITS)
        yield f"{name}: {was}{_TO}{money(one.unit_price, now.currency)}"


def _changed(seen: Mapping[str, Seen], now: Quoted) -> Iterator[tuple[Seen, Item]]:
    for one in now.items:
        before = seen.get(one.product_sku)
        if before is not None and (before.price, before.currency) != (one.unit_price, now.currency):
            yield before, one


def echoes(seen: Mapping[str, Seen], now: Quoted | None, lacking: Sequence[Lacking]) -> list[str]:
    """What these lines repeat of a cart, whose sender chose it: said by the business it would be a
    price, or a link, that the business named."""
    changed = _changed(seen, now) if now is not None else ()
    was = [money(before.price, before.currency) + _TO for before, _ in changed]
    return was + [head(_line(one.sku), NAME_UNITS) for one in lacking if not one.name]


def lacking_lines(lacking: Sequence[Lacking], room: int) -> str:
    """By name, or by the sku that nothing is sold by."""
    lines = (
        head(_line(one.name or one.sku), NAME_UNITS)
        + (f" ({one.left})" if one.name and one.left is not None else "")
        for one in lacking
    )
    return _within(lines, room)


def _within(lines: Iterator[str], room: int) -> str:
    kept: list[str] = []
    for line in lines:
        room -= units(line) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join(kept)


def _line(text: str) -> str:
    """One line, in which nothing looks like a note of ours."""
    return " ".join(text.replace("[", "(").replace("]", ")").split())


def stock_word(stock: int | None) -> str:
    if stock is None or stock > FEW:
        return "in stock"
    return f"only {stock} left" if stock else "sold out"


# ---- as it is kept -------------------------------------------------------------------------------


def as_rows(now: Quoted) -> list[dict[str, Any]]:
    return [
        {
            "product_sku": one.product_sku,
            "product_name": one.product_name,
            "quantity": one.quantity,
            "unit_price": f"{one.unit_price:.2f}",
            "total_price": f"{one.total_price:.2f}",
        }
        for one in now.items
    ]


def of_rows(rows: Sequence[Mapping[str, Any]], currency: str) -> Quoted:
    return Quoted(
        tuple(
            Item(
                product_name=row["product_name"],
                product_sku=row["product_sku"],
                quantity=row["quantity"],
                unit_price=Decimal(row["unit_price"]),
                total_price=Decimal(row["total_price"]),
            )
            for row in rows
        ),
        currency,
    )


# ---- a cart of WhatsApp's catalogue --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cart:
    wanted: tuple[Wanted, ...]
    seen: Mapping[str, Seen]  # as the phone showed them; whoever sent it chose them


def cart_of(order: object) -> Cart | None:
    """Of messages.metadata.details.order. None: nothing in it can be ordered."""
    listed = order.get("product_items") if isinstance(order, dict) else None
    wanted: list[Wanted] = []
    seen: dict[str, Seen] = {}
    for one in listed if isinstance(listed, list) else ():  # all: a product may stand there twice
        if not isinstance(one, dict):
            return None
        sku, quantity = str(one.get("product_retailer_id") or ""), _whole(one.get("quantity"))
        if not sku or quantity is None:
            return None
        wanted.append(Wanted(sku, quantity))
        price = _decimal(one.get("item_price"))
        if price is not None:
            seen[sku] = Seen(price, _line(str(one.get("currency") or "")[:3]))
    merged = together(wanted)
    if not merged or len(merged) > ITEMS_MAX or any(w.quantity > QUANTITY_MAX for w in merged):
        return None
    return Cart(tuple(merged), seen)


def _whole(given: object) -> int | None:
    text = str(given)
    fits = text.isascii() and text.isdigit() and len(text) <= len(str(QUANTITY_MAX))
    return int(text) if fits and int(text) > 0 and not isinstance(given, bool) else None


def _decimal(given: object) -> Decimal | None:
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    try:
        price = Decimal(str(given))
    except ArithmeticError:
        return None
    fits = price.is_finite() and 0 <= price < 10**16
    return price.quantize(Decimal("0.01")) if fits else None
