"""What chatbots noted about a contact (migrations/0070_facts.sql)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from db.ids import ChatbotId, ContactId, ConversationId, FactId, MessageId, UserId, Wamid
from db.pages import Listed, listed
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    id: FactId
    contact_id: ContactId
    about: str  # in a few words; of a contact each once
    text: str
    message_id: MessageId  # that it was learnt from
    created_at: datetime
    updated_at: datetime


async def keep_facts(
    conn: Conn,
    user_id: UserId,
    read: Sequence[MessageId],
    facts: Sequence[tuple[str, str]],
    most: int,
) -> None:
    """By the turn that read these messages, and holds their conversation. `facts`: what each is
    about, unlike the others, and its text. Of a contact with more than `most` the oldest go."""
    about, texts = [about for about, _ in facts], [text for _, text in facts]
    args = (user_id, max(read), about, texts, read)
    contact_id = await conn.fetchval(_SQL["keep_facts"], *args)
    if contact_id is not None:
        await conn.execute(_SQL["drop_oldest_facts"], user_id, contact_id, most)


async def forget_facts_of(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, revoked: Wamid
) -> None:
    await conn.execute(_SQL["forget_facts_of"], user_id, chatbot_id, revoked)


# ---- for the tenant's own people and programs ----------------------------------------------------


async def list_facts(
    conn: Conn, user_id: UserId, contact_id: ContactId, before: int, limit: int
) -> Listed[Fact] | None:
    """None: there is no such contact."""
    if not await conn.fetchval(_SQL["contact_is_there"], user_id, contact_id):
        return None
    args = (user_id, contact_id, before, limit)
    return listed(Fact, await conn.fetch(_SQL["list_facts"], *args))


async def read_fact(conn: Conn, user_id: UserId, fact_id: FactId) -> Fact | None:
    row = await conn.fetchrow(_SQL["read_fact"], user_id, fact_id)
    return Fact(**row) if row else None


async def conversations_of(
    conn: Conn, user_id: UserId, contact_id: ContactId
) -> list[ConversationId]:
    rows = await conn.fetch(_SQL["conversations_of"], user_id, contact_id)
    return [row["id"] for row in rows]


async def delete_fact(conn: Conn, user_id: UserId, fact_id: FactId) -> bool:
    return bool(await conn.fetchval(_SQL["delete_fact"], user_id, fact_id))
