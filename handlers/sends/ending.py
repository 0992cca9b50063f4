"""The end of a message, told once, wherever it becomes known: by Meta's answer, by a status, or by
the sweep of what stayed unknown. And its opposite, a message that arrived after all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from db.actions import read_action
from db.conversations import forget_threads
from db.dead import Burial, bury, unbury
from db.given_media import forget_handles
from db.ids import ChatbotId, ContactId, ConversationId, MessageId, UserId
from db.messages import NewText, queue_text
from db.pool import Conn
from db.sends import LateReply, end_send, late_reply
from db.tool_calls import tell_again
from db.usage import give_back_campaign_messages, give_back_messages
from db.waits import put_off_again
from handlers.deliveries.catalogue import MessageFailed
from handlers.deliveries.outbox import tell
from handlers.process import telemetry
from handlers.sends.rules import (
    BLOCKED,
    ERASED,
    HANDLE_LOST,
    LEFT_BEHIND,
    PUT_OFF,
    TAKEN_OVER,
    WINDOW_CLOSED,
    End,
)
from handlers.templates.filling import To
from handlers.templates.outside import replacement

_MOURNED_BY_NOBODY = frozenset([TAKEN_OVER, BLOCKED.reason, ERASED.reason, LEFT_BEHIND.reason])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A message whose row says by now that it will not reach its customer."""

    message_id: MessageId
    conversation_id: ConversationId | None
    chatbot_id: ChatbotId
    contact_id: ContactId | None
    trace_id: str | None
    usage_day: date | None  # of the unit that it leaves behind; None: it has none
    overage: bool
    bulk: bool  # of a campaign, which has its own account of each
    reason: str  # a fixed word
    error: dict[str, Any] | None  # Meta's code, title, details


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedAfterAll:
    """A message that was taken for failed, or for not sent, and reached its customer."""

    message_id: MessageId
    conversation_id: ConversationId | None


async def end_message(
    conn: Conn,
    user_id: UserId,
    message_id: MessageId,
    why: End,
    error: dict[str, Any] | None = None,
) -> None:
    """It will not be sent any more, unless it has been settled meanwhile."""
    report = {"reason": why.reason, **({"errors": [error]} if error else {})}
    row = await end_send(conn, user_id, message_id, why.status, report)
    if row is None:
        return
    ended = Ended(
        message_id=message_id,
        conversation_id=row.conversation_id,
        chatbot_id=row.chatbot_id,
        contact_id=row.contact_id,
        trace_id=row.trace_id,
        usage_day=row.usage_day,
        overage=row.overage,
        bulk=row.bulk,
        reason=why.reason,
        error=error,
    )
    await settle_ends(conn, user_id, [ended])


async def settle_ends(
    conn: Conn, user_id: UserId, ended: Sequence[Ended], arrived: Sequence[ArrivedAfterAll] = ()
) -> None:
    """What follows: the unit goes back, the bot is told what it did or did not say, and the dead
    list and the tenant hear of it, unless a person answers instead, the answer is only put off or,
    outside the window, the chatbot's template asks the customer to write again. Of a campaign's
    message the recipient's row tells. Counters last."""
    concerned = {*(o.conversation_id for o in ended), *(o.conversation_id for o in arrived)}
    if conversations := sorted(c for c in concerned if c is not None):
        await forget_threads(conn, user_id, conversations)
        gone, came = [o.message_id for o in ended], [o.message_id for o in arrived]
        await tell_again(conn, user_id, conversations, gone, came)
    unspent: list[Ended] = []
    dead: list[Ended] = []
    for one in ended:
        instead = None
        if one.bulk:
            unspent.append(one)
            continue
        if one.reason == WINDOW_CLOSED:
            instead = await _queue_instead(conn, user_id, one)
        elif one.reason in PUT_OFF and await put_off_again(
            conn, user_id, one.message_id, one.reason
        ):
            instead = "another answer"
        if instead != "queued":  # a template that was queued took the unit over
            unspent.append(one)
        if instead is None and one.reason not in _MOURNED_BY_NOBODY:
            dead.append(one)
    lost = [one.message_id for one in ended if one.error and one.error["code"] in HANDLE_LOST]
    if lost:  # replayed, it is uploaded anew
        await forget_handles(conn, user_id, lost)
    await _mourn(conn, user_id, dead)
    if arrived:
        await unbury(conn, user_id, [one.message_id for one in arrived])
    units = [(day, one.overage) for one in unspent if (day := one.usage_day) is not None]
    if units:
        give_back_messages(conn, user_id, [u[0] for u in units], [u[1] for u in units])
    of_campaigns = [day for one in unspent if one.bulk and (day := one.usage_day) is not None]
    if of_campaigns:
        give_back_campaign_messages(conn, user_id, of_campaigns)


async def _queue_instead(conn: Conn, user_id: UserId, one: Ended) -> str | None:
    """'queued': one of the chatbot's templates goes instead of a reply, and has its unit. That of
    decisions tells of each; the other asks the customer to write again, once a window:
    'asked_already'. None: nothing goes."""
    late = await late_reply(conn, user_id, one.message_id)
    if late is None:
        return None
    to = To(late.chatbot_id, late.contact_id, {"reply": late.content_text})
    filled = None
    if late.decided is not None and late.decision_template is not None:
        filled = await replacement(
            conn, user_id, late.decision_template, await _with_decision(conn, user_id, late, to)
        )
    if filled is None and late.window_template is not None:
        if late.asked:
            return "asked_already"
        filled = await replacement(conn, user_id, late.window_template, to)
    if filled is None:
        return None
    trace = {} if late.trace_id is None else {"trace_id": late.trace_id}
    text = NewText(
        content_text=filled.text,
        metadata={"kind": "reply", "instead_of": one.message_id} | trace | filled.metadata,
        usage_day=one.usage_day,
        overage=one.overage,
    )
    queued = await queue_text(conn, user_id, late.conversation_id, text)
    return None if queued is None else "queued"


async def _with_decision(conn: Conn, user_id: UserId, late: LateReply, to: To) -> To:
    action = None if late.decided is None else await read_action(conn, user_id, late.decided)
    if action is None:
        return to
    values = {
        "action.request_type": action.request_type.replace("_", " "),
        "action.user_response": action.user_response or "",
    }
    return replace(to, values={**to.values, **values})


async def _mourn(conn: Conn, user_id: UserId, dead: Sequence[Ended]) -> None:
    if not dead:
        return
    burials = [
        Burial(
            message_id=one.message_id,
            reason=one.reason,
            detail=described(one.error),
            trace_id=one.trace_id,
        )
        for one in dead
    ]
    await bury(conn, user_id, burials)
    for one in dead:
        telemetry.DEAD.labels(one.reason).inc()
        failed = MessageFailed(
            chatbot_id=one.chatbot_id,
            contact_id=one.contact_id,
            message_id=one.message_id,
            reason=one.reason,
            detail=described(one.error),
        )
        await tell(conn, user_id, failed)


def described(error: dict[str, Any] | None) -> str | None:
    """Meta's code and title: fixed texts, so they may be shown."""
    if error is None:
        return None
    code, title = error["code"], (error["title"] or "").removeprefix(f"(#{error['code']}) ")
    return f"{'' if code is None else code} {title}".strip() or None
