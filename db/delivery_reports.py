"""What came of deliveries, for their tenant."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from db.ids import BEYOND, UserId, WebhookId
from db.pages import PAGE_BYTES, Listed, StoredJson, listed
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)

ATTEMPTS_MAX = 50  # shown of a delivery, the last ones
ATTEMPTS_KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    at: datetime
    status_code: int | None
    duration_ms: int
    error: str | None
    response: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    id: int
    event_id: int
    webhook_id: WebhookId
    type: str | None  # None: the event has been forgotten, and its delivery is about to be
    status: str  # 'pending', 'delivered', 'failed'
    created_at: datetime
    next_attempt_at: datetime | None
    attempts: list[Attempt]  # oldest first
    payload: StoredJson | None = None  # of a single one


async def list_deliveries(
    conn: Conn,
    user_id: UserId,
    webhook_id: WebhookId,
    status: str | None,
    after: int | None,
    limit: int,
) -> Listed[Report]:
    """The newest events first, those before `after`."""
    rows = await conn.fetch(
        _SQL["list_deliveries"],
        user_id,
        webhook_id,
        status,
        BEYOND if after is None else after,
        limit,
        PAGE_BYTES,
        ATTEMPTS_MAX,
        ATTEMPTS_KEPT,
    )
    return listed(_report, rows)


async def read_delivery(conn: Conn, user_id: UserId, delivery_id: int) -> Report | None:
    row = await conn.fetchrow(
        _SQL["read_delivery"], user_id, delivery_id, ATTEMPTS_MAX, ATTEMPTS_KEPT
    )
    return _report(**row) if row else None


def _report(*, attempts: list[dict[str, Any]], payload: str | None = None, **row: Any) -> Report:
    return Report(
        attempts=[Attempt(**one | {"at": datetime.fromisoformat(one["at"])}) for one in attempts],
        payload=None if payload is None else StoredJson(payload),
        **row,
    )


async def replay_delivery(conn: Conn, user_id: UserId, delivery_id: int) -> None:
    """Due now, as if it had never been tried."""
    await conn.execute(_SQL["replay_delivery"], user_id, delivery_id)
