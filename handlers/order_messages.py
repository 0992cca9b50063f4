"""A customer is told how far their order is, where the tenant wants it: in fixed words, outside the
meter, in the transaction that moves the order. Outside the window the chatbot's template asks them
to write, once; without one the event alone tells of it."""

from typing import Any, Final

from db.conversations import read_manner, since_inbound
from db.ids import ConversationId, UserId
from db.messages import NewText, queue_text
from db.orders import Whose, hold_talk, queue_order_template, told_states
from db.pool import Conn
from handlers.fixed.languages import TEXTS_MAX
from handlers.fixed.texts import Kind
from handlers.fixed.voice import Voice
from handlers.rules.window import is_open

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
    if not is_open(await since_inbound(conn, user_id, talk)):
        await queue_order_template(conn, user_id, talk)
        return
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
    text = NewText(content_text=voice.says(KINDS[status], number=number), metadata=metadata)
    await queue_text(conn, user_id, talk, text)
