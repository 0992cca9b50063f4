"""What chatbots know: its rows, and the index of those that have many."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from db.ids import ChatbotId, UserId, WorkerId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)

ROWS_AT_ONCE = 500  # of a cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeBase:
    version: int
    big: bool  # the rows are only the first ones
    count: int  # of all rows
    rows: list[list[Any]]  # [id, category, question, answer, alternatives, language]
    languages: list[str]  # of all rows, the first few


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRow:
    id: int
    category: str | None
    question: str
    answer: str
    alternatives: list[str]
    language: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRow(KnownRow):
    matches: int  # of the words


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedRow:
    id: int
    question: str
    answer: str
    alternatives: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """A row that changed since, of which there may be none."""

    built: int  # the version that is indexed
    whole: bool  # the changes are all that there are
    row_id: int | None
    question: str | None  # None: there is no such row any more
    answer: str | None
    alternatives: list[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    user_id: UserId
    chatbot_id: ChatbotId


async def read_knowledge(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, samples: int
) -> KnowledgeBase | None:
    row = await conn.fetchrow(_SQL["read_knowledge"], user_id, chatbot_id, samples)
    return KnowledgeBase(**row) if row else None


async def rows_of(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, ids: Sequence[int]
) -> list[KnownRow]:
    rows = await conn.fetch(_SQL["rows_of"], user_id, chatbot_id, ids)
    return [KnownRow(**row) for row in rows]


async def rows_with(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, words: Sequence[str], limit: int
) -> list[FoundRow]:
    """`words` in small letters; the rows with the most first."""
    rows = await conn.fetch(_SQL["rows_with"], user_id, chatbot_id, words, limit)
    return [FoundRow(**row) for row in rows]


# ---- the index, for who searches -----------------------------------------------------------------


async def index_built(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> int | None:
    """The version of the index that there is."""
    built: int | None = await conn.fetchval(_SQL["index_built"], user_id, chatbot_id)
    return built


async def index_state(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, most: int
) -> list[IndexState]:
    """With at most so many changes. Nothing: there is no index yet."""
    rows = await conn.fetch(_SQL["index_state"], user_id, chatbot_id, most)
    return [IndexState(**row) for row in rows]


async def index_bytes(conn: Conn, user_id: UserId, chatbot_id: ChatbotId, version: int) -> int:
    return int(await conn.fetchval(_SQL["index_bytes"], user_id, chatbot_id, version))


async def index_parts(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, version: int
) -> AsyncIterator[bytes]:
    """In a transaction; all of one moment."""
    async for row in conn.cursor(_SQL["index_parts"], user_id, chatbot_id, version, prefetch=1):
        yield row["data"]


async def disown_index(conn: Conn, user_id: UserId, chatbot_id: ChatbotId, version: int) -> None:
    await conn.execute(_SQL["disown_index"], user_id, chatbot_id, version)


# ---- the index, for who builds -------------------------------------------------------------------


async def claim_build(conn: Conn, worker_id: WorkerId, term: timedelta) -> Build | None:
    """Of an index that is due, for a worker that builds none."""
    row = await conn.fetchrow(_SQL["claim_build"], worker_id, term)
    return Build(**row) if row else None


async def version_to_build(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> int | None:
    version: int | None = await conn.fetchval(_SQL["version_to_build"], user_id, chatbot_id)
    return version


async def rows_to_build(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId
) -> AsyncIterator[list[IndexedRow]]:
    """By id, some at once. In a transaction."""
    cursor = await conn.cursor(_SQL["rows_to_build"], user_id, chatbot_id)
    while rows := await cursor.fetch(ROWS_AT_ONCE):
        yield [IndexedRow(**row) for row in rows]


async def forget_index(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> None:
    await conn.execute(_SQL["forget_index"], user_id, chatbot_id)


async def store_part(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, version: int, part: int, data: bytes
) -> None:
    await conn.execute(_SQL["store_part"], user_id, chatbot_id, version, part, data)


async def lock_base(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> None:
    """From here on every change of the knowledge base waits for us."""
    await conn.execute(_SQL["lock_base"], user_id, chatbot_id)


async def forget_changes(conn: Conn, user_id: UserId, chatbot_id: ChatbotId, version: int) -> None:
    """Those that this version has."""
    await conn.execute(_SQL["forget_changes"], user_id, chatbot_id, version)


async def finish_build(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, version: int, worker_id: WorkerId
) -> bool:
    """False: the claim is somebody else's by now."""
    return bool(await conn.fetchval(_SQL["finish_build"], user_id, chatbot_id, version, worker_id))


async def give_up_build(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, worker_id: WorkerId, failed: bool
) -> None:
    await conn.execute(_SQL["give_up_build"], user_id, chatbot_id, worker_id, failed)
