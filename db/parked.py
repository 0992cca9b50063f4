"""Items that no tenant could be given."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from db.pool import Conn
from db.sql import columns, load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedItem:
    reason: str  # a fixed word, e.g. 'unknown_number'
    detail: str | None  # what was wrong and where; never the item's content
    kind: str
    phone_number_id: str | None
    display_number: str | None
    trace_id: str | None
    raw: bytes

    @property
    def key(self) -> bytes:
        return hashlib.sha256(self.kind.encode() + b"\0" + self.raw).digest()


async def park_items(conn: Conn, items: Sequence[ParkedItem]) -> None:
    await conn.execute(
        _SQL["park_items"],
        [i.key for i in items],
        *columns(ParkedItem, items),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    id: int
    reason: str
    detail: str | None
    kind: str
    phone_number_id: str | None
    display_number: str | None
    trace_id: str | None
    parked_at: datetime
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    id: int
    reason: str
    detail: str | None
    kind: str
    phone_number_id: str | None
    display_number: str | None
    trace_id: str | None
    parked_at: datetime
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    id: int
    kind: str
    phone_number_id: str | None
    display_number: str | None
    trace_id: str | None
    raw: bytes


async def list_parked(conn: Conn, after: int, limit: int) -> list[Listed]:
    return [Listed(**row) for row in await conn.fetch(_SQL["list_parked"], after, limit)]


async def show_parked(conn: Conn, parked_id: int) -> Shown | None:
    row = await conn.fetchrow(_SQL["show_parked"], parked_id)
    return Shown(**row) if row else None


async def parked_of_number(
    conn: Conn, phone_number_id: str | None, number: str | None
) -> list[int]:
    rows = await conn.fetch(_SQL["parked_of_number"], phone_number_id, number)
    return [row["id"] for row in rows]


async def parked_of_other_apps(conn: Conn, ids: Sequence[int]) -> list[int]:
    """Those that may not be taken."""
    return [row["id"] for row in await conn.fetch(_SQL["parked_of_other_apps"], ids)]


async def take_parked(conn: Conn, parked_id: int) -> Taken | None:
    """None: somebody else took it."""
    row = await conn.fetchrow(_SQL["take_parked"], parked_id)
    return Taken(**row) if row else None
