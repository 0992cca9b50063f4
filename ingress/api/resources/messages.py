"""/v1/conversations/{conversation_id}/messages"""

from dataclasses import asdict
from typing import Annotated

from pydantic import Field

from db.conversations import read_conversation
from db.messages import Message, list_messages, read_message
from db.pool import Conn
from db.usage import read_usage
from handlers import takeover
from ingress.api.fields import Body, MessageText, NoBody, Paged
from ingress.api.problems import Problem
from ingress.api.resources.conversations import OfConversation, needs_takeover, not_done
from ingress.api.table import MADE, Answer, Call, Endpoint, Page, page_of, there


class MessagesAsked(OfConversation, Paged):
    """Of one conversation."""


class NewMessage(Body):
    content_text: Annotated[MessageText, Field(description="what the customer is to read")]


async def _list(conn: Conn, call: Call[MessagesAsked, NoBody]) -> Answer[Page[Message]]:
    asked = call.parameters
    there(await read_conversation(conn, call.user_id, asked.conversation_id))
    rows = await list_messages(conn, call.user_id, asked.after, asked.conversation_id, asked.limit)
    return page_of(rows)


async def _send(conn: Conn, call: Call[OfConversation, NewMessage]) -> Answer[Message]:
    needs_takeover(call.principal)
    try:
        message_id, new = await takeover.queue_message_of_person(
            conn,
            call.user_id,
            call.parameters.conversation_id,
            call.body.content_text,
            {"kind": "human", **asdict(call.principal.who)},
            call.once,
        )
    except takeover.NotDone as why:
        if why.reason in ("daily_message_limit", "monthly_message_limit"):
            raise await _at_limit(conn, call, why.reason) from why
        raise not_done(why.reason) from why
    return Answer(there(await read_message(conn, call.user_id, message_id)), 201 if new else 200)


async def _at_limit(conn: Conn, call: Call[OfConversation, NewMessage], reason: str) -> Problem:
    usage = there(await read_usage(conn, call.user_id))
    ends_at = usage.day_ends_at if reason == "daily_message_limit" else usage.month_ends_at
    after_s = max(1, round((ends_at - call.now).total_seconds()))
    return Problem(
        "message_limit",
        f"The plan's {reason} is reached; it starts anew at {ends_at.isoformat()}. Nothing was"
        " sent, and the conversation is as it was.",
        headers={"Retry-After": str(after_s)},
        limit=reason,
        ends_at=ends_at,
    )


ENDPOINTS = (
    Endpoint(
        name="list_messages",
        method="GET",
        path="/conversations/{conversation_id}/messages",
        permission="conversations:read",
        summary="Messages of a conversation, newest first",
        parameters=MessagesAsked,
        body=NoBody,
        answers=Page[Message],
        work=_list,
    ),
    Endpoint(
        name="send_message",
        method="POST",
        path="/conversations/{conversation_id}/messages",
        permission="conversations:write",
        summary="A person's message to the customer; takes the conversation over",
        parameters=OfConversation,
        body=NewMessage,
        answers=Message,
        work=_send,
        statuses=MADE,
        once=True,
        problems=(
            "not_in_plan",
            "window_closed",
            "chatbot_inactive",
            "idempotency_key_reused",
            "message_limit",
        ),
    ),
)
