"""Endpoints of tenants that hear what happens."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from db.ids import BEYOND, ChatbotId, UserId, WebhookId
from db.pages import Listed
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)

MISSED_MAX = 1_000  # counted, of one webhook; beyond it there are as many, or more


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """As tenants see it: without its secrets."""

    id: WebhookId
    chatbot_id: ChatbotId | None  # None: of all chatbots, and of none
    url: str
    events: list[str]
    ordered: bool
    is_active: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    prev_secret_until: datetime | None
    missed: int  # deliveries that are kept and not tried
    failing_since: datetime | None
    last_success_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class VersionedWebhook:
    webhook: Webhook
    version: int


@dataclass(frozen=True, slots=True)
class NewWebhook:
    url: str
    events: list[str]
    chatbot_id: ChatbotId | None
    ordered: bool
    is_active: bool


@dataclass(frozen=True, slots=True)
class LockedWebhook:
    version: int
    is_active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOf:
    user_id: UserId
    id: WebhookId


async def list_webhooks(
    conn: Conn, user_id: UserId, after: int | None, limit: int
) -> Listed[Webhook]:
    """Youngest first. None has 64 KB."""
    beyond = BEYOND if after is None else after
    found = await webhook_ids(conn, user_id, beyond, limit + 1)
    rows = await webhook_fields(conn, user_id, found[:limit])
    return Listed([one.webhook for one in rows], len(found) > limit)


async def read_webhook(
    conn: Conn, user_id: UserId, webhook_id: WebhookId
) -> VersionedWebhook | None:
    found = await webhook_fields(conn, user_id, [webhook_id])
    return found[0] if found else None


async def webhook_is_there(conn: Conn, user_id: UserId, webhook_id: WebhookId) -> bool:
    """Without what it missed, which has to be counted."""
    return bool(await conn.fetchval(_SQL["webhook_is_there"], user_id, webhook_id))


async def webhook_ids(conn: Conn, user_id: UserId, before: int, limit: int) -> list[WebhookId]:
    return [row["id"] for row in await conn.fetch(_SQL["webhook_ids"], user_id, before, limit)]


async def webhook_fields(
    conn: Conn, user_id: UserId, ids: Sequence[WebhookId]
) -> list[VersionedWebhook]:
    found = []
    for record in await conn.fetch(_SQL["webhook_fields"], user_id, ids, MISSED_MAX):
        row = dict(record)
        version = row.pop("version")
        found.append(VersionedWebhook(Webhook(**row), version))
    return found


async def lock_webhook(conn: Conn, user_id: UserId, webhook_id: WebhookId) -> LockedWebhook | None:
    row = await conn.fetchrow(_SQL["lock_webhook"], user_id, webhook_id)
    return LockedWebhook(**row) if row else None


async def count_webhooks_locked(conn: Conn, user_id: UserId) -> int:
    """Until the transaction ends nobody else makes one."""
    await lock_webhooks(conn, user_id)
    return await count_webhooks(conn, user_id)


async def lock_webhooks(conn: Conn, user_id: UserId) -> None:
    await conn.execute(_SQL["lock_webhooks"], user_id)


async def count_webhooks(conn: Conn, user_id: UserId) -> int:
    return int(await conn.fetchval(_SQL["count_webhooks"], user_id))


async def create_webhook(conn: Conn, user_id: UserId, webhook: NewWebhook) -> WebhookId:
    """Without a secret: what it is encrypted for is the id."""
    return WebhookId(await conn.fetchval(_SQL["create_webhook"], user_id, *values(webhook)))


async def store_secret(conn: Conn, user_id: UserId, webhook_id: WebhookId, sealed: str) -> None:
    await conn.execute(_SQL["store_secret"], user_id, webhook_id, sealed)


async def rotate_secret(
    conn: Conn, user_id: UserId, webhook_id: WebhookId, sealed: str, overlap: timedelta
) -> None:
    await conn.execute(_SQL["rotate_secret"], user_id, webhook_id, sealed, overlap)


async def change_webhook(
    conn: Conn, user_id: UserId, webhook_id: WebhookId, changed: NewWebhook, *, events: bool
) -> None:
    """All but the list of `events`, unless that is among what changed."""
    await conn.execute(
        _SQL["change_webhook"],
        user_id,
        webhook_id,
        changed.url,
        changed.chatbot_id,
        changed.ordered,
        changed.is_active,
    )
    if events:
        await change_events(conn, user_id, webhook_id, changed.events)


async def change_events(
    conn: Conn, user_id: UserId, webhook_id: WebhookId, events: list[str]
) -> None:
    await conn.execute(_SQL["change_events"], user_id, webhook_id, events)


async def forgive(conn: Conn, user_id: UserId, webhook_id: WebhookId) -> None:
    await conn.execute(_SQL["forgive"], user_id, webhook_id)


async def delete_webhook(conn: Conn, user_id: UserId, webhook_id: WebhookId) -> None:
    await conn.execute(_SQL["delete_webhook"], user_id, webhook_id)


async def chatbot_exists(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> bool:
    return bool(await conn.fetchval(_SQL["chatbot_exists"], user_id, chatbot_id))


async def add_ping(conn: Conn, user_id: UserId, webhook_id: WebhookId) -> int:
    """The delivery."""
    return int(await conn.fetchval(_SQL["add_ping"], user_id, webhook_id))


async def begin_recovery(
    conn: Conn, user_id: UserId, webhook_id: WebhookId, since: datetime
) -> None:
    await conn.execute(_SQL["begin_recovery"], user_id, webhook_id, since)


async def recover_deliveries(
    conn: Conn, user_id: UserId, webhook_id: WebhookId, limit: int
) -> tuple[int, bool]:
    """Looks at the next `limit` events: how many deliveries became due, and is there more?"""
    due = await conn.fetchval(_SQL["recover_deliveries"], user_id, webhook_id, limit)
    return int(due), await recovery_goes_on(conn, user_id, webhook_id)


async def recovery_goes_on(conn: Conn, user_id: UserId, webhook_id: WebhookId) -> bool:
    return bool(await conn.fetchval(_SQL["recovery_goes_on"], user_id, webhook_id))


async def recoveries_under_way(conn: Conn, limit: int) -> list[WebhookOf]:
    """Across tenants."""
    return [WebhookOf(**row) for row in await conn.fetch(_SQL["recoveries_under_way"], limit)]


async def webhook_owner(conn: Conn, webhook_id: WebhookId) -> UserId | None:
    """Across tenants."""
    owner: UserId | None = await conn.fetchval(_SQL["webhook_owner"], webhook_id)
    return owner


async def owners_of_webhooks(conn: Conn) -> list[UserId]:
    """Across tenants."""
    return [UserId(row["user_id"]) for row in await conn.fetch(_SQL["owners_of_webhooks"])]
