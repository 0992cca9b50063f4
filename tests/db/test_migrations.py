"""One path to the current schema: from nothing and from the product before tenants, by anyone."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db.backfills import BATCH
from db.checkpoints import load_checkpoint
from db.ids import UserId
from db.migrate import MIGRATIONS, MigrationError, migrate, migrations, pending
from db.pool import connect_owner, create_pool, tenant, tenant_transaction
from db.reconcile import recount
from local.servers.postgres import Postgres, postgres
from tests.conftest import (
    RUNTIME_LOGIN,
    RUNTIME_PASSWORD,
    Database,
    log_url,
    runtime_url,
    with_database,
)
from tests.factories import Owner, make_conversations, make_tenant

ALL = [m.version for m in migrations()]


@asynccontextmanager
async def new_database(server: Postgres, owner: str | None = None) -> AsyncIterator[Database]:
    """An empty one. `owner` is 'login:password'; none: the server's superuser."""
    name = f"test_{os.urandom(6).hex()}"
    admin = await asyncpg.connect(server.url)
    try:
        login = "" if owner is None else f"OWNER {owner.partition(':')[0]}"
        await admin.execute(f"CREATE DATABASE {name} {login} TEMPLATE template0")
        yield Database(
            name,
            with_database(server.url, name, owner),
            runtime_url(server.url, name),
            log_url(server.url, name),
        )
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
async def empty(postgres_server: Postgres) -> AsyncIterator[Database]:
    async with new_database(postgres_server) as database:
        yield database


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Owner]:
    conn = await asyncpg.connect(url)
    try:
        yield conn
    finally:
        conn.terminate()


async def run(database: Database) -> list[str]:
    """Migrates; what was said."""
    said: list[str] = []
    await migrate(database.owner_url, database.runtime_url, said.append)
    return said


# ---- again, at once, and backwards --------------------------------------------------------------


async def test_a_new_database_gets_every_migration_once(empty: Database) -> None:
    async with connected(empty.runtime_url) as conn:
        assert await pending(conn) == ALL
        said = await run(empty)
        assert [line.split(" ")[1] for line in said] == ALL
        assert await pending(conn) == []
        assert await run(empty) == []
        async with connected(empty.owner_url) as owner:
            await owner.execute("DELETE FROM schema_migrations WHERE version = $1", ALL[-1])
        assert await pending(conn) == ALL[-1:]


async def test_four_at_once_share_the_work(empty: Database) -> None:
    said = await asyncio.gather(*(run(empty) for _ in range(4)))
    applied = sorted(line.split(" ")[1] for lines in said for line in lines)
    assert applied == ALL
    async with connected(empty.owner_url) as conn:
        rows = await conn.fetch("SELECT version FROM schema_migrations ORDER BY 1")
    assert [r["version"] for r in rows] == ALL


async def test_a_migration_that_was_changed_afterwards_is_refused(
    database: Database, owner: Owner
) -> None:
    change = "UPDATE schema_migrations SET checksum = reverse(checksum) WHERE version = $1"
    await owner.execute(change, ALL[1])
    with pytest.raises(MigrationError, match=f"{ALL[1]} was applied with another content"):
        await run(database)
    await owner.execute(change, ALL[1])
    assert await run(database) == []


async def test_a_newer_database_is_refused(database: Database, owner: Owner) -> None:
    await owner.execute("INSERT INTO schema_migrations VALUES ('9999_later', 'x', now(), 1)")
    with pytest.raises(MigrationError, match=r"newer than this release: it has 9999_later\."):
        await run(database)
    await owner.execute("DELETE FROM schema_migrations WHERE version = '9999_later'")
    assert await run(database) == []


async def test_a_runtime_login_that_does_not_exist_is_named(empty: Database) -> None:
    nobody = with_database(empty.owner_url, empty.name, "nobody_here")
    with pytest.raises(MigrationError, match=r"login does not exist.*nobody_here"):
        await migrate(empty.owner_url, nobody, lambda line: None)


# ---- by whom ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def other_server() -> AsyncIterator[Postgres]:
    """Roles belong to a whole server, so the tests' own will not do."""
    async with postgres(in_memory=True) as server:
        async with connected(server.url) as admin:
            await admin.execute(
                f"CREATE ROLE {RUNTIME_LOGIN} LOGIN PASSWORD '{RUNTIME_PASSWORD}';"
                "CREATE ROLE maker LOGIN CREATEROLE PASSWORD 'x';"
                "CREATE ROLE plain LOGIN PASSWORD 'x'"
            )
        yield server


@pytest.fixture
async def bare_server(other_server: Postgres) -> AsyncIterator[Postgres]:
    """Where nobody has migrated anything."""
    yield other_server
    async with connected(other_server.url) as admin:
        await admin.execute(
            "DROP ROLE IF EXISTS swiftreplies_app, swiftreplies_system, swiftreplies_log"
        )


async def assert_isolated(database: Database) -> None:
    """The owner and the runtime login both see their tenant's rows only."""
    async with connected(database.owner_url) as conn:
        assert not await conn.fetchval("SELECT usesuper FROM pg_user WHERE usename = current_user")
        users = []
        for email in ("a@example.com", "b@example.com"):
            user_id = await conn.fetchval("SELECT nextval(pg_get_serial_sequence('users', 'id'))")
            users.append(UserId(user_id))
            async with tenant_transaction(conn, user_id):
                await conn.execute(
                    "INSERT INTO users (id, email, password_hash) VALUES ($1, $2, '!')",
                    user_id,
                    email,
                )
                await conn.execute(
                    "INSERT INTO chatbots (user_id, name, phone_number_id) VALUES ($1, 'b', $2)",
                    user_id,
                    f"id-of-{email}",
                )
        assert await conn.fetchval("SELECT count(*) FROM chatbots") == 0
        chatbot = await conn.fetchval(
            "SELECT chatbot_id FROM resolve_number($1, NULL, false)", "id-of-b@example.com"
        )
        assert await conn.fetchval("SELECT chatbot_owner($1)", chatbot) == users[1]
    pool = await create_pool(database.runtime_url, size=1, name="tests")
    try:
        async with tenant(pool, users[0]) as conn:
            rows = await conn.fetch("SELECT user_id FROM chatbots")
            assert [r["user_id"] for r in rows] == users[:1]
    finally:
        pool.terminate()


async def members_of_system(url: str) -> list[str]:
    """Whoever may act as it. From PostgreSQL 16 on its creator may administer it and no more."""
    async with connected(url) as conn:
        kind = "SET" if conn.get_server_version().major >= 16 else "MEMBER"
        rows = await conn.fetch(
            "SELECT rolname FROM pg_roles WHERE rolcanlogin AND NOT rolsuper"
            f" AND pg_has_role(oid, 'swiftreplies_system', '{kind}')"
        )
    return [r["rolname"] for r in rows]


def sql_in(error: MigrationError) -> list[str]:
    """The statements that a message asks an administrator to run."""
    return [line.strip() for line in str(error).splitlines() if line.startswith("  ")]


async def test_an_owner_that_may_make_roles_needs_no_administrator(bare_server: Postgres) -> None:
    async with new_database(bare_server, "maker:x") as database:
        assert len(await run(database)) == len(ALL)
        await assert_isolated(database)
        assert await members_of_system(bare_server.url) == []


async def test_an_owner_that_may_not_is_told_what_an_administrator_has_to_run(
    bare_server: Postgres,
) -> None:
    async with (
        new_database(bare_server, "plain:x") as database,
        connected(bare_server.url) as admin,
    ):
        with pytest.raises(MigrationError, match="administrator") as roles:
            await run(database)
        assert sql_in(roles.value) == [
            "CREATE ROLE swiftreplies_app NOLOGIN NOBYPASSRLS;",
            "CREATE ROLE swiftreplies_system NOLOGIN NOBYPASSRLS;",
            "CREATE ROLE swiftreplies_log NOLOGIN NOBYPASSRLS;",
            f"GRANT swiftreplies_app TO {RUNTIME_LOGIN};",
        ]
        for statement in sql_in(roles.value)[:3]:
            await admin.execute(statement)
        with pytest.raises(MigrationError, match="administrator") as membership:
            await run(database)
        assert sql_in(membership.value) == sql_in(roles.value)[3:]
        for statement in sql_in(membership.value):
            await admin.execute(statement)
        with pytest.raises(MigrationError, match="before the migration") as handing_over:
            await run(database)
        before, after = sql_in(handing_over.value)
        await admin.execute(before)
        assert len(await run(database)) == len(ALL)
        await admin.execute(after)
        assert await run(database) == []
        await assert_isolated(database)
        assert await members_of_system(bare_server.url) == []


UNCOUNTED = """
DROP TABLE knowledge_changes, knowledge_indexes, knowledge_bases CASCADE;
DROP FUNCTION claim_knowledge, note_knowledge, tell_kb_version, judge_knowledge;
DROP INDEX chatbots_phone_number_id;
ALTER TABLE chatbots ADD CONSTRAINT chatbots_phone_number_id_key UNIQUE (phone_number_id);
ALTER TABLE bot_knowledge_base DISABLE TRIGGER USER;
DELETE FROM schema_migrations WHERE version = '0025_knowledge'
"""


async def test_what_a_release_before_knew_is_counted(bare_server: Postgres) -> None:
    """By an owner whom row-level security binds, but for that moment."""
    async with (
        new_database(bare_server, "maker:x") as database,
        connected(with_database(bare_server.url, database.name)) as admin,
    ):
        await run(database)
        await admin.execute(UNCOUNTED)
        user = await make_tenant(admin)
        await admin.execute(
            "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer, is_active)"
            " SELECT $1, $2, 'q' || n, repeat('x', 998), n < 400 FROM generate_series(1, 500) n",
            user.user_id,
            user.chatbot_id,
        )
        await admin.execute("ALTER TABLE bot_knowledge_base ENABLE TRIGGER USER")
        assert len(await run(database)) == 1
        (row,) = await admin.fetch("SELECT rows, chars, version, big, due FROM knowledge_bases")
        assert row["chars"] == sum(998 + len(f"q{n}") for n in range(1, 400))
        assert (row["rows"], row["version"], row["big"], row["due"]) == (399, 0, True, True)
        forced = "SELECT bool_and(relforcerowsecurity) FROM pg_class WHERE relname = ANY ($1)"
        tables = ["bot_knowledge_base", "chatbots", "knowledge_bases"]
        assert await admin.fetchval(forced, tables)
        await admin.execute("UPDATE bot_knowledge_base SET is_active = true")
        assert await admin.fetchval("SELECT kb_version FROM chatbots") == 1


async def test_contacts_of_before_are_found_and_it_goes_on_where_it_was_stopped(
    bare_server: Postgres,
) -> None:
    """By an owner whom row-level security binds."""
    terms = "SELECT user_id, term, of_contact FROM contact_terms ORDER BY 1, 2, 3"
    async with (
        new_database(bare_server, "maker:x") as database,
        connected(with_database(bare_server.url, database.name)) as admin,
    ):
        await run(database)
        for user in [await make_tenant(admin) for _ in range(2)]:
            await make_conversations(admin, user, BATCH + 3)
        await admin.execute("UPDATE contacts SET name = 'Ada ' || id, tags = '[\"vip\"]'")
        whole = await admin.fetch(terms)
        assert len(whole) > 20 * BATCH
        await admin.execute(
            "INSERT INTO contact_terms_due SELECT user_id, 0, max(id) FROM contacts GROUP BY 1"
        )
        # As whoever was killed in the middle left it: some are there already.
        await admin.execute("DELETE FROM contact_terms WHERE of_contact % 5 > 0")
        assert await run(database) == [f"{2 * (BATCH + 3)} contacts of before can be searched for"]
        assert await admin.fetch(terms) == whole
        assert await run(database) == []


UNDATED = """
DROP TABLE usage_gaps, takeovers, model_prices, model_calls, model_usage CASCADE;
DROP TRIGGER note_gone ON messages; DROP TRIGGER note_gone ON actions;
DROP TRIGGER keep_usage_day ON users; DROP TRIGGER figures_in_zone ON users;
DROP TRIGGER call_for_figures ON monthly_usage_summary;
DROP TRIGGER figures_by_plan ON user_subscriptions; DROP TRIGGER figures_by_order ON orders;
DROP FUNCTION usage_day, keep_usage_day, note_messages_gone, note_actions_gone,
    note_model_calls_gone, forget_model_calls, figures_soon, call_for_figures, figures_in_zone,
    figures_by_plan, figures_by_order,
    plan_price, month_figures, claim_figures, make_figures, every_tenant, count_model_calls,
    count_takeover(bigint, bigint), count_received(bigint, date, integer);
DROP POLICY system ON users; DROP POLICY system ON monthly_usage_summary;
ALTER TABLE users DROP COLUMN usage_day_floor;
ALTER TABLE messages DROP COLUMN received_day;
ALTER TABLE monthly_usage_summary DROP COLUMN figures_due;
DELETE FROM schema_migrations WHERE version IN ('0038_usage_days', '0039_model_calls')
"""


async def test_what_was_counted_without_rows_is_known_to_be_so(bare_server: Postgres) -> None:
    """By an owner whom row-level security binds."""
    async with (
        new_database(bare_server, "maker:x") as database,
        connected(with_database(bare_server.url, database.name)) as admin,
    ):
        await run(database)
        await admin.execute(UNDATED)
        user = await make_tenant(admin)
        await admin.execute(
            "INSERT INTO usage_tracking (user_id, tracking_date, daily_messages_received,"
            " live_takeovers_used) VALUES ($1, '2026-02-01', 5, 0), ($1, '2026-02-02', 0, 2)",
            user.user_id,
        )
        assert len(await run(database)) == 2
        found = await recount(admin, user.user_id)
        assert [(f.what.period, f.what.counter, f.what.why) for f in found] == [
            ("2026-02-01", "daily_messages_received", "older than its rows"),
            ("2026-02-02", "live_takeovers_used", "older than its rows"),
        ]
        forced = "SELECT bool_and(relforcerowsecurity) FROM pg_class WHERE relname = ANY ($1)"
        assert await admin.fetchval(forced, ["usage_tracking", "usage_gaps"])


# ---- from the product before tenants ------------------------------------------------------------

OLD = """
CREATE TABLE contacts (
    id SERIAL PRIMARY KEY,
    phone_number VARCHAR(50) UNIQUE NOT NULL,
    name VARCHAR(255),
    thread_id VARCHAR(255) UNIQUE,
    contact_status VARCHAR(50) DEFAULT 'active',
    conversation_paused BOOLEAN DEFAULT false,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE messages (
    id SERIAL PRIMARY KEY,
    contact_id INTEGER NOT NULL REFERENCES contacts(id) ON DELETE CASCADE,
    message_id VARCHAR(255),
    direction VARCHAR(20) NOT NULL,
    message_type VARCHAR(50) NOT NULL DEFAULT 'text',
    content_text TEXT,
    content_url TEXT,
    status VARCHAR(50),
    sent_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
    metadata JSONB DEFAULT '{}'::jsonb,
    ai_processed BOOLEAN DEFAULT false,
    confidence_score DECIMAL(5,4),
    processing_duration DECIMAL(10,3)
);
CREATE TABLE orders (
    id SERIAL PRIMARY KEY,
    contact_id INTEGER NOT NULL REFERENCES contacts(id) ON DELETE CASCADE,
    message_id {message_id},
    order_details JSONB DEFAULT '{}'::jsonb,
    status VARCHAR(50) DEFAULT 'pending',
    shipping_address JSONB,
    order_notes TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE campaigns (
    id SERIAL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    message_template TEXT,
    status VARCHAR(50) DEFAULT 'draft',
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP
);
"""

# As LangGraph's saver makes them, one statement after the other.
LANGGRAPH = """
CREATE TABLE IF NOT EXISTS checkpoint_migrations (v INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS checkpoints (
    thread_id TEXT NOT NULL,
    checkpoint_ns TEXT NOT NULL DEFAULT '',
    checkpoint_id TEXT NOT NULL,
    parent_checkpoint_id TEXT,
    type TEXT,
    checkpoint JSONB NOT NULL,
    metadata JSONB NOT NULL DEFAULT '{}',
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
);
CREATE TABLE IF NOT EXISTS checkpoint_blobs (
    thread_id TEXT NOT NULL,
    checkpoint_ns TEXT NOT NULL DEFAULT '',
    channel TEXT NOT NULL,
    version TEXT NOT NULL,
    type TEXT NOT NULL,
    blob BYTEA {blob},
    PRIMARY KEY (thread_id, checkpoint_ns, channel, version)
);
CREATE TABLE IF NOT EXISTS checkpoint_writes (
    thread_id TEXT NOT NULL,
    checkpoint_ns TEXT NOT NULL DEFAULT '',
    checkpoint_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    channel TEXT NOT NULL,
    type TEXT,
    blob BYTEA NOT NULL,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
);
"""
LANGGRAPH_LATEST = """
CREATE INDEX IF NOT EXISTS checkpoints_thread_id_idx ON checkpoints(thread_id);
CREATE INDEX IF NOT EXISTS checkpoint_blobs_thread_id_idx ON checkpoint_blobs(thread_id);
CREATE INDEX IF NOT EXISTS checkpoint_writes_thread_id_idx ON checkpoint_writes(thread_id);
ALTER TABLE checkpoint_writes ADD COLUMN IF NOT EXISTS task_path TEXT NOT NULL DEFAULT '';
INSERT INTO checkpoint_migrations SELECT generate_series(0, 9);
"""

ROWS = """
INSERT INTO contacts (id, phone_number, name, thread_id, conversation_paused) VALUES
    (3, '+1 (202) 555-0143', 'Ada', '12025550143', false),
    (7, '4915112345678', NULL, NULL, true);
INSERT INTO messages (id, contact_id, message_id, direction, content_text, status, sent_at,
                      metadata, ai_processed) VALUES
    (10, 3, 'wamid.1', 'inbound', 'Do you bake on Sundays?', 'received', '2024-05-01 10:00Z',
     '{"a": 1}', true),
    (11, 3, 'wamid.2', 'outbound', 'We do.', 'delivered', '2024-05-01 10:01Z', NULL, false),
    (12, 3, NULL, 'outgoing', 'Until noon.', 'pending', NULL, '{}', NULL),
    (13, 7, 'wamid.3', 'incoming', 'Hallo', NULL, '2024-05-02 10:00Z', '{}', false),
    (40, 7, 'wamid.3', 'incoming', 'Hallo', NULL, '2024-05-02 10:00Z', '{}', false);
INSERT INTO orders (id, contact_id, message_id, order_details) VALUES
    (5, 3, {first}, '{"cake": 1}'), (6, 7, {none}, '{}');
INSERT INTO campaigns (id, name, status) VALUES (2, 'Easter', 'sent');
INSERT INTO checkpoints (thread_id, checkpoint_id, checkpoint) VALUES
    ('12025550143', '1f0-a', '{"v": 4, "id": "1f0-a"}');
INSERT INTO checkpoint_blobs (thread_id, channel, version, type, blob) VALUES
    ('12025550143', 'messages', '1', 'msgpack', '\\x01');
INSERT INTO checkpoint_writes (thread_id, checkpoint_id, task_id, idx, channel, blob) VALUES
    ('12025550143', '1f0-a', 'task', 0, 'messages', '\\x02');
SELECT setval('contacts_id_seq', 7), setval('messages_id_seq', 40), setval('orders_id_seq', 6),
       setval('campaigns_id_seq', 2);
"""

ORDERS_BY_ROW = {
    "{message_id}": "INTEGER REFERENCES messages(id) ON DELETE SET NULL",
    "{first}": "10",
    "{none}": "NULL",
}
ORDERS_BY_WAMID = {
    "{message_id}": "VARCHAR(255)",
    "{first}": "'wamid.1'",
    "{none}": "'wamid.gone'",
}


def filled(sql: str, blanks: dict[str, str]) -> str:
    for blank, value in blanks.items():
        sql = sql.replace(blank, value)
    return sql


async def make_old(
    database: Database, orders: dict[str, str], *, langgraph: str = "latest"
) -> None:
    latest = langgraph == "latest"
    async with connected(database.owner_url) as conn:
        await conn.execute(filled(OLD, orders))
        await conn.execute(filled(LANGGRAPH, {"{blob}": "" if latest else "NOT NULL"}))
        if latest:
            await conn.execute(LANGGRAPH_LATEST)
        else:
            await conn.execute("INSERT INTO checkpoint_migrations SELECT generate_series(0, 3)")
        await conn.execute(filled(ROWS, orders))


@pytest.fixture(
    scope="module",
    params=[(ORDERS_BY_ROW, "latest"), (ORDERS_BY_WAMID, "third migration")],
    ids=["orders_by_row", "orders_by_wamid"],
)
async def upgraded(
    request: pytest.FixtureRequest, postgres_server: Postgres
) -> AsyncIterator[Database]:
    orders, langgraph = request.param
    async with new_database(postgres_server) as database:
        await make_old(database, orders, langgraph=langgraph)
        await run(database)
        yield database


async def test_an_old_database_is_handed_to_an_admin(upgraded: Database) -> None:
    await assert_handed_over(upgraded)


async def assert_handed_over(upgraded: Database) -> None:
    async with connected(upgraded.owner_url) as conn:
        admin = await conn.fetchval("SELECT id FROM users WHERE email = 'admin@localhost'")
        bot = await conn.fetchval("SELECT id FROM chatbots WHERE user_id = $1", admin)
        assert await conn.fetchval("SELECT is_active FROM user_subscriptions") is True

        contacts = await conn.fetch("SELECT * FROM contacts ORDER BY id")
        assert [c["id"] for c in contacts] == [3, 7]
        assert [c["phone_number"] for c in contacts] == ["+12025550143", "+4915112345678"]
        assert [c["wa_id"] for c in contacts] == ["12025550143", "4915112345678"]
        assert [c["conversation_paused"] for c in contacts] == [False, True]
        assert {(c["user_id"], c["chatbot_id"]) for c in contacts} == {(admin, bot)}
        assert contacts[0]["thread_id"] == "12025550143"
        assert contacts[1]["thread_id"].startswith(f"{admin}:")

        talks = await conn.fetch("SELECT * FROM conversations ORDER BY contact_id")
        assert [(t["contact_id"], t["thread_id"]) for t in talks] == [
            (c["id"], c["thread_id"]) for c in contacts
        ]
        # Nothing old is waiting for an answer, and the window counts from the last real message.
        assert {(t["input_seq"], t["answered_seq"], t["ready_at"]) for t in talks} == {(0, 0, None)}
        assert [t["last_inbound_at"].isoformat() for t in talks] == [
            "2024-05-01T10:00:00+00:00",
            "2024-05-02T10:00:00+00:00",
        ]

        messages = await conn.fetch("SELECT * FROM messages ORDER BY id")
        assert [(m["id"], m["direction"], m["status"], m["message_id"]) for m in messages] == [
            (10, "inbound", "received", "wamid.1"),
            (11, "outbound", "delivered", "wamid.2"),
            (12, "outbound", "sent", None),
            (13, "inbound", "received", "wamid.3"),
            (40, "inbound", "received", None),
        ]
        assert {m["conversation_id"] for m in messages} == {t["id"] for t in talks}
        assert {m["ai_processed"] for m in messages} == {True}
        assert {m["content_text"] for m in messages} >= {"Do you bake on Sundays?", "We do."}

        found = await conn.fetch("SELECT id, contact_id, message_id FROM orders ORDER BY id")
        assert [tuple(o) for o in found] == [(5, 3, 10), (6, 7, None)]
        assert await conn.fetchval("SELECT user_id FROM campaigns WHERE id = 2") == admin


async def test_new_rows_take_ids_after_the_old_ones(upgraded: Database) -> None:
    async with connected(upgraded.owner_url) as conn:
        for table, highest in (("contacts", 7), ("messages", 40), ("orders", 6), ("campaigns", 2)):
            following = await conn.fetchval(
                "SELECT nextval(pg_get_serial_sequence($1, 'id'))", table
            )
            assert following == highest + 1
        await conn.execute(
            "INSERT INTO contacts (id, user_id, phone_number)"
            " SELECT 3000000000, id, '+999999' FROM users LIMIT 1"
        )


async def test_an_old_thread_is_remembered_by_its_tenant_alone(upgraded: Database) -> None:
    async with connected(upgraded.owner_url) as conn:
        admin = await conn.fetchval("SELECT user_id FROM contacts WHERE id = 3")
        other = await make_tenant(conn)
    pool = await create_pool(upgraded.runtime_url, size=1, name="tests")
    try:
        async with tenant(pool, admin) as runtime:
            remembered = await load_checkpoint(runtime, "12025550143")
            assert remembered is not None
            assert remembered.checkpoint == {"v": 4, "id": "1f0-a"}
            assert remembered.blobs == [b"\x01"]
            assert await runtime.fetchval("SELECT count(*) FROM checkpoint_writes") == 1
        async with tenant(pool, other.user_id) as runtime:
            assert await load_checkpoint(runtime, "12025550143") is None
            assert await runtime.fetchval("SELECT count(*) FROM checkpoint_writes") == 0
    finally:
        pool.terminate()


async def test_two_spellings_of_one_number_are_for_a_human_to_merge(empty: Database) -> None:
    await make_old(empty, ORDERS_BY_ROW)
    async with connected(empty.owner_url) as conn:
        await conn.execute("INSERT INTO contacts (phone_number) VALUES ('12025550143')")
        with pytest.raises(
            MigrationError, match=r"(?s)contacts 3 and 8 .* two spellings.* Merge or delete one"
        ):
            await run(empty)
        # Nothing has happened to the old tables, and the way on is open.
        assert await conn.fetchval("SELECT phone_number FROM contacts WHERE id = 3") == (
            "+1 (202) 555-0143"
        )
        await conn.execute("DELETE FROM contacts WHERE id = 8")
        await run(empty)
        assert await conn.fetchval("SELECT count(*) FROM conversations") == 2


# ---- both ways lead to the same schema ----------------------------------------------------------

CATALOGUE = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity::text, pg_get_expr(d.adbin, d.adrelid)
          FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped""",
    "tables": """
        SELECT relname, relkind::text, relrowsecurity, relforcerowsecurity, reloptions,
               relacl::text, relowner::regrole::text
          FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')
        """,
    # From PostgreSQL 18 on a NOT NULL is a constraint with a name; the columns have it already.
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace AND contype <> 'n'""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "policies": """
        SELECT tablename, policyname, permissive, roles::text, cmd, qual, with_check
          FROM pg_policies WHERE schemaname = 'public'""",
    "functions": """
        SELECT p.oid::regprocedure::text, md5(pg_get_functiondef(p.oid)), proowner::regrole::text,
               proacl::text
          FROM pg_proc p WHERE pronamespace = 'public'::regnamespace""",
    "triggers": """
        SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid)
          FROM pg_trigger WHERE NOT tgisinternal""",
    "sequences": """
        SELECT sequencename, data_type::text, start_value > 0, max_value, cycle
          FROM pg_sequences WHERE schemaname = 'public'""",
}


async def catalogue(url: str) -> dict[str, set[tuple[Any, ...]]]:
    """Everything that makes two databases behave alike; the columns' order does not."""
    async with connected(url) as conn:
        return {
            name: {tuple(str(v) for v in row) for row in await conn.fetch(sql)}
            for name, sql in CATALOGUE.items()
        }


async def test_an_old_database_ends_as_a_new_one(upgraded: Database, database: Database) -> None:
    new = await catalogue(database.owner_url)
    old = await catalogue(upgraded.owner_url)
    for what in CATALOGUE:
        assert new[what], what
        assert old[what] == new[what], what


async def test_an_owner_reads_json_as_the_runtime_does(database: Database) -> None:
    conn = await connect_owner(database.owner_url)
    try:
        assert await conn.fetchval("SELECT '{\"a\": [1]}'::jsonb") == {"a": [1]}
    finally:
        await conn.close()


@pytest.mark.parametrize("file", sorted(MIGRATIONS.glob("*.sql")), ids=lambda file: file.stem)
def test_processes_of_the_release_before_go_on(file: Path) -> None:
    """What a migration takes away is there again, in another form, when it ends."""
    text = file.read_text()
    for kind, name in re.findall(r"^DROP (FUNCTION|TABLE|VIEW) (\w+)", text, re.MULTILINE):
        assert re.search(rf"^CREATE (OR REPLACE )?{kind} {name}\b", text, re.MULTILINE), name
