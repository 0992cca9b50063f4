"""What a chatbot did not know is noted for its tenant."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from db.ids import ChatbotId, MessageId, UserId
from db.pool import Conn, Pool
from db.unanswered import asked_before, drop_oldest, forget_unanswered, note_unanswered
from handlers.rules.unanswered import key_of

KEPT = timedelta(days=90)
KEPT_MAX = 5_000  # of a chatbot: times that something was not known
COMPARED = 300  # of them, the last ones
FORGET_BATCH = 1_000


async def note(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, read: Sequence[MessageId], question: str
) -> None:
    """In the last transaction of the turn that read these messages and holds their conversation."""
    before = await asked_before(conn, user_id, chatbot_id, COMPARED)
    # In a thread: letter by letter, beside the turns of others.
    key = await asyncio.to_thread(key_of, question, {one.key: one.question for one in before})
    await note_unanswered(conn, user_id, chatbot_id, read, question, key)
    await drop_oldest(conn, user_id, chatbot_id, KEPT_MAX)


async def forget_old_unanswered(pool: Pool) -> None:
    while True:
        async with pool.acquire() as conn:
            if await forget_unanswered(conn, KEPT, FORGET_BATCH) < FORGET_BATCH:
                return
