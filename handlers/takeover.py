"""A person in a conversation: takes it over, writes, hands it back.

Each is one transaction of the caller's, and locks the conversation first, as a turn's last one
does. What cannot be done is raised, so that the transaction leaves nothing behind.
"""

from datetime import UTC, datetime
from typing import Any

from db.conversation_events import HANDED_BACK, add_event
from db.ids import ConversationId, MessageId, UserId
from db.messages import NewText, queue_text
from db.pool import Conn
from db.takeovers import (
    LockedConversation,
    answered_by_person,
    hand_back,
    lock_conversation,
    take_over,
)
from db.usage import could_reserve, count_takeover, spend_on_message
from handlers.deliveries.catalogue import ConversationHandedBack, ConversationTakenOver
from handlers.deliveries.outbox import tell

AFTER_ALL = datetime.max.replace(tzinfo=UTC)  # later than whatever the customer wrote
BY_MESSAGE = "human_message"  # taken_over_reason, when writing was what took it over


class NotDone(Exception):
    """`reason` is a word: not_found, window_closed, chatbot_inactive, or what could_reserve()
    says."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def take_over_conversation(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    until: datetime | None,
    reason: str,
) -> None:
    """Counted when the conversation was not a person's before."""
    conversation = await lock_conversation(conn, user_id, conversation_id)
    if conversation is None:
        raise NotDone("not_found")
    await take_over(conn, user_id, conversation_id, until, reason)
    if not conversation.with_human:
        await tell(conn, user_id, _taken_over(conversation, conversation_id, reason, until))
        count_takeover(conn, user_id, conversation_id)


def _taken_over(
    conversation: LockedConversation,
    conversation_id: ConversationId,
    reason: str,
    until: datetime | None,
) -> ConversationTakenOver:
    return ConversationTakenOver(
        chatbot_id=conversation.chatbot_id,
        contact_id=conversation.contact_id,
        conversation_id=conversation_id,
        by="human",
        reason=reason,
        until=until,
    )


async def hand_back_conversation(
    conn: Conn, user_id: UserId, conversation_id: ConversationId
) -> None:
    """An input of the conversation: where the customer had the last word, the bot takes it up."""
    conversation = await lock_conversation(conn, user_id, conversation_id)
    if conversation is None:
        raise NotDone("not_found")
    if await hand_back(conn, user_id, conversation_id) is not None:
        await add_event(conn, user_id, conversation_id, HANDED_BACK, {})
        event = ConversationHandedBack(
            chatbot_id=conversation.chatbot_id,
            contact_id=conversation.contact_id,
            conversation_id=conversation_id,
        )
        await tell(conn, user_id, event)


async def queue_message_of_person(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    text: str,
    metadata: dict[str, Any],
) -> MessageId:
    """Free text, which WhatsApp takes within its window."""
    conversation = await hold_for_person(conn, user_id, conversation_id)
    if not conversation.window_open:
        raise NotDone("window_closed")
    message = NewText(content_text=text, metadata=metadata, is_from_human=True)
    return await queue_of_person(conn, user_id, conversation_id, conversation, message)


async def hold_for_person(
    conn: Conn, user_id: UserId, conversation_id: ConversationId
) -> LockedConversation:
    conversation = await lock_conversation(conn, user_id, conversation_id)
    if conversation is None:
        raise NotDone("not_found")
    if not conversation.chatbot_active:
        raise NotDone("chatbot_inactive")
    return conversation


async def queue_of_person(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    conversation: LockedConversation,
    message: NewText,
) -> MessageId:
    """After hold_for_person(). Writing takes the conversation over: from the commit on the bot says
    nothing, and what it had queued does not leave."""
    if not conversation.with_human:
        await take_over(conn, user_id, conversation_id, None, BY_MESSAGE)
        await tell(conn, user_id, _taken_over(conversation, conversation_id, BY_MESSAGE, None))
    # A turn that runs in this conversation may hold a unit already: it is used for this, since the
    # turn's answer stays unsaid. Should the person hand back before that turn ends, it finds its
    # unit gone, writes nothing and is repeated.
    outcome = await could_reserve(conn, user_id, conversation_id)
    if outcome != "granted":
        raise NotDone(outcome)
    message_id = await queue_text(conn, user_id, conversation_id, message)
    if message_id is None:  # its chatbot was deleted meanwhile
        raise NotDone("not_found")
    await answered_by_person(conn, user_id, [conversation_id], [AFTER_ALL])
    spend_on_message(conn, user_id, conversation_id, message_id)
    if not conversation.with_human:
        count_takeover(conn, user_id, conversation_id)
    return message_id
