"""A person in a conversation: takes it over, writes, hands it back.

Each is one transaction of the caller's, and locks the conversation first, as a turn's last one
does. What cannot be done is raised, so that the transaction leaves nothing behind.
"""

from datetime import UTC, datetime
from typing import Any

from db.conversation_events import HANDED_BACK, add_event
from db.idempotency import Once, find_request, remember_request
from db.ids import ConversationId, MessageId, UserId
from db.messages import NewText, queue_text
from db.pool import Conn
from db.takeovers import (
    answered_by_person,
    hand_back,
    lock_conversation,
    take_over,
)
from db.usage import could_reserve, count_takeover, spend_on_message

AFTER_ALL = datetime.max.replace(tzinfo=UTC)  # later than whatever the customer wrote
BY_MESSAGE = "human_message"  # taken_over_reason, when writing was what took it over


class NotDone(Exception):
    """`reason` is a word: not_found, window_closed, chatbot_inactive, another_request, or what
    could_reserve() says."""

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
        count_takeover(conn, user_id)


async def hand_back_conversation(
    conn: Conn, user_id: UserId, conversation_id: ConversationId
) -> None:
    """An input of the conversation: where the customer had the last word, the bot takes it up."""
    if await lock_conversation(conn, user_id, conversation_id) is None:
        raise NotDone("not_found")
    if await hand_back(conn, user_id, conversation_id) is not None:
        await add_event(conn, user_id, conversation_id, HANDED_BACK, {})


async def queue_message_of_person(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    text: str,
    metadata: dict[str, Any],
    once: Once | None,
) -> tuple[MessageId, bool]:
    """The message, and whether it is new. Writing takes the conversation over: from the commit on
    the bot says nothing, and what it had queued does not leave."""
    conversation = await lock_conversation(conn, user_id, conversation_id)
    if conversation is None:
        raise NotDone("not_found")
    if once is not None:
        before = await find_request(conn, user_id, once.key)
        if before is not None and before.request_hash != once.request_hash:
            raise NotDone("another_request")
        if before is not None:
            return before.message_id, False
    if not conversation.chatbot_active:
        raise NotDone("chatbot_inactive")
    if not conversation.window_open:
        raise NotDone("window_closed")
    if not conversation.with_human:
        await take_over(conn, user_id, conversation_id, None, BY_MESSAGE)
    # A turn that runs in this conversation may hold a unit already: it is used for this, since the
    # turn's answer stays unsaid. Should the person hand back before that turn ends, it finds its
    # unit gone, writes nothing and is repeated.
    outcome = await could_reserve(conn, user_id, conversation_id)
    if outcome != "granted":
        raise NotDone(outcome)
    message = NewText(content_text=text, metadata=metadata, is_from_human=True)
    message_id = await queue_text(conn, user_id, conversation_id, message)
    await answered_by_person(conn, user_id, [conversation_id], [AFTER_ALL])
    if once is not None:
        await remember_request(conn, user_id, once.key, once.request_hash, message_id)
    spend_on_message(conn, user_id, conversation_id, message_id)
    if not conversation.with_human:
        count_takeover(conn, user_id)
    return message_id, True
