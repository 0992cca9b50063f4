"""A message that will not be sent any more, and everything that follows from that."""

from typing import Any

from db.conversations import forget_thread
from db.dead import Burial, bury
from db.events import tell_tenant
from db.ids import MessageId, UserId
from db.pool import Conn
from db.sends import end_send, queue_window_template
from db.usage import give_back_messages
from handlers.process import telemetry
from handlers.sends.rules import TAKEN_OVER, WINDOW_CLOSED, End


async def end_for_good(
    conn: Conn,
    user_id: UserId,
    message_id: MessageId,
    why: End,
    error: dict[str, Any] | None = None,
) -> None:
    """It will not be sent any more: the unit goes back, the bot is told what it did not say, and
    the dead list and the tenant hear of it, unless a person answers instead or, outside the window,
    the chatbot's template asks the customer to write again. Counters last."""
    report = {"reason": why.reason, **({"errors": [error]} if error else {})}
    ended = await end_send(conn, user_id, message_id, why.status, report)
    if ended is None:
        return
    if ended.conversation_id is not None:
        await forget_thread(conn, user_id, ended.conversation_id)
    instead = None
    if why.reason == WINDOW_CLOSED:
        instead = await queue_window_template(
            conn, user_id, message_id, ended.usage_day, ended.overage
        )
    if why.reason != TAKEN_OVER and instead is None:
        detail = described_error(error)
        telemetry.DEAD.labels(why.reason).inc()
        await bury(
            conn,
            user_id,
            [
                Burial(
                    message_id=message_id, reason=why.reason, detail=detail, trace_id=ended.trace_id
                )
            ],
        )
        await tell_tenant(
            conn,
            user_id,
            "message.failed",
            {"message_id": message_id, "reason": why.reason, "detail": detail},
            chatbot_id=ended.chatbot_id,
            contact_id=ended.contact_id,
        )
    if ended.usage_day is not None and instead != "queued":
        await give_back_messages(conn, user_id, [ended.usage_day], [ended.overage])


def described_error(error: dict[str, Any] | None) -> str | None:
    """Meta's code and title: fixed texts, so they may be shown."""
    if error is None:
        return None
    code, title = error["code"], (error["title"] or "").removeprefix(f"(#{error['code']}) ")
    return f"{'' if code is None else code} {title}".strip() or None
