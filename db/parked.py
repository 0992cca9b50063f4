"""Items that no tenant could be given."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from db.pool import Conn
from db.sql import load

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
        [i.reason for i in items],
        [i.detail for i in items],
        [i.kind for i in items],
        [i.phone_number_id for i in items],
        [i.display_number for i in items],
        [i.trace_id for i in items],
        [i.raw for i in items],
    )
