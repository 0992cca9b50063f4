"""Many rows of a noun at once: upserts of a batch, and pages for exports."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from db.ids import ChatbotId, ContactId, UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Stored:
    inserted: int
    updated: int


async def upsert_knowledge(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, rows: Rows, given: Sequence[str]
) -> Stored:
    """What all of them have is in `given`; the rest of a row that there is stays."""
    made = await conn.fetch(_SQL["upsert_knowledge"], user_id, chatbot_id, rows, given)
    return _stored(made)


async def upsert_products(conn: Conn, user_id: UserId, rows: Rows, given: Sequence[str]) -> Stored:
    made = await conn.fetch(_SQL["upsert_products"], user_id, rows, given)
    return _stored(made)


def _stored(made: Sequence[asyncpg.Record]) -> Stored:
    inserted = sum(row["inserted"] for row in made)
    return Stored(inserted, len(made) - inserted)


# ---- contacts -----------------------------------------------------------------------------------


async def update_contacts(
    conn: Conn, user_id: UserId, rows: Rows, given: Sequence[str]
) -> list[ContactId]:
    """Each has an `id`, and is locked. Those that it changed."""
    made = await conn.fetch(_SQL["update_contacts"], user_id, rows, given)
    return [row["id"] for row in made]


async def insert_contacts(conn: Conn, user_id: UserId, rows: Rows) -> dict[str, ContactId]:
    """By number. Raises one of CONFLICT when somebody else made one of them at this moment."""
    made = await conn.fetch(_SQL["insert_contacts"], user_id, rows)
    if len(made) < len(rows):
        raise asyncpg.SerializationError("a contact was made meanwhile")
    return {row["phone_number"]: row["id"] for row in made}


async def enter_new(conn: Conn, user_id: UserId, ids: Sequence[ContactId]) -> None:
    """After admit_contacts(), which lets nobody in behind one that somebody has locked."""
    await conn.execute(_SQL["enter_new"], user_id, ids)


async def without_room(conn: Conn, user_id: UserId, ids: Sequence[ContactId]) -> list[ContactId]:
    """Of these contacts that are new, those for which the plan has none: they are gone again."""
    made = await conn.fetch(_SQL["without_room"], user_id, ids)
    return [row["id"] for row in made]


async def wants_to_hear(conn: Conn, user_id: UserId, event: str) -> bool:
    return bool(await conn.fetchval(_SQL["wants_to_hear"], user_id, event))


@asynccontextmanager
async def savepoint(conn: Conn) -> AsyncIterator[None]:
    """What is raised inside undoes what was done inside, and nothing else of the transaction."""
    await conn.execute("SAVEPOINT one")
    try:
        yield
    except BaseException:
        await conn.execute("ROLLBACK TO one")
        raise
    finally:
        await conn.execute("RELEASE one")


# ---- pages --------------------------------------------------------------------------------------


async def last_id(conn: Conn, user_id: UserId, what: str, chatbot_id: ChatbotId | None) -> int:
    args = (user_id,) if chatbot_id is None else (user_id, chatbot_id)
    return int(await conn.fetchval(_SQL[f"last_of_{what}"], *args) or 0)


async def page_of_rows(
    conn: Conn, user_id: UserId, what: str, chatbot_id: ChatbotId | None, between: tuple[int, int]
) -> list[dict[str, Any]]:
    """The next rows behind the first id, up to the second."""
    args = (user_id, *between) if chatbot_id is None else (user_id, *between, chatbot_id)
    return [dict(row) for row in await conn.fetch(_SQL[f"page_of_{what}"], *args)]
