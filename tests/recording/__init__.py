"""What becomes of the entries of the log, in a real database."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import structlog

from db.conversations import Debounce
from db.pool import Conn
from handlers.ingest.envelope import Envelope, encode
from handlers.process import telemetry
from handlers.whatsapp.cloud_api.wire import split
from tests.factories import Tenant
from tests.unit.payloads import change, text, value, webhook

DEBOUNCE = Debounce(quiet=timedelta(seconds=2), longest=timedelta(seconds=5))
TRACE = "0123456789abcdef"


def body(*changes: Any, trace: str = TRACE) -> bytes:
    """An entry of the log with the updates of these changes."""
    return encode(Envelope(trace, "2026-11-22T10:00:00+00:00", tuple(split(webhook(*changes)))))


def to(tenant: Tenant, *items: Any, contacts: Any = None) -> bytes:
    """An entry with messages for the tenant's number."""
    return body(
        change(value(tenant.phone_number_id, tenant.number, messages=[*items], contacts=contacts))
    )


def statuses_for(tenant: Tenant, *items: Any) -> bytes:
    return body(change(value(tenant.phone_number_id, tenant.number, statuses=[*items])))


def wrote(wamid: str, who: str = "13035550111", at: int = 1_795_000_000, **keys: Any) -> Any:
    """A text of a customer who is known by a number alone."""
    item = {
        **text(body=f"text of {wamid}"),
        "from": who,
        "id": wamid,
        "timestamp": str(at),
        **keys,
    }
    if "from_user_id" not in keys:
        del item["from_user_id"]
    return item


async def recorded(owner: Conn, tenant: Tenant) -> list[str]:
    """The wamids of the tenant's inbound messages, in the order of the record."""
    rows = await owner.fetch(
        "SELECT message_id FROM messages WHERE user_id = $1 AND direction = 'inbound' ORDER BY id",
        tenant.user_id,
    )
    return [row["message_id"] for row in rows]


async def received(owner: Conn, tenant: Tenant) -> int:
    count: int = await owner.fetchval(
        "SELECT coalesce(sum(daily_messages_received), 0)::int FROM usage_tracking"
        " WHERE user_id = $1",
        tenant.user_id,
    )
    return count


async def parked(owner: Conn) -> list[dict[str, Any]]:
    rows = await owner.fetch(
        "SELECT reason, detail, kind, phone_number_id, display_number, trace_id, raw"
        " FROM parked_items ORDER BY id"
    )
    return [dict(row) for row in rows]


def parked_item(row: dict[str, Any]) -> Any:
    return json.loads(row["raw"])["item"]


@contextmanager
def plainly_logged() -> Iterator[None]:
    """As in production: without being configured structlog draws every traceback, for seconds."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers, root.level
    telemetry.configure("info", "json", "tests")
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**before)
