"""Deliveries of events to tenants' webhooks, as the worker that holds a webhook sees them.

Each of these is one statement and a transaction of its own: it sets its tenant itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import Any

from db.ids import UserId, WebhookId, WorkerId
from db.pool import Conn
from db.sql import columns, load

_SQL = load(__file__)

BYTES = 256 * 1024  # of bodies that are read at a time, and one more; each may have 4 MiB
FIRST_KEY = -(2**63)  # of those by which an ordered webhook's deliveries are kept apart


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedWebhook:
    user_id: UserId
    id: WebhookId


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    id: int
    event_id: int
    order_key: int
    tries: int
    waited: timedelta  # since it was due
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    due: list[Due]
    webhook: dict[str, Any]  # see next_deliveries() of migrations/0028


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What came of one attempt: 'delivered', 'pending' (again after `after_s`), or 'failed'."""

    id: int
    status: str
    after_s: float | None
    ago_s: float  # since it began
    duration_ms: int
    status_code: int | None
    error: str | None
    response: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fare:
    """How the endpoint fares. With `open_s` it is let go of, and not tried for so long; `disable`
    is the reason for which it is switched off, if its `version` is still this."""

    failures: int
    timeouts: int
    opened: int
    open_s: float | None = None
    succeeded: bool = False
    disable: str | None = None
    version: int | None = None


async def claim_webhooks(
    conn: Conn,
    worker_id: WorkerId,
    held: Sequence[WebhookId],
    limit: int,
    tenant_max: int,
    term: timedelta,
) -> list[ClaimedWebhook]:
    rows = await conn.fetch(_SQL["claim_webhooks"], worker_id, held, limit, tenant_max, term)
    return [ClaimedWebhook(**row) for row in rows]


async def next_deliveries(
    conn: Conn,
    claimed: ClaimedWebhook,
    worker_id: WorkerId,
    in_hand: Sequence[int],
    limit: int,
    after_key: int,
) -> Next | None:
    """None: the webhook is not this worker's any more, or gone. Nothing due and nothing in hand:
    it is let go of."""
    rows = await conn.fetch(
        *(_SQL["next_deliveries"], claimed.user_id, claimed.id, worker_id),
        *(in_hand, limit, after_key, BYTES),
    )
    if not rows:
        return None
    names = ("id", "event_id", "order_key", "tries", "waited", "body")
    due = [Due(**{name: row[name] for name in names}) for row in rows if row["id"] is not None]
    return Next(due=due, webhook=next(row["webhook"] for row in rows if row["webhook"]))


async def settle_deliveries(conn: Conn, user_id: UserId, settled: Sequence[Settled]) -> None:
    # Two that post the same, one of them taken for dead, lock the rows one after the other.
    in_order = sorted(settled, key=attrgetter("id"))
    await conn.execute(_SQL["settle_deliveries"], user_id, *columns(Settled, in_order))


async def lock_webhook_url(conn: Conn, claimed: ClaimedWebhook) -> str | None:
    """Until the transaction ends it is this one. None: the webhook is gone, or somebody changes it
    now."""
    url: str | None = await conn.fetchval(_SQL["lock_webhook_url"], claimed.user_id, claimed.id)
    return url


async def fare_webhook(
    conn: Conn, claimed: ClaimedWebhook, worker_id: WorkerId, fare: Fare
) -> bool:
    """False: another worker holds it by now."""
    done: bool = await conn.fetchval(
        *(_SQL["fare_webhook"], claimed.user_id, claimed.id, worker_id),
        *(fare.failures, fare.timeouts, fare.opened, fare.open_s, fare.succeeded, fare.disable),
        fare.version,
    )
    return done


async def park_deliveries(conn: Conn, claimed: ClaimedWebhook, limit: int) -> int:
    parked: int = await conn.fetchval(_SQL["park_deliveries"], claimed.user_id, claimed.id, limit)
    return parked


async def forget_deliveries(conn: Conn, age: timedelta, limit: int) -> int:
    gone: int = await conn.fetchval(_SQL["forget_deliveries"], age, limit)
    return gone


async def forget_attempts(conn: Conn) -> None:
    await conn.execute(_SQL["forget_attempts"])
