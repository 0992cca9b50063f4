"""What is neither a message nor a status: back-fills, preferences, and what Meta tells about
accounts, templates, numbers, calls and groups. Nothing here is answered."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

import structlog

from db.accounts import resolve_accounts
from db.conversations import Debounce
from db.ids import UserId
from db.parked import ParkedItem
from db.pool import Conn, Pool
from handlers.erasure.marks import UNMARKED, Marker
from handlers.ingest.accounts import keep_happening
from handlers.ingest.batch import Arrived, Item, column_text, opened, write_all, writing
from handlers.ingest.erased import park
from handlers.ingest.recording import record_all
from handlers.ingest.stuck import put_aside
from handlers.rules.numbers import normalised
from handlers.whatsapp.cloud_api.inbound import parse_other
from handlers.whatsapp.cloud_api.wire import NotUnderstood
from handlers.whatsapp.values import Happening, Parsed

log: structlog.stdlib.BoundLogger = structlog.get_logger()

NO_DEBOUNCE = Debounce(timedelta(), timedelta())  # nothing of this is an input


async def take_others(pool: Pool, bodies: Sequence[bytes], marker: Marker = UNMARKED) -> None:
    """Raises one of db.pool.UNAVAILABLE when the database is away."""
    arrived, parked = opened(bodies)
    of_numbers: list[tuple[Arrived, Parsed]] = []
    of_accounts: list[tuple[Arrived, Happening]] = []
    for one in arrived:
        for parsed in parse_other(one.update):
            if isinstance(parsed, NotUnderstood):
                parked.append(one.parked("not_understood", parsed.reason))
            elif isinstance(parsed, Happening) and one.update.phone_number_id is None:
                of_accounts.append((one, parsed))
            else:
                of_numbers.append((one, parsed))
    done = await record_all(pool, of_numbers, NO_DEBOUNCE, marker, bind=False)
    parked += done.parked
    if of_accounts:
        parked += await _keep_all(pool, of_accounts)
    await park(pool, parked, marker)
    log.info("others.taken", items=len(of_numbers) + len(of_accounts), parked=len(parked))


async def _keep_all(pool: Pool, told: Sequence[tuple[Arrived, Happening]]) -> list[ParkedItem]:
    async def resolve(
        found: Sequence[tuple[Arrived, Happening]],
    ) -> tuple[dict[UserId, list[Item[Happening]]], list[ParkedItem]]:
        async with pool.acquire() as conn:
            return await _owners(conn, found)

    async def write(user_id: UserId, items: Sequence[Item[Happening]]) -> int:
        async with writing(pool, user_id) as conn:
            for item in items:
                of_number = item.arrived.update.display_number is not None
                chatbot_id = item.chatbot_id if of_number else None
                await keep_happening(conn, user_id, item.arrived, chatbot_id, item.value)
        return len(items)

    done = await write_all(told, resolve, write)
    await put_aside(pool, done.failing)
    return done.parked


async def _owners(
    conn: Conn, told: Sequence[tuple[Arrived, Happening]]
) -> tuple[dict[UserId, list[Item[Happening]]], list[ParkedItem]]:
    """An account may be several tenants': each is told."""
    rows = await resolve_accounts(
        conn,
        [column_text(one.update.waba_id) for one, _ in told],
        [normalised(one.update.display_number) for one, _ in told],
        [one.app_id for one, _ in told],
    )
    owners: dict[UserId, list[Item[Happening]]] = defaultdict(list)
    nobodys = dict.fromkeys(range(1, len(told) + 1), "unknown_account")
    for row in rows:
        one, what = told[row.place - 1]
        if row.user_id is None or row.chatbot_id is None:
            nobodys[row.place] = row.outcome
            continue
        nobodys.pop(row.place, None)
        owners[row.user_id].append(Item(one, what, row.chatbot_id))
    return dict(sorted(owners.items())), [
        told[place - 1][0].parked(reason, told[place - 1][1].field)
        for place, reason in nobodys.items()
    ]
