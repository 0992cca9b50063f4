"""Statements of the product before tenants, by a login that has a tenant; and ours beside them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from db.connecting import Unfit
from db.ids import UserId
from db.pool import connect_owner, connect_runtime, create_pool, tenant
from local.servers.pgbouncer import pgbouncer
from local.servers.postgres import Postgres
from tests.conftest import RUNTIME_LOGIN, RUNTIME_PASSWORD, Database, with_database
from tests.db.test_migrations import ORDERS_BY_ROW, connected, make_old, new_database, run
from tests.factories import Owner, make_tenant
from tests.poolers import NEW, give_settings

LOGIN = "old_backend"

# As they were written, in the spellings that there were.
STATEMENTS = """
INSERT INTO contacts (phone_number, name, thread_id) VALUES
    ('12025550100', 'Grace', 'thread-of-grace'), ('+49 (151) 2345-0000', 'Emil', NULL);
INSERT INTO messages (contact_id, message_id, direction, content_text, status, sent_at)
    SELECT id, 'wamid.10', 'inbound', 'Do you deliver?', 'received', '2024-06-01 10:00Z'
      FROM contacts WHERE name = 'Grace';
INSERT INTO messages (contact_id, message_id, direction, message_type, content_text, status)
    SELECT id, 'wamid.11', 'outbound', 'text', 'We do.', 'sent' FROM contacts WHERE name = 'Grace';
INSERT INTO messages (contact_id, direction, content_text, status)
    SELECT id, 'outgoing', 'Anything else?', 'queued' FROM contacts WHERE name = 'Grace';
INSERT INTO messages (contact_id, direction, content_text)
    SELECT id, 'incoming', 'Hallo' FROM contacts WHERE name = 'Emil';
UPDATE messages SET status = 'delivered' WHERE message_id = 'wamid.11';
UPDATE contacts SET conversation_paused = true WHERE name = 'Emil';
INSERT INTO orders (contact_id, order_details, status)
    SELECT id, '{"cake": 2}', 'pending' FROM contacts WHERE name = 'Grace';
INSERT INTO order_items (order_id, product_name, quantity)
    SELECT max(id), 'cake', 2 FROM orders;
INSERT INTO campaigns (name, message_template, status) VALUES ('Summer', 'Hello', 'draft');
INSERT INTO checkpoints (thread_id, checkpoint_id, checkpoint)
    VALUES ('thread-of-grace', '1', '{"v": 4, "id": "1"}');
DELETE FROM campaigns WHERE name = 'Summer';
INSERT INTO campaigns (name) VALUES ('Autumn');
"""


@asynccontextmanager
async def taken_over(server: Postgres) -> AsyncIterator[Database]:
    """With a second tenant, whom nothing of this may touch."""
    async with new_database(server) as old:
        await make_old(old, ORDERS_BY_ROW)
        await run(old)
        async with connected(old.owner_url) as owner:
            await make_tenant(owner)
        yield old


@pytest.fixture
async def login(postgres_server: Postgres) -> AsyncIterator[str]:
    """As docs/deploy.md says, but for the tenant."""
    async with connected(postgres_server.url) as admin:
        await admin.execute(
            f"CREATE ROLE {LOGIN} LOGIN PASSWORD 'x'; GRANT swiftreplies_app TO {LOGIN}"
        )
        yield LOGIN
        await admin.execute(f"DROP ROLE {LOGIN}")


async def admin_of(owner: Owner) -> UserId:
    found = await owner.fetchval("SELECT id FROM users WHERE email = 'admin@localhost'")
    return UserId(found)


async def test_they_go_on_as_the_tenant_of_their_login(
    postgres_server: Postgres, login: str
) -> None:
    async with taken_over(postgres_server) as old, connected(old.owner_url) as owner:
        admin = await admin_of(owner)
        role = f"ALTER ROLE {login} IN DATABASE {old.name}"
        await owner.execute(f"{role} SET app.user_id = '{admin}'")
        async with connected(with_database(old.owner_url, old.name, f"{login}:x")) as conn:
            for statement in filter(str.strip, STATEMENTS.split(";\n")):
                await conn.execute(statement)
            assert await conn.fetchval("SELECT count(*) FROM contacts") == 4
        await owner.execute(f"{role} RESET app.user_id")

        contacts = await owner.fetch("SELECT * FROM contacts WHERE name IN ('Grace', 'Emil')")
        assert {(c["name"], c["phone_number"], c["wa_id"], c["user_id"]) for c in contacts} == {
            ("Grace", "+12025550100", "12025550100", admin),
            ("Emil", "+4915123450000", "4915123450000", admin),
        }
        messages = await owner.fetch(
            "SELECT m.*, v.thread_id, v.rebuild_thread, v.last_inbound_at, v.input_seq AS inputs,"
            "       v.ready_at FROM messages m JOIN conversations v ON v.id = m.conversation_id"
            "   AND v.user_id = m.user_id WHERE m.id > 40 ORDER BY m.id"
        )
        bot = await owner.fetchval("SELECT id FROM chatbots WHERE user_id = $1", admin)
        assert [(m["direction"], m["status"], m["message_id"]) for m in messages] == [
            ("inbound", "received", "wamid.10"),
            ("outbound", "delivered", "wamid.11"),
            ("outbound", "sent", None),  # never queued: somebody else sends it
            ("inbound", "received", None),
        ]
        assert {(m["user_id"], m["chatbot_id"]) for m in messages} == {(admin, bot)}
        assert {m["thread_id"] for m in messages[:3]} == {"thread-of-grace"}
        assert messages[0]["last_inbound_at"] == messages[0]["sent_at"]
        # Nothing of it is anybody's to answer, and the bot's memory is made anew.
        assert {(m["inputs"], m["ready_at"], m["input_seq"]) for m in messages} == {(0, None, None)}
        assert {(m["ai_processed"], m["rebuild_thread"]) for m in messages} == {(True, True)}
        orders = "SELECT user_id, chatbot_id FROM orders WHERE id > 6"
        assert [tuple(row) for row in await owner.fetch(orders)] == [(admin, bot)]
        assert await owner.fetchval("SELECT user_id FROM campaigns WHERE name = 'Autumn'") == admin
        assert await owner.fetchval("SELECT user_id FROM order_items") == admin


async def test_a_login_without_a_tenant_is_refused_as_before(
    postgres_server: Postgres, login: str
) -> None:
    async with (
        taken_over(postgres_server) as old,
        connected(with_database(old.owner_url, old.name, f"{login}:x")) as conn,
        connected(old.owner_url) as superuser,
    ):
        assert await conn.fetchval("SELECT count(*) FROM contacts") == 0
        for statement in (
            "INSERT INTO contacts (phone_number) VALUES ('12025550199')",
            "INSERT INTO messages (contact_id, direction) VALUES (3, 'inbound')",
            "INSERT INTO orders (contact_id) VALUES (3)",
            "INSERT INTO campaigns (name) VALUES ('x')",
        ):
            with pytest.raises(asyncpg.PostgresError, match=r"row-level security|user_id"):
                await conn.execute(statement)
            # Not even for whom row-level security does not bind.
            with pytest.raises(asyncpg.NotNullViolationError, match="user_id"):
                await superuser.execute(statement)


async def test_another_tenant_s_contact_cannot_be_written_to(
    postgres_server: Postgres, login: str
) -> None:
    async with taken_over(postgres_server) as old, connected(old.owner_url) as owner:
        other = await owner.fetchval("SELECT max(id) FROM users")
        role = f"ALTER ROLE {login} IN DATABASE {old.name}"
        await owner.execute(f"{role} SET app.user_id = '{other}'")
        async with connected(with_database(old.owner_url, old.name, f"{login}:x")) as conn:
            for statement in (
                "INSERT INTO messages (contact_id, direction) VALUES (3, 'inbound')",
                "INSERT INTO orders (contact_id) VALUES (3)",
            ):
                with pytest.raises(asyncpg.ForeignKeyViolationError):
                    await conn.execute(statement)
        await owner.execute(f"{role} RESET app.user_id")
        talks = "SELECT count(*) FROM conversations WHERE user_id = $1"
        assert await owner.fetchval(talks, other) == 0


# ---- ours, by the same login ---------------------------------------------------------------------


@pytest.fixture
async def shared(database: Database, owner: Owner) -> AsyncIterator[Database]:
    """A database whose runtime login has a tenant, for old callers beside us."""
    user = (await make_tenant(owner)).user_id
    place = f"ALTER ROLE {RUNTIME_LOGIN} IN DATABASE {database.name}"
    await owner.execute(f"{place} SET app.user_id = '{user}'")
    yield database
    await owner.execute(f"{place} RESET app.user_id")


async def test_a_login_s_tenant_is_nobody_s_in_our_connections(
    shared: Database, owner: Owner
) -> None:
    other = await make_tenant(owner)
    pool = await create_pool(shared.runtime_url, size=2, name="tests")
    try:
        assert await pool.fetchval("SELECT count(*) FROM chatbots") == 0
        async with tenant(pool, other.user_id) as conn:
            rows = await conn.fetch("SELECT user_id FROM chatbots")
        assert [row["user_id"] for row in rows] == [other.user_id]
        assert await pool.fetchval("SELECT count(*) FROM chatbots") == 0
        with pytest.raises(asyncpg.PostgresError):
            await pool.execute("INSERT INTO campaigns (name) VALUES ('x')")
    finally:
        pool.terminate()
    conn = await connect_owner(shared.runtime_url)
    assert not await conn.fetchval("SELECT current_setting('app.user_id', true)")
    await conn.close()


async def test_behind_a_pooler_where_it_would_stay_it_is_refused(
    postgres_server: Postgres, shared: Database, owner: Owner
) -> None:
    await give_settings(owner, shared.name)
    users = {RUNTIME_LOGIN: RUNTIME_PASSWORD}
    async with pgbouncer(NEW.get(), postgres_server.url, users) as port:
        url = f"postgresql://{RUNTIME_LOGIN}:{RUNTIME_PASSWORD}@127.0.0.1:{port}/{shared.name}"
        with pytest.raises(Unfit, match=r"SET app\.user_id = ''"):
            await connect_runtime(url, "tests")
