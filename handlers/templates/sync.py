"""Each account is listed once an hour, and what Meta tells is stored.

Any number of workers: an account is claimed for LEASE, and who dies lets others have it then. One
that refuses is left alone for a while; the others do not notice.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from db.ids import UserId
from db.pool import Conn, Pool, tenant
from db.templates import (
    DueSync,
    Told,
    add_templates,
    change_templates,
    chatbots_of_account,
    claim_template_syncs,
    drop_account,
    forget_templates,
    lock_account,
    lock_templates,
    note_listed,
    note_not_synced,
    note_synced,
    read_sync,
)
from handlers.process.sweeps import Sweep
from handlers.rules.backoff import backoff
from handlers.templates.account import Meta
from handlers.templates.moves import compared
from handlers.templates.news import tell_updated
from handlers.whatsapp.cloud_api.management import Declined, NoAnswer

log: structlog.stdlib.BoundLogger = structlog.get_logger()

EVERY = timedelta(hours=1)
JITTER = 0.1  # of it, to both sides: accounts that began together do not stay so
AT_ONCE = 8  # accounts that a worker lists
LEASE = timedelta(minutes=5)
LIST_S = 240.0  # for all pages of one; shorter than the lease
TOKENS_MAX = 3  # tried for one account
AWAY_S, AWAY_MOST_S = 60.0, 3_600.0  # again, while Meta gives no answer
FORGOTTEN_AFTER = timedelta(days=396)  # what is DELETED: 13 months
FORGET_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Synced:
    new: int
    changed: int
    gone: int


async def sync_due(pool: Pool, meta: Meta, sweep: Sweep[DueSync]) -> None:
    """All that are due at this moment."""

    async def sync(due: DueSync) -> None:
        await sync_one(pool, meta, due)

    while True:
        async with pool.acquire() as conn:
            claimed = await claim_template_syncs(conn, AT_ONCE, LEASE)
        async with asyncio.TaskGroup() as group:
            for due in claimed:
                group.create_task(sweep.each([due], sync))
        if len(claimed) < AT_ONCE:
            return


async def sync_one(pool: Pool, meta: Meta, due: DueSync) -> None:
    async with tenant(pool, due.user_id) as conn:
        sync = await read_sync(conn, due)
        if sync is None:
            return
        accounts = await chatbots_of_account(conn, due.user_id, sync.waba_id, TOKENS_MAX)
        if not accounts:
            await drop_account(conn, due.user_id, sync.waba_id)
            return
        asked_at = accounts[0].asked_at
    try:
        async with asyncio.timeout(LIST_S):
            told = await meta.list_all(sync.waba_id, meta.tokens_of(accounts))
    except TimeoutError:
        told = NoAnswer("too slow")
    async with tenant(pool, due.user_id) as conn:
        if isinstance(told, list):
            done = await store(conn, due.user_id, sync.waba_id, told, asked_at)
            log.info(
                "templates.synced", user_id=due.user_id, sync_id=due.id, found=done is not None
            )
            return
        again = EVERY
        if isinstance(told, NoAnswer):
            again = backoff(sync.tries, base_s=AWAY_S, cap_s=AWAY_MOST_S, dice=random.random())
        await note_not_synced(conn, due, problem_of(told), again)
    code = told.code if isinstance(told, Declined) else told.reason
    log.warning("templates.not_synced", user_id=due.user_id, sync_id=due.id, reason=code)


async def store(
    conn: Conn, user_id: UserId, waba_id: str, told: Sequence[Told], asked_at: datetime
) -> Synced | None:
    """None: the account is gone, or a listing that was asked for later is stored."""
    account = await lock_account(conn, user_id, waba_id)
    if account is None or (account.synced_at is not None and account.synced_at > asked_at):
        return None
    has = await lock_templates(conn, user_id, waba_id)
    found = compared(has, told, asked_at)
    new = await add_templates(conn, user_id, waba_id, found.new)
    await change_templates(conn, user_id, [*found.changed, *found.gone])
    await note_listed(conn, user_id, waba_id, [*new, *found.listed], asked_at)
    for template_id, now in found.told:
        await tell_updated(conn, user_id, template_id, (now.name, now.language), now)
    jitter = 1 + JITTER * random.uniform(-1, 1)
    await note_synced(conn, user_id, waba_id, asked_at, EVERY * jitter)
    return Synced(len(new), len(found.changed), len(found.gone))


def problem_of(told: Declined | NoAnswer) -> str:
    """In words for the tenant."""
    match told:
        case NoAnswer():
            return "WhatsApp's Graph API gave no answer; it is asked again"
        case Declined("limit"):
            return f"Meta takes no more calls for this account within the hour: {told.words}"
        case Declined("token"):
            return f"Meta does not let the access_token read the account's templates: {told.words}"
        case _:
            return f"Meta refused: {told.words}"


async def forget_old_templates(pool: Pool) -> None:
    async with pool.acquire() as conn:
        await forget_templates(conn, FORGOTTEN_AFTER, FORGET_AT_ONCE)
