"""LangGraph's working memory of a thread, in LangGraph's own tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    checkpoint_id: str
    checkpoint: dict[str, Any]
    metadata: dict[str, Any]
    channels: Sequence[str]
    versions: Sequence[str]
    types: Sequence[str]
    blobs: Sequence[bytes | None]


async def load_checkpoint(conn: Conn, thread_id: str) -> Checkpoint | None:
    row = await conn.fetchrow(_SQL["load_checkpoint"], thread_id)
    return Checkpoint(**row) if row else None


async def save_checkpoint(conn: Conn, thread_id: str, checkpoint: Checkpoint) -> None:
    await conn.execute(_SQL["save_checkpoint"], thread_id, *values(checkpoint))
