"""Rows of knowledge bases, as the tenant's people and programs see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType

from db.ids import BEYOND, ChatbotId, UserId
from db.pages import PAGE_BYTES, Listed, listed
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)

KnowledgeId = NewType("KnowledgeId", int)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    id: int
    chatbot_id: ChatbotId
    category: str | None
    question: str
    answer: str
    alternatives: list[str]
    language: str | None
    is_active: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class VersionedKnowledge:
    row: Knowledge
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKnowledge:
    category: str | None
    question: str
    answer: str
    alternatives: list[str]
    language: str | None
    is_active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Of a list."""

    category: str | None
    words: Sequence[str]  # all of them, anywhere in a row; none: every row
    after: int | None
    limit: int


async def list_knowledge(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, wanted: Wanted
) -> Listed[Knowledge]:
    """Newest first."""
    before = BEYOND if wanted.after is None else wanted.after
    by = "list_knowledge" if wanted.category is None else "list_knowledge_by_category"
    given: list[Any] = [user_id, chatbot_id, before, wanted.limit, PAGE_BYTES, wanted.words]
    if wanted.category is not None:
        given.append(wanted.category)
    return listed(Knowledge, await conn.fetch(_SQL[by], *given))


async def read_knowledge_row(
    conn: Conn, user_id: UserId, knowledge_id: KnowledgeId
) -> VersionedKnowledge | None:
    record = await conn.fetchrow(_SQL["read_knowledge_row"], user_id, knowledge_id)
    if record is None:
        return None
    row = dict(record)
    version = row.pop("version")
    return VersionedKnowledge(Knowledge(**row), version)


async def lock_knowledge_row(
    conn: Conn, user_id: UserId, knowledge_id: KnowledgeId
) -> VersionedKnowledge | None:
    """As it is once nobody else changes it."""
    if await conn.fetchval(_SQL["lock_knowledge_row"], user_id, knowledge_id) is None:
        return None
    return await read_knowledge_row(conn, user_id, knowledge_id)


async def row_with_question(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, question: str
) -> KnowledgeId | None:
    found: KnowledgeId | None = await conn.fetchval(
        _SQL["row_with_question"], user_id, chatbot_id, question
    )
    return found


async def add_knowledge(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, new: NewKnowledge
) -> KnowledgeId | None:
    """None: the chatbot has a row with this question."""
    added: KnowledgeId | None = await conn.fetchval(
        _SQL["add_knowledge"],
        *(user_id, chatbot_id, new.category, new.question, new.answer),
        *(new.alternatives, new.language, new.is_active),
    )
    return added


async def change_knowledge(
    conn: Conn, user_id: UserId, knowledge_id: KnowledgeId, new: NewKnowledge
) -> None:
    """Raises one of CONFLICT when another row gets its question at this moment."""
    await conn.execute(
        _SQL["change_knowledge"],
        *(user_id, knowledge_id, new.category, new.question, new.answer),
        *(new.alternatives, new.language, new.is_active),
    )


async def delete_knowledge(conn: Conn, user_id: UserId, knowledge_id: KnowledgeId) -> None:
    await conn.execute(_SQL["delete_knowledge"], user_id, knowledge_id)
