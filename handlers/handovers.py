"""A chatbot hands its conversation over to a person, and takes it up again when nobody came."""

from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from db.conversation_events import NOBODY_CAME, add_event
from db.conversations import Claim, hand_over
from db.pool import Conn, Pool, tenant
from db.takeovers import OverdueHandover, can_be_told, end_handover, overdue_handovers
from handlers.deliveries.catalogue import ConversationHandedBack, ConversationTakenOver
from handlers.deliveries.outbox import tell
from handlers.process.sweeps import Sweep

log: structlog.stdlib.BoundLogger = structlog.get_logger()

BY_BOT: Final = "bot"
SWEEP_BATCH = 100


async def hand_over_by_bot(conn: Conn, claim: Claim, hours: int, reason: str) -> None:
    """In the turn's last transaction, which holds the conversation: the fence has looked whether a
    person has it already."""
    user_id, conversation_id = claim.user_id, claim.conversation_id
    handed = await hand_over(conn, user_id, conversation_id, timedelta(hours=hours), BY_BOT, reason)
    if handed is None:
        return
    taken = ConversationTakenOver(
        chatbot_id=handed.chatbot_id,
        contact_id=handed.contact_id,
        conversation_id=conversation_id,
        by=BY_BOT,
        reason=reason,
        until=handed.taken_over_until,
    )
    await tell(conn, user_id, taken)


async def end_overdue_handovers(pool: Pool, sweep: Sweep[OverdueHandover]) -> None:
    """Nobody said a word in time: the bot says so, and goes on."""
    async with pool.acquire() as conn:
        overdue = await overdue_handovers(conn, sweep.limit(SWEEP_BATCH))
    await sweep.each(overdue, partial(_end, pool))


async def _end(pool: Pool, one: OverdueHandover) -> None:
    async with tenant(pool, one.user_id) as conn:
        ended = await end_handover(conn, one.user_id, one.conversation_id)
        if ended is None:
            return
        if await can_be_told(conn, one.user_id, one.conversation_id):
            await add_event(conn, one.user_id, one.conversation_id, NOBODY_CAME, {})
        event = ConversationHandedBack(
            chatbot_id=ended.chatbot_id,
            contact_id=ended.contact_id,
            conversation_id=one.conversation_id,
        )
        await tell(conn, one.user_id, event)
    log.info("handover.over", user_id=one.user_id, conversation_id=one.conversation_id)
