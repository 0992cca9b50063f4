"""Orders, with what was bought."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from db.ids import BEYOND, ChatbotId, ContactId, ConversationId, MessageId, OrderId, UserId
from db.pages import PAGE_BYTES, Listed, StoredJson, listed
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    id: OrderId
    order_number: str | None  # None: made by a program of before tenants
    chatbot_id: ChatbotId
    contact_id: ContactId
    message_id: MessageId | None
    status: str | None
    payment_status: str | None
    total_amount: Decimal | None
    currency: str | None
    order_notes: str | None
    shipping_address: StoredJson | None
    order_details: StoredJson
    paid_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderItem:
    id: int
    product_name: str
    product_sku: str | None
    quantity: int
    unit_price: Decimal | None
    total_price: Decimal | None


@dataclass(frozen=True, slots=True)
class VersionedOrder:
    order: OrderRow
    items: list[OrderItem]
    version: int


@dataclass(frozen=True, slots=True)
class Whose:
    chatbot_id: ChatbotId
    contact_id: ContactId


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    chatbot_id: ChatbotId
    contact_id: ContactId
    order_number: str
    total_amount: Decimal
    order_notes: str | None
    shipping_address: dict[str, Any] | None
    message_id: MessageId | None = None
    quote_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItems:
    """A place an item."""

    names: list[str]
    skus: list[str]
    quantities: list[int]
    unit_prices: list[Decimal]
    total_prices: list[Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedOrder:
    version: int
    order_number: str | None
    status: str | None
    payment_status: str | None
    order_notes: str | None
    shipping_address: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderState:
    status: str | None
    payment_status: str | None
    order_notes: str | None
    shipping_address: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedOrders:
    """None: whatever it is."""

    contact_id: ContactId | None = None
    chatbot_id: ChatbotId | None = None
    status: str | None = None
    payment_status: str | None = None


async def hold_currency(conn: Conn, user_id: UserId) -> str:
    currency: str = await conn.fetchval(_SQL["hold_currency"], user_id)
    return currency


async def hold_contact(conn: Conn, user_id: UserId, contact_id: ContactId) -> bool:
    """False: there is none (any more)."""
    return bool(await conn.fetchval(_SQL["hold_contact"], user_id, contact_id))


async def hold_conversation(
    conn: Conn, user_id: UserId, event: str, chatbot_id: ChatbotId, contact_id: ContactId
) -> None:
    await conn.execute(_SQL["hold_conversation"], user_id, event, chatbot_id, contact_id)


async def create_order(conn: Conn, user_id: UserId, order: NewOrder) -> OrderId | None:
    """None: the number is taken."""
    made: OrderId | None = await conn.fetchval(_SQL["create_order"], user_id, *values(order))
    return made


async def add_items(conn: Conn, user_id: UserId, order_id: OrderId, items: NewItems) -> None:
    await conn.execute(_SQL["add_items"], user_id, order_id, *values(items))


async def read_order(conn: Conn, user_id: UserId, order_id: OrderId) -> VersionedOrder | None:
    record = await conn.fetchrow(_SQL["read_order"], user_id, order_id)
    if record is None:
        return None
    row = dict(record)
    version = row.pop("version")
    lists = [row.pop(name) or [] for name in _ITEM_LISTS]
    items = [
        OrderItem(
            id=id_,
            product_name=name,
            product_sku=sku,
            quantity=quantity,
            unit_price=unit_price,
            total_price=total_price,
        )
        for id_, name, sku, quantity, unit_price, total_price in zip(*lists, strict=True)
    ]
    return VersionedOrder(_order(**row), items, version)


async def whose_order(conn: Conn, user_id: UserId, order_id: OrderId) -> Whose | None:
    row = await conn.fetchrow(_SQL["whose_order"], user_id, order_id)
    return Whose(**row) if row else None


async def told_states(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> list[str]:
    """Of an order, of which its customer is told."""
    rows = await conn.fetch(_SQL["told_states"], user_id, chatbot_id)
    return [row["status"] for row in rows]


async def hold_talk(conn: Conn, user_id: UserId, whose: Whose) -> ConversationId | None:
    found: ConversationId | None = await conn.fetchval(
        _SQL["hold_talk"], user_id, whose.chatbot_id, whose.contact_id
    )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a chatbot has for whom it cannot tell in free words."""

    chatbot_id: ChatbotId
    contact_id: ContactId
    window_template: dict[str, Any] | None
    order_template: dict[str, Any] | None
    asked: bool  # a template went out since the customer last wrote
    total_amount: str | None  # of the order, with its currency


async def told_outside(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, order_number: str
) -> Outside | None:
    row = await conn.fetchrow(_SQL["told_outside"], user_id, conversation_id, order_number)
    return Outside(**row) if row else None


async def lock_order(conn: Conn, user_id: UserId, order_id: OrderId) -> LockedOrder | None:
    row = await conn.fetchrow(_SQL["lock_order"], user_id, order_id)
    return LockedOrder(**row) if row else None


async def change_order(conn: Conn, user_id: UserId, order_id: OrderId, state: OrderState) -> None:
    await conn.execute(_SQL["change_order"], user_id, order_id, *values(state))


async def list_orders(
    conn: Conn, user_id: UserId, wanted: WantedOrders, after: int | None, limit: int
) -> Listed[OrderRow]:
    """Youngest first, without their items."""
    given = {f: v for f in _FILTERS if (v := getattr(wanted, f)) is not None}
    beyond = BEYOND if after is None else after
    page = (user_id, beyond, limit, PAGE_BYTES, *given.values())
    return listed(_order, await conn.fetch(_list_query(tuple(given)), *page))


_ITEM_LISTS = ("ids", "names", "skus", "quantities", "unit_prices", "total_prices")
_FILTERS = ("contact_id", "chatbot_id", "status", "payment_status")


@functools.cache
def _list_query(filters: Sequence[str]) -> str:
    """A text for each of the 16 ways to filter: a condition that may be left out is nothing that a
    generic plan reads an index by. Migrations/0057 has the index of each."""
    conditions = "".join(f" AND o.{name} = ${place}" for place, name in enumerate(filters, start=5))
    return f"""
        WITH found AS (
            SELECT o.* FROM orders o
             WHERE o.user_id = $1 AND o.id < $2 {conditions}
               AND NOT EXISTS (SELECT FROM contacts k WHERE k.user_id = $1 AND k.id = o.contact_id
                                  AND k.erased_at IS NOT NULL)
             ORDER BY o.id DESC LIMIT $3 + 1
        ), measured AS (
            SELECT f.*, row_number() OVER newest AS place,
                   sum(octet_length(f::text)) OVER newest AS bytes
              FROM found f WINDOW newest AS (ORDER BY f.id DESC)
        )
        SELECT id, order_number, chatbot_id, contact_id, message_id, status, payment_status,
               total_amount, currency, order_notes,
               CASE WHEN shipping_address IS NOT NULL THEN as_object(shipping_address)::text END
                   AS shipping_address,
               as_object(order_details)::text AS order_details, paid_at, created_at, updated_at,
               count(*) OVER () < (SELECT count(*) FROM found) AS more
          FROM measured
         WHERE place <= $3 AND (bytes <= $4 OR place = 1)
         ORDER BY id DESC"""  # noqa: S608 - the names are ours


def _order(**row: Any) -> OrderRow:
    address = row.pop("shipping_address")
    return OrderRow(
        **row | {"order_details": StoredJson(row["order_details"])},
        shipping_address=None if address is None else StoredJson(address),
    )
