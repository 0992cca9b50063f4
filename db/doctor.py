"""What `doctor` looks at of a tenant: work that nobody takes, secrets that have to be readable."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from db.ids import UserId, WebhookId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Untaken:
    """Work that was there to be taken for longer than somebody asked about, and no worker did."""

    role: str
    n: int
    since: datetime  # of the one that waits longest


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSecrets:
    """Of a webhook that is on."""

    id: WebhookId
    secret_token: str | None
    prev_secret_token: str | None  # that still signs


async def untaken(conn: Conn, user_id: UserId, age: timedelta) -> list[Untaken]:
    return [Untaken(**row) for row in await conn.fetch(_SQL["untaken"], user_id, age)]


async def webhook_secrets(conn: Conn, user_id: UserId) -> list[WebhookSecrets]:
    return [WebhookSecrets(**row) for row in await conn.fetch(_SQL["webhook_secrets"], user_id)]
