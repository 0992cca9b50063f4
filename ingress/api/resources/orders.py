"""/v1/orders"""

import json
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from db.ids import ChatbotId, ContactId, OrderId
from db.orders import (
    LockedOrder,
    OrderItem,
    OrderRow,
    VersionedOrder,
    WantedOrders,
    Whose,
    change_order,
    list_orders,
    read_order,
)
from db.pool import Conn
from handlers import orders
from handlers.order_messages import tell_customer
from handlers.rules.orders import Wanted
from handlers.rules.products import SKU_CHARS
from ingress.api.fields import (
    Body,
    NoBody,
    NoParameters,
    Paged,
    Parameters,
    RowId,
    unless_given,
    wrong,
)
from ingress.api.mistakes import Mistake
from ingress.api.problems import Problem, invalid
from ingress.api.table import (
    MADE,
    Answer,
    Call,
    Endpoint,
    Page,
    page_of,
    there,
    versioned,
)

ITEMS_MAX = 100
QUANTITY_MAX = 1_000_000
NOTES_CHARS = 4_000
ADDRESS_CHARS = 4_000  # as JSON

Status = Literal["pending", "confirmed", "preparing", "shipped", "delivered", "cancelled"]
PaymentStatus = Literal["pending", "paid", "refunded", "failed"]

# ---- what is given and answered ------------------------------------------------------------------


def _address(given: dict[str, Any]) -> dict[str, Any]:
    detail = address_problem(given)
    if detail is not None:
        raise wrong(detail)
    return given


def address_problem(address: dict[str, Any]) -> str | None:
    chars = len(json.dumps(address, ensure_ascii=False))
    return (
        f"has {chars} characters as JSON, {ADDRESS_CHARS} at most"
        if chars > ADDRESS_CHARS
        else None
    )


Notes = Annotated[
    str | None, Field(max_length=NOTES_CHARS, description="for you: the customer is not shown it")
]
Address = Annotated[
    dict[str, Any],
    AfterValidator(_address),
    WithJsonSchema({"type": "object"}),
    Field(description=f"an object as you like it, of {ADDRESS_CHARS} characters as JSON at most"),
]


class ItemWanted(Body):
    product_sku: Annotated[
        str,
        Field(min_length=1, max_length=SKU_CHARS, description="of an active product with a price"),
    ]
    quantity: Annotated[int, Field(ge=1, le=QUANTITY_MAX, description="how many of it")]


class OrderMade(Body):
    chatbot_id: Annotated[RowId[ChatbotId], Field(description="the chatbot that it is made with")]
    contact_id: Annotated[RowId[ContactId], Field(description="whose order it is")]
    items: Annotated[
        list[ItemWanted],
        Field(min_length=1, max_length=ITEMS_MAX, description="at what the products cost now"),
    ]
    order_notes: Notes = None
    shipping_address: Address | None = None


class OrderChange(Body):
    status: Status = unless_given()
    payment_status: PaymentStatus = unless_given()
    order_notes: Notes = None
    shipping_address: Address | None = None


class OfOrder(Parameters):
    order_id: RowId[OrderId]


class OrdersAsked(Paged):
    contact_id: Annotated[RowId[ContactId] | None, Field(description="those of this contact")] = (
        None
    )
    chatbot_id: Annotated[
        RowId[ChatbotId] | None, Field(description="those made with this chatbot")
    ] = None
    status: Annotated[Status | None, Field(description="only these")] = None
    payment_status: Annotated[PaymentStatus | None, Field(description="only these")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(OrderRow):
    items: list[OrderItem]


# ---- work ----------------------------------------------------------------------------------------


def _shown(found: VersionedOrder, status: int = 200) -> Answer[Order]:
    row: dict[str, Any] = {f.name: getattr(found.order, f.name) for f in fields(OrderRow)}
    return versioned(
        Order(**row, items=found.items),
        found.version,
        status,
        contact_id=found.order.contact_id,
    )


async def _list(conn: Conn, call: Call[OrdersAsked, NoBody]) -> Answer[Page[OrderRow]]:
    asked = call.parameters
    wanted = WantedOrders(
        contact_id=asked.contact_id,
        chatbot_id=asked.chatbot_id,
        status=asked.status,
        payment_status=asked.payment_status,
    )
    return page_of(await list_orders(conn, call.user_id, wanted, asked.after, asked.limit))


async def _read(conn: Conn, call: Call[OfOrder, Any]) -> Answer[Order]:
    return _shown(there(await read_order(conn, call.user_id, call.parameters.order_id)))


async def _create(conn: Conn, call: Call[NoParameters, OrderMade]) -> Answer[Order]:
    body = call.body
    try:
        order_id = await orders.make_order(
            conn,
            call.user_id,
            Whose(body.chatbot_id, body.contact_id),
            [Wanted(one.product_sku, one.quantity) for one in body.items],
            orders.Made(notes=body.order_notes, address=body.shipping_address),
        )
    except orders.NotOrdered as error:
        raise invalid([Mistake(field, why) for field, why in error.mistakes]) from None
    except orders.OutOfStock as error:
        raise _out_of_stock(error) from None
    return _shown(there(await read_order(conn, call.user_id, order_id)), 201)


def _out_of_stock(error: orders.OutOfStock) -> Problem:
    return Problem(
        "out_of_stock",
        "Order less of it, or raise the product's stock.",
        errors=[Mistake(f"items.{one.place}.{one.field}", one.why) for one in error.short],
    )


def _wrong_state(order: LockedOrder, possible: dict[str, list[str]]) -> Problem:
    said = "; ".join(
        f"{column} is {getattr(order, column)}, and becomes {' or '.join(moves) or 'nothing else'}"
        for column, moves in possible.items()
    )
    return Problem(
        "wrong_state",
        f"Read it again, and decide anew: {said}.",
        state={"status": order.status, "payment_status": order.payment_status},
        possible=possible,
    )


async def _change(conn: Conn, call: Call[OfOrder, OrderChange]) -> Answer[Order]:
    order_id = call.parameters.order_id
    order = there(await orders.lock_to_change(conn, call.user_id, order_id))
    call.expect(order.version)
    try:
        new = orders.changed(order, call.body.given())
    except orders.WrongState as error:
        raise _wrong_state(error.order, dict(error.possible)) from None
    detail = new.shipping_address and address_problem(new.shipping_address)
    if detail:
        raise invalid([Mistake("shipping_address", detail)])
    await change_order(conn, call.user_id, order_id, new)
    answer = await _read(conn, call)
    if new.status != order.status:
        whose = Whose(answer.body.chatbot_id, answer.body.contact_id)
        await tell_customer(conn, call.user_id, whose, order.order_number, new.status)
    return answer


ENDPOINTS = (
    Endpoint(
        name="list_orders",
        method="GET",
        path="/orders",
        permission="orders:read",
        summary="Orders, newest first, without their items; every filter goes with every other",
        parameters=OrdersAsked,
        body=NoBody,
        answers=Page[OrderRow],
        work=_list,
    ),
    Endpoint(
        name="create_order",
        method="POST",
        path="/orders",
        permission="orders:write",
        summary="An order of products, at what they cost now; its number is ours",
        parameters=NoParameters,
        body=OrderMade,
        answers=Order,
        work=_create,
        statuses=MADE,
        once=True,
        versioned=True,
        problems=("out_of_stock",),
    ),
    Endpoint(
        name="read_order",
        method="GET",
        path="/orders/{order_id}",
        permission="orders:read",
        summary="One order, with its items",
        parameters=OfOrder,
        body=NoBody,
        answers=Order,
        work=_read,
        versioned=True,
    ),
    Endpoint(
        name="change_order",
        method="PATCH",
        path="/orders/{order_id}",
        permission="orders:write",
        summary="Moves it on, or changes notes and address. `status`: pending, confirmed,"
        " preparing, shipped, delivered; cancelled from the first three. `payment_status`:"
        " pending, paid, refunded; pending, failed, pending",
        parameters=OfOrder,
        body=OrderChange,
        answers=Order,
        work=_change,
        versioned=True,
        problems=("wrong_state",),
    ),
)
