"""Orders are made and moved: each in one transaction, whatever else writes them. What is told and
counted of it is the database's (migrations/0056)."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from db.ids import OrderId, UserId
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
from db.products import priced
from db.webhooks import chatbot_exists
from handlers.deliveries.catalogue import OrderCreated, OrderUpdated
from handlers.rules.orders import (
    Item,
    Sold,
    Wanted,
    Wrong,
    items_of,
    merged,
    number_of,
    refused,
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


async def make_order(
    conn: Conn,
    user_id: UserId,
    whose: Whose,
    wanted: Sequence[Wanted],
    notes: str | None,
    address: dict[str, Any] | None,
) -> OrderId:
    """Raises NotOrdered. Prices are today's: they cannot change currency until this is done."""
    chatbot_id, contact_id = whose.chatbot_id, whose.contact_id
    mistakes: list[tuple[str, str]] = []
    if not await chatbot_exists(conn, user_id, chatbot_id):
        mistakes.append(("chatbot_id", "you have no chatbot with this id"))
    if not await hold_contact(conn, user_id, contact_id):
        mistakes.append(("contact_id", "you have no contact with this id"))
    await hold_conversation(conn, user_id, OrderCreated.TYPE, chatbot_id, contact_id)
    await hold_currency(conn, user_id)
    products = await priced(conn, user_id, sorted({one.product_sku for one in wanted}))
    found = items_of(wanted, {one.sku: Sold(one.sku, one.name, one.price) for one in products})
    items = [one for one in found if isinstance(one, Item)]
    mistakes += [
        (f"items.{one.place}.{one.field}", one.why) for one in found if isinstance(one, Wrong)
    ]
    total = total_of(items)
    if total is None:
        mistakes.append(("items", "come to more than an order can have: make several"))
    if mistakes or total is None:
        raise NotOrdered(mistakes)
    order_id = None
    while order_id is None:  # of a trillion numbers, the same one again
        new = NewOrder(
            chatbot_id=chatbot_id,
            contact_id=contact_id,
            order_number=number_of(secrets.randbelow),
            total_amount=total,
            order_notes=notes,
            shipping_address=address,
        )
        order_id = await create_order(conn, user_id, new)
    await add_items(conn, user_id, order_id, _columns(items))
    return order_id


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
    await hold_conversation(conn, user_id, OrderUpdated.TYPE, whose.chatbot_id, whose.contact_id)
    return await lock_order(conn, user_id, order_id)


def changed(order: LockedOrder, change: Mapping[str, Any]) -> OrderState:
    """What it is to be. Raises WrongState."""
    state = asdict(order)
    state.pop("version")
    possible = refused(state, change)
    if possible:
        raise WrongState(order, possible)
    new = {**state, **change}
    if isinstance(change.get("shipping_address"), Mapping):
        new["shipping_address"] = merged(order.shipping_address, change["shipping_address"])
    return OrderState(**new)
