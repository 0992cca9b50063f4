"""How far Meta says that each of our messages got."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from db.ids import ChatbotId, ContactId, ConversationId, MessageId, UserId, Wamid
from db.pool import Conn
from db.sql import columns, load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """How far Meta says that a message got."""

    wamid: Wamid
    our_id: MessageId | None  # when the status carries what we sent along,
    attempt: int | None  # and which send of it
    status: str
    report: dict[str, Any]  # for the row's metadata: times and errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    place: int  # of the status in the batch, from 1
    id: MessageId
    conversation_id: ConversationId | None
    contact_id: ContactId | None
    status: str
    trace_id: str | None
    overage: bool
    bulk: bool
    give_back_day: date | None
    failed_now: bool
    arrived_after_all: bool  # was taken for failed or not sent
    sent_now: bool  # nobody knew before that Meta took it
    moved: bool  # to `status`, by this one
    told: list[str]  # events that some webhook wants to hear of: users.told


async def merge_statuses(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, reports: Sequence[StatusReport]
) -> list[Merged]:
    """One entry a status that found its message. At most one status a message in a call."""
    rows = await conn.fetch(
        _SQL["merge_statuses"], user_id, chatbot_id, *columns(StatusReport, reports)
    )
    return [Merged(**row) for row in rows]
