"""A customer is told how far their order is, where the tenant wants it: in fixed words, outside the
meter, in the transaction that moves the order. Outside the window the chatbot's template asks them
to write, once; without one the event alone tells of it."""

from typing import Any, Final

from db.conversations import read_manner, since_inbound
from db.ids import ConversationId, UserId
from db.messages import NewText, queue_text
from db.orders import Whose, hold_talk, told_outside, told_states
from db.pool import Conn
from handlers.fixed.languages import TEXTS_MAX
from handlers.fixed.texts import Kind
from handlers.fixed.voice import Voice
from handlers.rules.window import is_open
from handlers.templates.filling import Filled, To
from handlers.templates.outside import replacement

KINDS: Final = {
    "confirmed": Kind.ORDER_CONFIRMED,
    "preparing": Kind.ORDER_PREPARING,
    "shipped": Kind.ORDER_SHIPPED,
    "delivered": Kind.ORDER_DELIVERED,
    "cancelled": Kind.ORDER_CANCELLED,
}
STATES: Final = tuple(KINDS)


async def hold_told(conn: Conn, user_id: UserId, whose: Whose) -> ConversationId | None:
    """Before the order is locked: the conversation in which it is told. None: in none."""
    if not await told_states(conn, user_id, whose.chatbot_id):
        return None
    return await hold_talk(conn, user_id, whose)


async def tell_customer(
    conn: Conn, user_id: UserId, whose: Whose, number: str | None, status: str | None
) -> None:
    """After hold_told(), of an order that has moved to this state."""
    if status not in KINDS or number is None:
        return
    if status not in await told_states(conn, user_id, whose.chatbot_id):
        return
    talk = await hold_talk(conn, user_id, whose)
    if talk is None:
        return
    is_inside = is_open(await since_inbound(conn, user_id, talk))
    manner = await read_manner(conn, user_id, talk, TEXTS_MAX)
    voice = Voice(
        own=manner.texts,
        chosen=manner.contact_language,
        wrote=manner.wrote,
        otherwise=(manner.chatbot_language, manner.tenant_language),
    )
    metadata: dict[str, Any] = {"kind": "notice", "reason": "order_status"}
    if status == "cancelled":
        metadata["effect"] = "cancelled"
    said = voice.says(KINDS[status], number=number)
    if not is_inside:
        filled = await _outside(conn, user_id, talk, (number, status, said))
        if filled is None:
            return
        said, metadata = filled.text, metadata | filled.metadata
    await queue_text(conn, user_id, talk, NewText(content_text=said, metadata=metadata))


async def _outside(
    conn: Conn, user_id: UserId, talk: ConversationId, told: tuple[str, str, str]
) -> Filled | None:
    """`told`: the order's number and status, and what would be said. The template of orders tells
    of each; the other only asks to write, once a window."""
    number, status, said = told
    found = await told_outside(conn, user_id, talk, number)
    if found is None:
        return None
    values = {"reply": said, "order.order_number": number, "order.status": status}
    if found.total_amount is not None:
        values["order.total_amount"] = found.total_amount
    to = To(found.chatbot_id, found.contact_id, values)
    filled = await replacement(conn, user_id, found.order_template, to)
    if filled is None and not found.asked:
        filled = await replacement(conn, user_id, found.window_template, to)
    return filled
