"""How far Meta says that each of our messages got."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from db.ids import ChatbotId, ContactId, ConversationId, MessageId, UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    place: int  # of the status in the batch, from 1
    id: MessageId
    conversation_id: ConversationId | None
    contact_id: ContactId | None
    status: str
    trace_id: str | None
    overage: bool
    give_back_day: date | None
    failed_now: bool
    arrived_after_all: bool  # was taken for failed or not sent


async def merge_statuses(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    wamids: Sequence[str],
    our_ids: Sequence[MessageId | None],
    attempts: Sequence[int | None],
    statuses: Sequence[str],
    reports: Sequence[dict[str, Any]],
) -> list[Merged]:
    """One entry a status that found its message. At most one status a message in a call."""
    rows = await conn.fetch(
        _SQL["merge_statuses"], user_id, chatbot_id, wamids, our_ids, attempts, statuses, reports
    )
    return [Merged(**row) for row in rows]
