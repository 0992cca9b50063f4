"""Migration 0028 comes while processes of the release before work."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from db.events import add_tenant_event
from db.migrate import migrate, migrations
from db.pool import Conn, Pool, create_pool, tenant
from handlers.deliveries.catalogue import BotRecovered
from local.servers.postgres import Postgres
from tests.conftest import Database
from tests.db.test_migrations import new_database
from tests.deliveries.test_races import begun
from tests.e2e.conftest import until
from tests.factories import Tenant, make_conversation, make_message, make_tenant

THIS = "0028"


@asynccontextmanager
async def of_the_release_before(server: Postgres) -> AsyncIterator[tuple[Database, Conn]]:
    """A database without this migration and those after it."""
    async with new_database(server) as database:
        admin = await asyncpg.connect(database.owner_url)
        try:
            await admin.execute(
                "CREATE TABLE schema_migrations (version text PRIMARY KEY, checksum text NOT NULL,"
                " applied_at timestamptz NOT NULL DEFAULT now(), duration_ms integer NOT NULL)"
            )
            for one in (one for one in migrations() if one.version < THIS):
                await admin.execute(one.sql)
                await admin.execute(
                    "INSERT INTO schema_migrations VALUES ($1, $2, now(), 0)",
                    *(one.version, one.checksum),
                )
            yield database, admin
        finally:
            admin.terminate()


async def migrated(database: Database) -> None:
    said: list[str] = []
    await migrate(database.owner_url, database.runtime_url, said.append)
    assert any(THIS in line for line in said)


async def test_it_is_migrated_while_processes_of_the_release_before_work(
    postgres_server: Postgres,
) -> None:
    async with of_the_release_before(postgres_server) as (database, admin):
        users = [await make_tenant(admin) for _ in range(3)]
        pool = await create_pool(database.runtime_url, size=3, name="the release before")
        ends = asyncio.Event()
        done = [0] * len(users)

        async def works(place: int) -> None:
            while not ends.is_set():
                # What deadlocks with a migration is done again, as intake and the API do.
                with contextlib.suppress(asyncpg.DeadlockDetectedError):
                    await tells_and_records(pool, users[place])
                    done[place] += 1

        async def all_did(more: int) -> None:
            wanted = [n + more for n in done]

            async def reached() -> bool:
                return all(n >= w for n, w in zip(done, wanted, strict=True))

            await until(reached, lambda far: far or at_work.done())

        at_work = asyncio.gather(*map(works, range(len(users))))
        await all_did(1)
        await migrated(database)
        for user in users:  # processes of this release are there: somebody makes webhooks
            await admin.execute(
                "INSERT INTO webhooks (user_id, url, events)"
                " VALUES ($1, 'https://x.example', '[\"*\"]')",
                user.user_id,
            )
        await all_did(2)
        ends.set()
        await at_work  # none of them met another error
        assert await admin.fetchval("SELECT count(*) FROM analytics_events") == sum(done)
        heard = await admin.fetch(
            "SELECT (SELECT count(*) FROM webhook_deliveries d WHERE d.webhook_id = w.id) AS n"
            " FROM webhooks w"
        )
        assert all(one["n"] > 0 for one in heard), "what the release before tells is told"
        pool.terminate()


async def tells_and_records(pool: Pool, user: Tenant) -> None:
    """In one transaction, as the release before does."""
    event = BotRecovered(chatbot_id=user.chatbot_id)
    async with tenant(pool, user.user_id) as conn:
        await add_tenant_event(conn, user.user_id, event.TYPE, event.data, user.chatbot_id, None)
        contact_id, conversation_id = await make_conversation(conn, user)
        await make_message(conn, user, contact_id, conversation_id)
        await conn.fetchval("SELECT is_active FROM users WHERE id = $1", user.user_id)


async def test_a_migration_that_is_in_a_deadlock_is_tried_again(postgres_server: Postgres) -> None:
    """Whoever has waited for a second by then is ended; here that is the migration."""
    async with of_the_release_before(postgres_server) as (database, admin):
        user = await make_tenant(admin)
        async with admin.transaction():
            await admin.execute("SET LOCAL deadlock_timeout = '1 h'")
            await admin.execute(
                "INSERT INTO analytics_events (user_id, event_type) VALUES ($1, 'bot.recovered')",
                user.user_id,
            )
            other = await asyncpg.connect(database.owner_url)
            task = await begun(other, migrated(database))
            other.terminate()
            assert not task.done()
            # Which the migration has locked by then.
            await admin.execute("UPDATE webhooks SET is_active = false WHERE id = 1")
        await task


async def test_webhooks_that_were_there_are_served(postgres_server: Postgres) -> None:
    """Written by somebody who had the table and nothing that filled it."""
    async with of_the_release_before(postgres_server) as (database, admin):
        user = await make_tenant(admin)
        webhook_id = await admin.fetchval(
            "INSERT INTO webhooks (user_id, url, events)"
            " VALUES ($1, 'https://x.example', '[\"message.*\"]') RETURNING id",
            user.user_id,
        )
        await migrated(database)
        assert await admin.fetchval("SELECT webhook_id FROM webhook_states") == webhook_id
        told = await admin.fetchval("SELECT told FROM users WHERE id = $1", user.user_id)
        assert "message.received" in told


@pytest.mark.parametrize(
    ("written", "wants"),
    [
        ('["order.created"]', ["order.created"]),
        ('{"order.created": true}', ["order.created"]),
        ('"order.created"', ["order.created"]),
        ("null", []),
    ],
)
async def test_whatever_events_a_webhook_had_it_has_a_list_of_them(
    postgres_server: Postgres, written: str, wants: list[str]
) -> None:
    """The column took any JSON, and a migration that refuses it keeps the whole release away."""
    async with of_the_release_before(postgres_server) as (database, admin):
        user = await make_tenant(admin)
        await admin.execute(
            "INSERT INTO webhooks (user_id, url, events)"
            " VALUES ($1, 'https://x.example', $2::text::jsonb)",
            *(user.user_id, written),
        )
        await migrated(database)
        assert json.loads(await admin.fetchval("SELECT events::text FROM webhooks")) == wants
