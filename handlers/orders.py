"""Orders are made and moved: each in one transaction, whatever else writes them. What is told and
counted of it is the database's (migrations/0056)."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from db.ids import MessageId, OrderId, UserId
from db.orders import (
    LockedOrder,
    NewItems,
    NewOrder,
    OrderState,
    Whose,
    add_items,
    create_order,
    hold_contact,
    hold_conversation,
    hold_currency,
    lock_order,
    whose_order,
)
from db.pool import Conn
from db.products import hold_stock, priced
from db.webhooks import chatbot_exists
from handlers.deliveries.catalogue import OrderCreated, OrderUpdated
from handlers.order_messages import hold_told
from handlers.rules.orders import (
    Item,
    Sold,
    Wanted,
    Wrong,
    items_of,
    merged,
    number_of,
    refused,
    short_of,
    total_of,
)


class NotOrdered(Exception):
    """What is wrong, by the field of the request."""

    def __init__(self, mistakes: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.mistakes = mistakes


class WrongState(Exception):
    def __init__(self, order: LockedOrder, possible: Mapping[str, list[str]]) -> None:
        super().__init__()
        self.order = order
        self.possible = possible


class OutOfStock(Exception):
    """Of which items how much there is."""

    def __init__(self, short: Sequence[Wrong]) -> None:
        super().__init__()
        self.short = short


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What an order has beside its items."""

    notes: str | None = None
    address: dict[str, Any] | None = None
    message_id: MessageId | None = None  # the customer's, that it was made by
    quote_id: int | None = None  # that it was made of, and no other order


async def sold_now(
    conn: Conn, user_id: UserId, wanted: Sequence[Wanted]
) -> tuple[dict[str, Sold], str]:
    """By sku, and the currency. Until the transaction ends prices keep it, and what is counted is
    nobody else's to take."""
    skus = sorted({one.product_sku for one in wanted})
    await hold_stock(conn, user_id, skus)
    currency = await hold_currency(conn, user_id)
    products = await priced(conn, user_id, skus)
    return {one.sku: Sold(one.sku, one.name, one.price, one.stock) for one in products}, currency


async def make_order(
    conn: Conn, user_id: UserId, whose: Whose, wanted: Sequence[Wanted], made: Made
) -> OrderId:
    """Raises NotOrdered, OutOfStock. Prices are today's."""
    chatbot_id, contact_id = whose.chatbot_id, whose.contact_id
    mistakes: list[tuple[str, str]] = []
    if not await chatbot_exists(conn, user_id, chatbot_id):
        mistakes.append(("chatbot_id", "you have no chatbot with this id"))
    if not await hold_contact(conn, user_id, contact_id):
        mistakes.append(("contact_id", "you have no contact with this id"))
    await hold_conversation(conn, user_id, OrderCreated.TYPE, chatbot_id, contact_id)
    sold, _ = await sold_now(conn, user_id, wanted)
    found = items_of(wanted, sold)
    items = [one for one in found if isinstance(one, Item)]
    mistakes += [
        (f"items.{one.place}.{one.field}", one.why) for one in found if isinstance(one, Wrong)
    ]
    total = total_of(items)
    if total is None:
        mistakes.append(("items", "come to more than an order can have: make several"))
    if mistakes or total is None:
        raise NotOrdered(mistakes)
    if short := short_of(wanted, sold):
        raise OutOfStock(short)
    order_id, _ = await store_order(conn, user_id, whose, items, made)
    return order_id


async def store_order(
    conn: Conn, user_id: UserId, whose: Whose, items: Sequence[Item], made: Made
) -> tuple[OrderId, str]:
    """And its number. After sold_now(), of which the items are."""
    total = total_of(items)
    assert total is not None, "whoever prices them looks"
    while True:  # of a trillion numbers, the same one again
        new = NewOrder(
            chatbot_id=whose.chatbot_id,
            contact_id=whose.contact_id,
            order_number=number_of(secrets.randbelow),
            total_amount=total,
            order_notes=made.notes,
            shipping_address=made.address,
            message_id=made.message_id,
            quote_id=made.quote_id,
        )
        order_id = await create_order(conn, user_id, new)
        if order_id is not None:
            await add_items(conn, user_id, order_id, _columns(items))
            return order_id, new.order_number


def _columns(items: Sequence[Item]) -> NewItems:
    return NewItems(
        names=[one.product_name for one in items],
        skus=[one.product_sku for one in items],
        quantities=[one.quantity for one in items],
        unit_prices=[one.unit_price for one in items],
        total_prices=[one.total_price for one in items],
    )


async def lock_to_change(conn: Conn, user_id: UserId, order_id: OrderId) -> LockedOrder | None:
    """None: there is no such order. Its contact first: what is told of it refers to them."""
    whose = await whose_order(conn, user_id, order_id)
    if whose is None or not await hold_contact(conn, user_id, whose.contact_id):
        return None
    await hold_told(conn, user_id, whose)
    await hold_conversation(conn, user_id, OrderUpdated.TYPE, whose.chatbot_id, whose.contact_id)
    return await lock_order(conn, user_id, order_id)


def changed(order: LockedOrder, change: Mapping[str, Any]) -> OrderState:
    """What it is to be. Raises WrongState."""
    state = asdict(order)
    del state["version"], state["order_number"]
    possible = refused(state, change)
    if possible:
        raise WrongState(order, possible)
    new = {**state, **change}
    if isinstance(change.get("shipping_address"), Mapping):
        new["shipping_address"] = merged(order.shipping_address, change["shipping_address"])
    return OrderState(**new)
