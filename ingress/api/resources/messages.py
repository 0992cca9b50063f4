"""/v1/conversations/{conversation_id}/messages, /v1/messages"""

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import Field

from db.ids import MessageId
from db.messages import Message, list_messages, read_message
from db.pool import Conn
from db.talks import read_conversation
from db.usage import read_usage
from handlers import takeover
from handlers.plans import Feature, Permission
from ingress.api.fields import NoBody, Paged, Parameters, RowId
from ingress.api.principal import needs
from ingress.api.problems import Problem
from ingress.api.resources.conversations import OfConversation, needs_takeover, not_done
from ingress.api.resources.new_messages import NewMessage, said
from ingress.api.resources.template_sends import queue_template
from ingress.api.table import MADE, Answer, Call, Endpoint, Page, page_of, there

Raw = Annotated[
    Literal["true", "false"],
    Field(description="true: with the metadata whole, where the plan allows access_raw_logs"),
]


class MessagesAsked(OfConversation, Paged):
    """Of one conversation."""

    raw: Raw = "false"


class MessageAsked(Parameters):
    message_id: RowId[MessageId]
    raw: Raw = "false"


async def _list(conn: Conn, call: Call[MessagesAsked, NoBody]) -> Answer[Page[Message]]:
    asked = call.parameters
    raw = _raw(call)
    there(await read_conversation(conn, call.user_id, asked.conversation_id))
    rows = await list_messages(
        conn, call.user_id, asked.after, asked.conversation_id, asked.limit, raw=raw
    )
    return page_of(rows)


async def _read(conn: Conn, call: Call[MessageAsked, NoBody]) -> Answer[Message]:
    raw = _raw(call)
    message_id = call.parameters.message_id
    return Answer(there(await read_message(conn, call.user_id, message_id, raw=raw)))


def _raw(call: Call[MessagesAsked, NoBody] | Call[MessageAsked, NoBody]) -> bool:
    raw = call.parameters.raw == "true"
    if raw:
        needs(call.principal, Permission.ACCESS_RAW_LOGS)
    return raw


async def _send(conn: Conn, call: Call[OfConversation, NewMessage]) -> Answer[Message]:
    needs_takeover(call.principal)
    conversation_id, body = call.parameters.conversation_id, call.body
    metadata = {"kind": "human", **asdict(call.principal.who)}
    what = await said(conn, call.user_id, conversation_id, body)
    try:
        if what is None:
            message_id = await queue_template(conn, call, conversation_id, body.template, metadata)
        else:
            message_id = await takeover.queue_message_of_person(
                conn, call.user_id, conversation_id, what.text, metadata | what.metadata
            )
    except takeover.NotDone as why:
        if why.reason in ("daily_message_limit", "monthly_message_limit"):
            raise await _at_limit(conn, call, why.reason) from why
        raise not_done(why.reason) from why
    message = there(await read_message(conn, call.user_id, message_id))
    return Answer(message, 201, message_id=message_id)


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
        features=(Feature.MESSAGE_HISTORY,),
        summary="Messages of a conversation, newest first",
        parameters=MessagesAsked,
        body=NoBody,
        answers=Page[Message],
        work=_list,
    ),
    Endpoint(
        name="read_message",
        method="GET",
        path="/messages/{message_id}",
        permission="conversations:read",
        features=(Feature.MESSAGE_HISTORY,),
        summary="One message",
        parameters=MessageAsked,
        body=NoBody,
        answers=Message,
        work=_read,
    ),
    Endpoint(
        name="send_message",
        method="POST",
        path="/conversations/{conversation_id}/messages",
        permission="conversations:write",
        summary="A person's message to the customer, a text or a file; takes the conversation over",
        parameters=OfConversation,
        body=NewMessage,
        example={"content_text": "This is Ada. I have your cake here."},
        answers=Message,
        work=_send,
        statuses=MADE,
        once=True,
        problems=(
            "not_in_plan",
            "window_closed",
            "chatbot_inactive",
            "message_limit",
            "template_not_approved",
            "opted_out",
        ),
    ),
)
