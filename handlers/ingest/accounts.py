"""What Meta tells of accounts and numbers, not of a message: kept, and told where it matters."""

from collections.abc import Sequence

from db.accounts import KeptEvent, keep_event, learn_accounts, raise_rate
from db.ids import ChatbotId, UserId
from db.pool import Conn, Pool, tenant
from handlers.deliveries.catalogue import AccountEvent
from handlers.deliveries.outbox import tell
from handlers.ingest.batch import Arrived, Item, column_text
from handlers.templates.news import take_news
from handlers.whatsapp.cloud_api.untrusted import moment
from handlers.whatsapp.values import Happening, Parsed

# Meta's limits of messages in and out together are 80 a second, and 1,000 after an upgrade; of both
# we take seven tenths for what goes out (the default is send_limits.max_rate's).
DEFAULT_RATE, UPGRADED_RATE = 56, 700
LEARNED_MAX = 10_000
# Which account each number was last seen in, so that the database is told once a process.
_LEARNED: dict[ChatbotId, str] = {}


async def learn_accounts_once(pool: Pool, user_id: UserId, items: Sequence[Item[Parsed]]) -> None:
    told = {
        i.chatbot_id: account
        for i in items
        if (account := column_text(i.arrived.update.waba_id)) is not None
    }
    news = sorted((bot, account) for bot, account in told.items() if _LEARNED.get(bot) != account)
    if news:
        async with tenant(pool, user_id) as conn:
            known = await learn_accounts(conn, user_id, [n[0] for n in news], [n[1] for n in news])
        if len(_LEARNED) > LEARNED_MAX:
            _LEARNED.clear()
        _LEARNED.update(one for one in news if one[0] in known)


async def keep_happening(
    conn: Conn, user_id: UserId, arrived: Arrived, chatbot_id: ChatbotId | None, what: Happening
) -> None:
    parked = arrived.parked(what.field)
    event = KeptEvent(
        chatbot_id=chatbot_id,
        item_key=parked.key,
        field=what.field,
        event=what.event,
        trace_id=arrived.trace_id,
        raw=parked.raw,
    )
    kept = await keep_event(conn, user_id, event)
    if kept is None:
        return
    if what.throughput and chatbot_id is not None:
        await raise_rate(conn, user_id, chatbot_id, UPGRADED_RATE, DEFAULT_RATE)
    if what.template is not None and arrived.update.waba_id is not None:
        at = moment(arrived.update.entry_time)
        await take_news(conn, user_id, arrived.update.waba_id, what.template, at)
    if what.told:
        told = AccountEvent(
            chatbot_id=chatbot_id, field=what.field, event=what.event, account_event_id=kept
        )
        await tell(conn, user_id, told)
