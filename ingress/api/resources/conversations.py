"""/v1/conversations, and the people in them"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from db.conversations import Conversation, list_conversations, read_conversation
from db.ids import ConversationId
from db.messages import Message, list_messages
from db.pool import Conn
from handlers import takeover
from handlers.plans import Feature
from ingress.api.fields import Body, MomentAhead, NoBody, Paged, Parameters, RowId
from ingress.api.principal import Principal
from ingress.api.problems import Problem, not_authenticated, not_in_plan
from ingress.api.table import Answer, Call, Endpoint, Page, page_of, there

LAST_MESSAGES = 20
REASON_CHARS = 200


class ConversationsAsked(Paged):
    status: Annotated[
        Literal["bot", "taken_over", "paused"] | None, Field(description="only these")
    ] = None


class OfConversation(Parameters):
    conversation_id: RowId[ConversationId]


class Takeover(Body):
    reason: Annotated[str | None, Field(max_length=REASON_CHARS, description="for your people")] = (
        None
    )
    until: Annotated[
        MomentAhead | None,
        Field(description="when the bot may answer again; missing: when handed back"),
    ] = None


@dataclass(frozen=True, slots=True)
class ConversationWithMessages:
    conversation: Conversation
    messages: list[Message]  # the last ones, oldest first


async def _list(conn: Conn, call: Call[ConversationsAsked, NoBody]) -> Answer[Page[Conversation]]:
    asked = call.parameters
    rows = await list_conversations(conn, call.user_id, asked.after, asked.status, asked.limit)
    return page_of(rows)


async def _read(conn: Conn, call: Call[OfConversation, NoBody]) -> Answer[ConversationWithMessages]:
    conversation_id = call.parameters.conversation_id
    found = there(await read_conversation(conn, call.user_id, conversation_id))
    last = await list_messages(conn, call.user_id, None, conversation_id, LAST_MESSAGES)
    return Answer(ConversationWithMessages(found, last.rows[::-1]))


async def _take_over(conn: Conn, call: Call[OfConversation, Takeover]) -> Answer[Conversation]:
    needs_takeover(call.principal)
    conversation_id = call.parameters.conversation_id
    try:
        await takeover.take_over_conversation(
            conn, call.user_id, conversation_id, call.body.until, call.body.reason or "api"
        )
    except takeover.NotDone as why:
        raise not_done(why.reason) from why
    return Answer(there(await read_conversation(conn, call.user_id, conversation_id)))


async def _hand_back(conn: Conn, call: Call[OfConversation, NoBody]) -> Answer[Conversation]:
    conversation_id = call.parameters.conversation_id
    try:
        await takeover.hand_back_conversation(conn, call.user_id, conversation_id)
    except takeover.NotDone as why:
        raise not_done(why.reason) from why
    return Answer(there(await read_conversation(conn, call.user_id, conversation_id)))


def needs_takeover(principal: Principal) -> None:
    if not principal.plan.allows(Feature.LIVE_CHAT_TAKEOVER):
        raise not_in_plan(Feature.LIVE_CHAT_TAKEOVER)


def not_done(reason: str) -> Problem:
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
            return not_authenticated("The account is not active.")


ENDPOINTS = (
    Endpoint(
        name="list_conversations",
        method="GET",
        path="/conversations",
        permission="conversations:read",
        summary="Conversations, newest first",
        parameters=ConversationsAsked,
        body=NoBody,
        answers=Page[Conversation],
        work=_list,
    ),
    Endpoint(
        name="read_conversation",
        method="GET",
        path="/conversations/{conversation_id}",
        permission="conversations:read",
        summary=f"One conversation with its last {LAST_MESSAGES} messages, oldest first",
        parameters=OfConversation,
        body=NoBody,
        answers=ConversationWithMessages,
        work=_read,
    ),
    Endpoint(
        name="take_over_conversation",
        method="POST",
        path="/conversations/{conversation_id}/takeover",
        permission="conversations:write",
        summary="Silences the bot, so that a person answers; again: changes reason and end",
        parameters=OfConversation,
        body=Takeover,
        answers=Conversation,
        work=_take_over,
        problems=("not_in_plan",),
    ),
    Endpoint(
        name="hand_back_conversation",
        method="POST",
        path="/conversations/{conversation_id}/handback",
        permission="conversations:write",
        summary="Lets the bot answer again; safe to repeat",
        parameters=OfConversation,
        body=NoBody,
        answers=Conversation,
        work=_hand_back,
    ),
)
