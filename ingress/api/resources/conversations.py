"""/v1/conversations, with their messages and the people in them"""

from dataclasses import dataclass

from db.ids import ConversationId
from db.pool import Conn
from db.tenant_api import (
    Conversation,
    Message,
    Usage,
    list_conversations,
    list_messages,
    read_conversation,
    read_message,
    read_usage,
)
from handlers import takeover
from ingress.api.problems import Problem
from ingress.api.table import Answer, Call, page_of, there

CONVERSATION_STATUSES = ("bot", "taken_over", "paused")
LAST_MESSAGES = 20
REASON_CHARS = 200


@dataclass(frozen=True, slots=True)
class ConversationWithMessages:
    conversation: Conversation
    messages: list[Message]  # the last ones, oldest first


async def _conversations(conn: Conn, call: Call) -> Answer:
    q = call.query
    rows = await list_conversations(conn, call.user_id, q["after"], q["status"], q["limit"] + 1)
    return page_of(rows, q["limit"])


async def _conversation(conn: Conn, call: Call) -> Answer:
    conversation_id = ConversationId(call.id)
    found = there(await read_conversation(conn, call.user_id, conversation_id))
    last = await list_messages(conn, call.user_id, None, conversation_id, LAST_MESSAGES)
    return Answer(ConversationWithMessages(found, last[::-1]))


async def _messages(conn: Conn, call: Call) -> Answer:
    conversation_id = ConversationId(call.id)
    there(await read_conversation(conn, call.user_id, conversation_id))
    q = call.query
    rows = await list_messages(conn, call.user_id, q["after"], conversation_id, q["limit"] + 1)
    return page_of(rows, q["limit"])


async def _take_over(conn: Conn, call: Call) -> Answer:
    _with_takeover(call)
    reason = call.body["reason"] or "api"
    try:
        await takeover.take_over_conversation(
            conn, call.user_id, ConversationId(call.id), call.body["until"], reason
        )
    except takeover.NotDone as why:
        raise _not_done(why.reason) from why
    return await _answer_conversation(conn, call)


async def _hand_back(conn: Conn, call: Call) -> Answer:
    try:
        await takeover.hand_back_conversation(conn, call.user_id, ConversationId(call.id))
    except takeover.NotDone as why:
        raise _not_done(why.reason) from why
    return await _answer_conversation(conn, call)


async def _say(conn: Conn, call: Call) -> Answer:
    _with_takeover(call)
    try:
        message_id, new = await takeover.queue_message_of_person(
            conn,
            call.user_id,
            ConversationId(call.id),
            call.body["content_text"],
            {"kind": "human", "api_key_id": call.key_id},
            call.once,
        )
    except takeover.NotDone as why:
        if why.reason in ("daily_message_limit", "monthly_message_limit"):
            raise await _at_limit(conn, call, why.reason) from why
        raise _not_done(why.reason) from why
    return Answer(there(await read_message(conn, call.user_id, message_id)), 201 if new else 200)


async def _answer_conversation(conn: Conn, call: Call) -> Answer:
    return Answer(there(await read_conversation(conn, call.user_id, ConversationId(call.id))))


def _with_takeover(call: Call) -> None:
    if not call.access.live_chat_takeover:
        raise Problem(
            "not_in_plan",
            "The plan has features.advanced_features.live_chat_takeover = false: ask the operator"
            " for another plan.",
        )


def _not_done(reason: str) -> Problem:
    match reason:
        case "not_found":
            return Problem("not_found", "There is no conversation with this id, or not of yours.")
        case "chatbot_inactive":
            return Problem(
                "chatbot_inactive", "Nothing leaves for an inactive chatbot: activate it first."
            )
        case "window_closed":
            return Problem(
                "window_closed",
                "The customer's last message is more than 24 hours old, and WhatsApp takes free"
                " text only until then. Wait until they write.",
            )
        case "another_request":
            return Problem(
                "idempotency_key_reused",
                "This Idempotency-Key came with another request before. Take a new one.",
            )
        case "no_active_subscription":
            return Problem("not_in_plan", "There is no plan in force, so nothing can be sent.")
        case _:  # tenant_inactive: between the check of the key and the reservation
            return Problem(
                "not_authenticated",
                "The account is not active.",
                headers={"WWW-Authenticate": "Bearer"},
            )


async def _at_limit(conn: Conn, call: Call, reason: str) -> Problem:
    usage: Usage = there(await read_usage(conn, call.user_id))
    ends_at = usage.day_ends_at if reason == "daily_message_limit" else usage.month_ends_at
    after_s = max(1, round((ends_at - call.now).total_seconds()))
    return Problem(
        "message_limit",
        f"The plan's {reason} is reached; it starts anew at {ends_at.isoformat()}. Nothing was"
        " sent, and the conversation is as it was.",
        headers={"Retry-After": str(after_s)},
        limit=reason,
        ends_at=ends_at.isoformat(),
    )
