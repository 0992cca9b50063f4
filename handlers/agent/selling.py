"""The tools of a shop: products are found, added up and never reckoned by a model, and a contact's
own orders are told. None of them orders: the customer does, by pressing a quote's button.

What a model gives them is told to nobody: an amount in a sku would be a source of the answer.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from db.ids import ContactId, UserId
from db.pool import Pool, tenant
from db.products import Shown, priced, products_shown
from db.quotes import orders_of_contact
from handlers.agent.catalogue import Catalogues
from handlers.rules.orders import Sold, Wanted
from handlers.rules.products import EVERYTHING, SKU_CHARS
from handlers.rules.quotes import (
    ITEMS_MAX,
    QUANTITY_MAX,
    Lacking,
    Quoted,
    money,
    quoted,
    stock_word,
    together,
)
from handlers.rules.texts import storable

FIND: Final = "find_products"
QUOTE: Final = "quote"
STATUS: Final = "get_order_status"
TOOLS: Final = (FIND, QUOTE, STATUS)
FOUND_MAX = 6
ORDERS_MAX = 3
NUMBER_CHARS = 20

QUOTED = (
    "The items, the total and a button by which the customer orders stand under your answer by"
    " themselves: do not repeat them, and never say that it is ordered."
)
_SKU = {"type": "string", "description": "As find_products gives it."}
SCHEMAS: Final[tuple[dict[str, Any], ...]] = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "description": about,
            "parameters": {"type": "object", "properties": properties, "required": needed},
        },
    }
    for name, about, properties, needed in (
        (
            FIND,
            "Finds products of the business, with price and stock. Name no other price.",
            {
                "query": {"type": "string", "description": f"{EVERYTHING} for the newest."},
                "limit": {"type": "integer", "description": f"At most {FOUND_MAX}."},
            },
            ["query"],
        ),
        (
            QUOTE,
            "Adds up what the customer wants to order. The customer then confirms by a button.",
            {
                "items": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"sku": _SKU, "quantity": {"type": "integer"}},
                        "required": ["sku", "quantity"],
                    },
                }
            },
            ["items"],
        ),
        (
            STATUS,
            "This customer's orders. Say that one was placed or cancelled only with its number.",
            {"order_number": {"type": "string"}},
            [],
        ),
    )
)


@dataclass(slots=True)
class Selling:
    """Of one run: its tenant and contact."""

    pool: Pool
    user_id: UserId
    contact_id: ContactId
    catalogues: Catalogues
    version: int
    currency: str
    quoted: Quoted | None = None  # the last one: it stands under the answer
    orders: dict[str, frozenset[str]] = field(default_factory=dict)  # told: what became of them

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        match name:
            case "find_products":
                return await self._find(arguments)
            case "quote":
                return await self._quote(arguments)
            case _:
                return await self._status(arguments)

    async def _find(self, arguments: Mapping[str, Any]) -> str:
        query, limit = arguments.get("query"), arguments.get("limit")
        if not isinstance(query, str) or not query.strip():
            return "error: query is missing"
        most = min(FOUND_MAX, limit) if isinstance(limit, int) and limit > 0 else FOUND_MAX
        query = storable(query)
        catalogue = await self.catalogues.of(self.pool, self.user_id, self.version)
        ids = await catalogue.search(query, most)
        async with tenant(self.pool, self.user_id) as conn:
            rows = await products_shown(conn, self.user_id, ids, query.strip()[:SKU_CHARS])
        places = {product_id: place for place, product_id in enumerate(ids)}
        rows.sort(key=lambda row: places.get(row.id, -1))  # the exact sku first
        if not rows:
            return "nothing found: try other words, or say that there is no such product"
        return json.dumps([self._told(row) for row in rows[:most]], ensure_ascii=False)

    def _told(self, row: Shown) -> dict[str, Any]:
        price = "cannot be ordered" if row.price is None else money(row.price, self.currency)
        told = {"sku": row.sku, "name": row.name, "price": price, "stock": stock_word(row.stock)}
        return told | ({"description": row.description} if row.description else {})

    async def _quote(self, arguments: Mapping[str, Any]) -> str:
        wanted = _wanted(arguments.get("items"))
        if isinstance(wanted, str):
            return f"error: {wanted}"
        async with tenant(self.pool, self.user_id) as conn:
            rows = await priced(conn, self.user_id, [one.product_sku for one in wanted])
        sold = {row.sku: Sold(row.sku, row.name, row.price, row.stock) for row in rows}
        found = quoted(wanted, sold, self.currency)
        if isinstance(found, list):
            return f"error: {'; '.join(_why(one, wanted) for one in found)}"
        self.quoted = found
        items = [
            {
                "name": one.product_name,
                "quantity": one.quantity,
                "unit_price": money(one.unit_price, found.currency),
                "total": money(one.total_price, found.currency),
            }
            for one in found.items
        ]
        total = money(found.total, found.currency)
        told = {"items": items, "total": total, "note": QUOTED}
        return json.dumps(told, ensure_ascii=False)

    async def _status(self, arguments: Mapping[str, Any]) -> str:
        given = arguments.get("order_number")
        number = given.strip().upper()[:NUMBER_CHARS] if isinstance(given, str) else ""
        async with tenant(self.pool, self.user_id) as conn:
            rows = await orders_of_contact(
                conn, self.user_id, self.contact_id, storable(number) or None, ORDERS_MAX
            )
        if not rows:
            return "nothing found: this customer has no such order"
        told = []
        for row in rows:
            became = {"cancelled", "paid", "refunded"} & {row.status, row.payment_status}
            self.orders[row.order_number] = frozenset({"ordered", *became})
            amount, currency = row.total_amount, row.currency or ""
            told.append(
                {
                    "order_number": row.order_number,
                    "status": row.status,
                    "payment_status": row.payment_status,
                    "total": None if amount is None else money(amount, currency),
                    "ordered_on": f"{row.created_at:%Y-%m-%d}",
                    "items": [f"{quantity} x {name}" for quantity, name in row.items],
                }
            )
        return json.dumps(told, ensure_ascii=False)


def _wanted(given: Any) -> list[Wanted] | str:
    """Or what is wrong with it."""
    if not isinstance(given, list) or not given:
        return "items are missing"
    wanted = []
    for place, one in enumerate(given, start=1):
        sku = one.get("sku") if isinstance(one, dict) else None
        quantity = one.get("quantity") if isinstance(one, dict) else None
        if not isinstance(sku, str) or not 0 < len(sku.strip()) <= SKU_CHARS:
            return f"item {place} has no sku: find_products gives it"
        if isinstance(quantity, bool) or not isinstance(quantity, int) or quantity < 1:
            return f"item {place} has no quantity, a whole number from 1 on"
        wanted.append(Wanted(storable(sku.strip()), quantity))
    merged = together(wanted)
    if len(merged) > ITEMS_MAX:
        return f"{ITEMS_MAX} products are the most"
    if any(one.quantity > QUANTITY_MAX for one in merged):
        return f"{QUANTITY_MAX} of a product are the most"
    return merged


def _why(one: Lacking, wanted: list[Wanted]) -> str:
    place = next(n for n, item in enumerate(wanted, start=1) if item.product_sku == one.sku)
    if one.name is None:
        return f"item {place} has a sku that nothing is sold by: find_products gives it"
    if one.left is None:
        return f"item {place} cannot be ordered"
    return f"of item {place} there are {one.left}"
