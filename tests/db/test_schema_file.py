"""db/schema.sql says what the migrations make, all of it, whatever PostgreSQL tells it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from db.migrate import migrate
from db.pool import Conn
from local.schema import FILE, Undescribed, described
from local.servers.postgres import available_postgres, postgres


@pytest.mark.parametrize("major", sorted({one.major for one in available_postgres()}))
async def test_it_is_what_the_migrations_make(major: int) -> None:
    async with postgres(version=major, in_memory=True) as server:
        await migrate(server.url, server.url, lambda line: None)
        conn = await asyncpg.connect(server.url)
        text = await described(conn)
        await conn.close()
    assert text == FILE.read_text(), "a migration changed the schema: run `make schema`"


@pytest.fixture
async def changing(owner: Conn) -> AsyncIterator[Conn]:
    """Inside a transaction that is taken back."""
    change = owner.transaction()
    await change.start()
    yield owner
    await change.rollback()


FUNCTION = "send_rate(real, real, timestamptz)"


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE added (id bigint)",
        "ALTER TABLE users ADD COLUMN added text",
        "ALTER TABLE users ALTER COLUMN email DROP NOT NULL",
        "ALTER TABLE users ALTER COLUMN email TYPE varchar(256)",
        "ALTER TABLE users ALTER COLUMN is_active SET DEFAULT false",
        "ALTER TABLE users ALTER COLUMN id SET GENERATED ALWAYS",
        "ALTER TABLE users DROP CONSTRAINT users_email_key",
        "ALTER TABLE users ADD CHECK (email <> '')",
        "ALTER TABLE users SET (fillfactor = 50)",
        "ALTER TABLE users SET (toast.autovacuum_enabled = false)",
        "ALTER TABLE users OWNER TO swiftreplies_app",
        "CREATE INDEX added ON users (phone)",
        "DROP INDEX idx_messages_user_id",
        "ALTER TABLE users NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
        "ALTER POLICY tenant ON users USING (true)",
        "ALTER POLICY tenant ON users WITH CHECK (true)",
        "ALTER POLICY tenant ON users TO swiftreplies_app",
        "CREATE POLICY added ON users AS RESTRICTIVE FOR DELETE USING (true)",
        "DROP TRIGGER release_hold ON usage_reservations",
        "GRANT SELECT ON users TO swiftreplies_log",
        "GRANT UPDATE (email) ON users TO swiftreplies_app",
        "GRANT TRUNCATE ON users TO PUBLIC",
        "REVOKE DELETE ON messages FROM swiftreplies_app",
        "GRANT CREATE ON SCHEMA public TO swiftreplies_app",
        f"DROP FUNCTION {FUNCTION} CASCADE",
        f"ALTER FUNCTION {FUNCTION} OWNER TO swiftreplies_system",
        f"ALTER FUNCTION {FUNCTION} SECURITY DEFINER",
        f"ALTER FUNCTION {FUNCTION} RESET search_path",
        f"REVOKE ALL ON FUNCTION {FUNCTION} FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION {FUNCTION} TO swiftreplies_log",
    ],
)
async def test_whatever_changes_is_told(changing: Conn, change: str) -> None:
    before = await described(changing)
    await changing.execute(change)
    assert await described(changing) != before


@pytest.mark.parametrize(
    "change",
    [
        "CREATE VIEW strange AS SELECT 1",
        "CREATE MATERIALIZED VIEW strange AS SELECT 1",
        "CREATE UNLOGGED TABLE strange (id bigint)",
        "CREATE TYPE strange AS ENUM ('a')",
        "CREATE DOMAIN strange AS text",
        "CREATE SEQUENCE strange",
        "CREATE PROCEDURE strange() LANGUAGE sql AS ''",
        "CREATE TABLE t (strange int GENERATED ALWAYS AS (1) STORED)",
        'CREATE TABLE t (strange text COLLATE "C")',
        "ALTER TABLE usage_reservations DISABLE TRIGGER release_hold",
    ],
)
async def test_what_it_could_not_tell_is_refused(changing: Conn, change: str) -> None:
    await changing.execute(change)
    with pytest.raises(Undescribed, match=r"strange|release_hold"):
        await described(changing)
