"""/v1/conversations, and the people in them"""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from db.ids import ChatbotId, ContactId, ConversationId
from db.messages import Message, list_messages
from db.pool import Conn
from db.takeovers import lock_conversation
from db.talks import Conversation, Wanted, list_conversations, read_conversation
from handlers import opening, takeover
from handlers.plans import Feature
from ingress.api.fields import (
    Body,
    MomentAhead,
    NoBody,
    NoParameters,
    Paged,
    Parameters,
    RowId,
)
from ingress.api.mistakes import Mistake
from ingress.api.principal import Principal, needs
from ingress.api.problems import Problem, invalid, not_authenticated
from ingress.api.table import MADE, Answer, Call, Endpoint, Page, page_of, there, versioned

LAST_MESSAGES = 20
REASON_CHARS = 200


class ConversationsAsked(Paged):
    status: Annotated[
        Literal["bot", "taken_over", "paused"] | None, Field(description="only these")
    ] = None
    contact_id: Annotated[
        RowId[ContactId] | None, Field(description="only those with this contact")
    ] = None
    chatbot_id: Annotated[
        RowId[ChatbotId] | None, Field(description="only those of this chatbot")
    ] = None
    unanswered: Annotated[
        Literal["true", "false"] | None,
        Field(description="true: only those in which a customer waits; false: only the others"),
    ] = None


class ConversationMade(Body):
    chatbot_id: Annotated[RowId[ChatbotId], Field(description="that talks in it")]
    contact_id: Annotated[RowId[ContactId], Field(description="with whom")]


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
    # The last ones, oldest first; null: the plan leaves message_history out.
    messages: list[Message] | None


async def _list(conn: Conn, call: Call[ConversationsAsked, NoBody]) -> Answer[Page[Conversation]]:
    asked = call.parameters
    wanted = Wanted(
        contact_id=asked.contact_id,
        chatbot_id=asked.chatbot_id,
        unanswered=None if asked.unanswered is None else asked.unanswered == "true",
        status=asked.status,
    )
    return page_of(await list_conversations(conn, call.user_id, wanted, asked.after, asked.limit))


async def _create(conn: Conn, call: Call[NoParameters, ConversationMade]) -> Answer[Conversation]:
    body = call.body
    try:
        opened = await opening.open_conversation(
            conn, call.user_id, body.chatbot_id, body.contact_id
        )
    except opening.NotThere as missing:
        raise invalid(
            [Mistake(f"{one}_id", f"you have no {one} with this id") for one in missing.nouns]
        ) from None
    found = there(await read_conversation(conn, call.user_id, opened.id))
    status = 201 if opened.is_new else 200
    return versioned(found, _version(found), status, contact_id=body.contact_id)


def _version(found: Conversation) -> int:
    """Of who has it, which is what a person decides by. With each message another, nobody could
    ever change a busy one."""
    who = (
        found.taken_over_at,
        found.taken_over_until,
        found.taken_over_by,
        found.taken_over_reason,
    )
    return int.from_bytes(hashlib.sha256(repr(who).encode()).digest()[:6])


async def _read(conn: Conn, call: Call[OfConversation, NoBody]) -> Answer[ConversationWithMessages]:
    conversation_id = call.parameters.conversation_id
    found = there(await read_conversation(conn, call.user_id, conversation_id))
    if not call.principal.plan.allows(Feature.MESSAGE_HISTORY):
        return versioned(ConversationWithMessages(found, None), _version(found))
    last = await list_messages(conn, call.user_id, None, conversation_id, LAST_MESSAGES)
    return versioned(ConversationWithMessages(found, last.rows[::-1]), _version(found))


async def _expected(conn: Conn, call: Call[OfConversation, Any]) -> None:
    """It is as the client thinks it is, and stays so until the transaction ends."""
    if call.if_match is not None:
        conversation_id = call.parameters.conversation_id
        there(await lock_conversation(conn, call.user_id, conversation_id))
        found = there(await read_conversation(conn, call.user_id, conversation_id))
        call.expect(_version(found))


async def _changed(conn: Conn, call: Call[OfConversation, Any]) -> Answer[Conversation]:
    found = there(await read_conversation(conn, call.user_id, call.parameters.conversation_id))
    return versioned(found, _version(found))


async def _take_over(conn: Conn, call: Call[OfConversation, Takeover]) -> Answer[Conversation]:
    needs_takeover(call.principal)
    await _expected(conn, call)
    conversation_id = call.parameters.conversation_id
    try:
        await takeover.take_over_conversation(
            conn, call.user_id, conversation_id, call.body.until, call.body.reason or "api"
        )
    except takeover.NotDone as why:
        raise not_done(why.reason) from why
    return await _changed(conn, call)


async def _hand_back(conn: Conn, call: Call[OfConversation, NoBody]) -> Answer[Conversation]:
    await _expected(conn, call)
    conversation_id = call.parameters.conversation_id
    try:
        await takeover.hand_back_conversation(conn, call.user_id, conversation_id)
    except takeover.NotDone as why:
        raise not_done(why.reason) from why
    return await _changed(conn, call)


def needs_takeover(principal: Principal) -> None:
    needs(principal, Feature.LIVE_CHAT_TAKEOVER)


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
        name="create_conversation",
        method="POST",
        path="/conversations",
        permission="conversations:write",
        summary="Opens a conversation before the customer writes; one that there is, is answered"
        " with 200",
        parameters=NoParameters,
        body=ConversationMade,
        answers=Conversation,
        work=_create,
        statuses={**MADE, 200: "there is one already: this"},
        once=True,
        versioned=True,
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
        versioned=True,
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
        versioned=True,
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
        versioned=True,
    ),
)
