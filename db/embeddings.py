"""What rows of knowledge mean, as vectors (migrations/0077_embeddings.sql)."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from db.ids import ChatbotId, UserId, WorkerId
from db.pool import Conn, at_commit
from db.sql import load
from db.usage import Reserving

_SQL = load(__file__)

VECTORS_AT_ONCE = 500  # of a cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingState:
    wanted: bool
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVector:
    row_id: int
    vector: bytes | None  # None: there is none any more
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorsThere:
    count: int  # of all of a model
    bytes: int  # of those that changed


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingClaim:
    user_id: UserId
    chatbot_id: ChatbotId


@dataclass(frozen=True, slots=True, kw_only=True)
class ToEmbed:
    version: int
    embedded: int  # rows, by this model


@dataclass(frozen=True, slots=True, kw_only=True)
class RowToEmbed:
    id: int
    question: str
    alternatives: list[str]
    answer: str
    text_hash: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    row_id: int
    text_hash: UUID
    vector: bytes | None  # None: the model refuses this text


# ---- for who searches ----------------------------------------------------------------------------


async def embedding_state(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId
) -> EmbeddingState | None:
    row = await conn.fetchrow(_SQL["embedding_state"], user_id, chatbot_id)
    return EmbeddingState(**row) if row else None


async def vectors_since(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, seq: int, model: str
) -> AsyncIterator[list[StoredVector]]:
    """Some at once. In a transaction."""
    cursor = await conn.cursor(_SQL["vectors_since"], user_id, chatbot_id, seq, model)
    while rows := await cursor.fetch(VECTORS_AT_ONCE):
        yield [StoredVector(**row) for row in rows]


async def vectors_there(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, seq: int, model: str
) -> VectorsThere:
    row = await conn.fetchrow(_SQL["vectors_there"], user_id, chatbot_id, seq, model)
    assert row is not None, "an aggregate"
    return VectorsThere(**row)


# ---- for who embeds ------------------------------------------------------------------------------


async def claim_embedding(
    conn: Conn, worker_id: WorkerId, term: timedelta, model: str
) -> EmbeddingClaim | None:
    row = await conn.fetchrow(_SQL["claim_embedding"], worker_id, term, model)
    return EmbeddingClaim(**row) if row else None


async def version_to_embed(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, model: str
) -> ToEmbed | None:
    row = await conn.fetchrow(_SQL["version_to_embed"], user_id, chatbot_id, model)
    return ToEmbed(**row) if row else None


async def rows_to_embed(
    conn: Conn, of: EmbeddingClaim, model: str, after: int, limit: int
) -> list[RowToEmbed]:
    args = (of.user_id, of.chatbot_id, model, after, limit)
    return [RowToEmbed(**row) for row in await conn.fetch(_SQL["rows_to_embed"], *args)]


async def store_vectors(
    conn: Conn, of: EmbeddingClaim, worker_id: WorkerId, model: str, rows: Sequence[Embedded]
) -> bool:
    """False: the claim is somebody else's by now."""
    key = (of.user_id, of.chatbot_id)
    seq = await conn.fetchval(_SQL["hold_embedding"], *key, worker_id)
    if seq is None:
        return False
    columns = ([r.row_id for r in rows], [r.text_hash for r in rows], [r.vector for r in rows])
    await conn.execute(_SQL["store_vectors"], *key, model, *columns, seq)
    return True


async def finish_embedding(
    conn: Conn, of: EmbeddingClaim, worker_id: WorkerId, version: int, model: str
) -> bool:
    args = (of.user_id, of.chatbot_id, worker_id, version, model)
    return bool(await conn.fetchval(_SQL["finish_embedding"], *args))


async def leave_embedding(
    conn: Conn, of: EmbeddingClaim, worker_id: WorkerId, wait: timedelta | None
) -> None:
    """`wait`: it failed, and is tried again after so long at the soonest."""
    await conn.execute(_SQL["leave_embedding"], of.user_id, of.chatbot_id, worker_id, wait)


def count_embedding_calls(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    spent: tuple[str, int, int],
    turn: Reserving | None = None,
) -> None:
    """`spent`: model, calls, tokens. With the COMMIT; of a turn once."""
    name, calls, tokens = spent
    model = f"convert_from(decode('{name.encode().hex()}', 'hex'), 'UTF8')"
    of = "NULL, NULL" if turn is None else f"{turn.conversation_id:d}, {turn.epoch:d}"
    at_commit(
        conn,
        f"SELECT count_embedding_calls({user_id:d}, {chatbot_id:d}, {of}, {model}, {calls:d},"
        f" {tokens:d})",
    )
