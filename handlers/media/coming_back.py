"""What came of a medium is known: a turn that waits is woken, and one that answered without it has
the message as an input once more."""

from datetime import UTC, datetime

from db.ids import ConversationId, UserId
from db.media import HeardMessage, Held, ask_again, raise_input, wake_turn
from db.pool import Conn
from handlers.rules import opaque
from handlers.rules.window import is_stale


async def come_back(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    held: Held,
    message: HeardMessage,
    *,
    says: bool,
) -> None:
    """In the transaction that holds the conversation. `says`: there is something new to read. That
    there is not is news only to who was told that it would come, or may be by a turn that runs: it
    has read the message as it was."""
    if message.input_seq is None:
        return
    if message.input_seq > held.answered_seq:
        again = held.running and (says or message.is_awaited)
    else:
        again = _is_owed(message) and (says or message.reason == opaque.LATER)
    if again and not message.by_person and not is_stale(datetime.now(UTC) - message.sent_at):
        await ask_again(conn, user_id, message.id, held.input_seq + 1)
        await raise_input(conn, user_id, conversation_id, held.input_seq + 1)
    else:
        await wake_turn(conn, user_id, conversation_id)


def _is_owed(message: HeardMessage) -> bool:
    """Whether the bot answered it without the words, or said that it could not. What it left to a
    person, or to nobody, is theirs."""
    return message.was_answered or message.reason in (opaque.LATER, opaque.MEDIA)
