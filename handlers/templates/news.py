"""Webhooks about templates move their rows, in the transaction that keeps the webhook."""

from datetime import datetime, timedelta

from db.ids import TemplateId, UserId
from db.pool import Conn
from db.templates import Moved, Told, lock_account, lock_named, move_template, sync_soon
from handlers.deliveries.catalogue import TemplateUpdated
from handlers.deliveries.outbox import tell
from handlers.templates.moves import is_told, moved
from handlers.whatsapp.values import TemplateNews

# An account's management calls are 200 an hour: a storm of webhooks brings a listing now and then.
UNKNOWN_SOON = timedelta(minutes=2)  # one that nobody listed yet
EDITED_SOON = timedelta(minutes=5)  # webhooks do not tell the components as they are sent


async def take_news(
    conn: Conn, user_id: UserId, waba_id: str, news: TemplateNews, at: datetime | None
) -> None:
    """`at`: Meta's time of it."""
    # In front of its templates, as who stores a listing has it.
    await lock_account(conn, user_id, waba_id)
    has = await lock_named(conn, user_id, waba_id, news.name, news.language)
    if has is None or at is None:
        await sync_soon(conn, user_id, waba_id, UNKNOWN_SOON)
        return
    now = moved(has, news, at)
    if now is not None:
        await move_template(conn, user_id, has.id, now)
        if is_told(has, now):
            await tell_updated(conn, user_id, has.id, (has.name, has.language), now)
    if news.what in ("status", "components"):
        await sync_soon(conn, user_id, waba_id, EDITED_SOON)


async def tell_updated(
    conn: Conn,
    user_id: UserId,
    template_id: TemplateId,
    named: tuple[str, str],
    now: Moved | Told,
) -> None:
    """`named`: its name and language."""
    event = TemplateUpdated(
        template_id=template_id,
        name=named[0],
        language=named[1],
        status=now.status,
        category=now.category,
        quality_score=now.quality_score,
    )
    await tell(conn, user_id, event)
