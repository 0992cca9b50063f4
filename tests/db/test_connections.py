"""Each connection is what it has to be, whatever stands between and however the database is set;
and one that cannot be made says why."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from db.connecting import CannotConnect, Unfit
from db.ingest_log import connect_consuming, connect_publishing
from db.pool import (
    UNAVAILABLE,
    Conn,
    Pool,
    connect_owner,
    connect_runtime,
    create_pool,
    tenant_transaction,
)
from local.servers.postgres import Postgres, postgres
from tests.conftest import Database
from tests.db.test_isolation import make_side
from tests.factories import Owner
from tests.wire import Between, between

HELD = 15  # connections at once, as a worker has them
LIMITS = {"statement_timeout": "15s", "idle_in_transaction_session_timeout": "30s"}


async def setting(conn: Conn, name: str) -> str:
    found: str = await conn.fetchval("SELECT current_setting($1)", name)
    return found


@pytest.fixture(autouse=True)
async def as_it_was(database: Database, owner: Owner) -> AsyncIterator[None]:
    """The database is all these tests'."""
    yield
    await owner.execute(f"ALTER DATABASE {database.name} RESET ALL")


@pytest.fixture
async def dropping(postgres_server: Postgres) -> AsyncIterator[Between]:
    """A pooler of sessions: what is set on one stays."""
    async with between(Between(postgres_server, drops=True)) as one:
        yield one


@pytest.fixture
async def posing(postgres_server: Postgres) -> AsyncIterator[Between]:
    """One that may lend each transaction another connection."""
    async with between(Between(postgres_server, drops=True, poses=True)) as one:
        yield one


# ---- what start-up parameters asked for and did not get ------------------------------------------


async def test_a_superuser_s_connections_are_bound_although_their_role_was_dropped(
    dropping: Between, database: Database, owner: Owner
) -> None:
    ours, theirs = await make_side(owner), await make_side(owner)
    pool = await create_pool(dropping.url(database.owner_url), size=HELD, name="tests")

    async def seen() -> set[int]:
        async with pool.acquire() as conn, tenant_transaction(conn, ours.user_id):
            assert await conn.fetchval("SELECT current_user") == "swiftreplies_app"
            rows = await conn.fetch("SELECT user_id, pg_sleep(0.1) FROM contacts")
            return {row["user_id"] for row in rows}

    assert await asyncio.gather(*(seen() for _ in range(HELD))) == [{ours.user_id}] * HELD
    assert theirs.user_id != ours.user_id
    assert len(dropping.asked) == HELD
    pool.terminate()


@pytest.mark.parametrize("login", ["runtime", "superuser"])
async def test_limits_that_were_dropped_are_set(
    dropping: Between, database: Database, login: str
) -> None:
    url = database.runtime_url if login == "runtime" else database.owner_url
    conn = await connect_runtime(dropping.url(url), "tests")
    assert {name: await setting(conn, name) for name in LIMITS} == LIMITS
    assert await setting(conn, "search_path") == "public"
    assert await setting(conn, "plan_cache_mode") == "force_generic_plan"
    conn.terminate()


@pytest.mark.parametrize("login", ["runtime", "superuser"])
async def test_where_nothing_stays_set_nothing_is_begun_and_it_says_what_to_do(
    posing: Between, database: Database, owner: Owner, login: str
) -> None:
    """And what it says is enough: the login's own settings hold in every connection."""
    url = posing.url(database.runtime_url if login == "runtime" else database.owner_url)
    pool = await create_pool(url, size=2, name="tests")
    with pytest.raises(Unfit) as caught:
        await pool.fetchval("SELECT 1")
    assert isinstance(caught.value, UNAVAILABLE), "an outage for whoever works already"
    told = str(caught.value)
    assert "a pooler" in told
    assert ("superuser" in told) == (login == "superuser")
    statements = [one.strip() for one in caught.value.problems[0].split(":", 1)[1].split(";")]
    assert {one.split(" SET ")[1].split(" ")[0] for one in statements} == {
        *("role", "search_path", "statement_timeout", "idle_in_transaction_session_timeout")
    }
    for statement in statements:
        await owner.execute(statement)
    try:
        async with pool.acquire() as conn:
            assert await conn.fetchval("SELECT current_user") == "swiftreplies_app"
            assert {name: await setting(conn, name) for name in LIMITS} == LIMITS
    finally:
        for who in ("runtime", owner_login(database)):
            await owner.execute(f"ALTER ROLE {who} IN DATABASE {database.name} RESET ALL")
        pool.terminate()


def owner_login(database: Database) -> str:
    return database.owner_url.removeprefix("postgresql://").partition(":")[0]


async def test_a_pooler_that_refuses_is_named(
    postgres_server: Postgres, database: Database
) -> None:
    async with between(Between(postgres_server, refuses=True)) as refusing:
        with pytest.raises(CannotConnect, match=r"pooler refuses it .*startup parameter") as caught:
            await connect_runtime(refusing.url(database.runtime_url), "tests")
    assert caught.value.refused
    assert "ignore_startup_parameters = search_path,statement_timeout" in str(caught.value)


async def test_the_log_s_connections_are_proved_too(
    dropping: Between, posing: Between, database: Database
) -> None:
    for connecting in (connect_publishing, connect_consuming):
        conn = await connecting(dropping.url(database.log_url), "tests")
        assert await conn.fetchval("SELECT current_user") == "swiftreplies_log"
        assert {name: await setting(conn, name) for name in LIMITS} == LIMITS
        conn.terminate()
        with pytest.raises(Unfit, match="a pooler"):
            await connecting(posing.url(database.log_url), "tests")


async def test_a_role_that_may_too_much_is_not_worked_as(database: Database, owner: Owner) -> None:
    """Somebody made it a superuser for a moment, years ago."""
    for power in ("SUPERUSER", "BYPASSRLS"):
        await owner.execute(f"ALTER ROLE swiftreplies_app {power}")
        try:
            with pytest.raises(Unfit, match="ALTER ROLE swiftreplies_app NOSUPERUSER NOBYPASSRLS"):
                await connect_runtime(database.runtime_url, "tests")
        finally:
            await owner.execute(f"ALTER ROLE swiftreplies_app NO{power}")
    (await connect_runtime(database.runtime_url, "tests")).terminate()


# ---- how the database is set ---------------------------------------------------------------------

HOSTILE = {
    "synchronous_commit": ("off", "on"),
    "search_path": ("pg_temp", "public"),
    "statement_timeout": ("1ms", "15s"),
    "lock_timeout": ("1ms", "0"),
    "idle_in_transaction_session_timeout": ("1ms", "30s"),
    "idle_session_timeout": ("20ms", "0"),
    "row_security": ("off", "on"),
    "default_transaction_isolation": ("serializable", "read committed"),
    "default_transaction_read_only": ("on", "off"),
    "standard_conforming_strings": ("off", "on"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_the_database_is_set_to_does_not_matter(
    database: Database, owner: Owner, name: str
) -> None:
    theirs, ours = HOSTILE[name]
    await owner.execute(f"ALTER DATABASE {database.name} SET {name} = '{theirs}'")
    conn = await connect_runtime(database.runtime_url, "tests")
    assert await setting(conn, name) == ours
    conn.terminate()
    if name == "synchronous_commit":
        operator = await connect_owner(database.owner_url)
        assert await setting(operator, name) == ours
        operator.terminate()


@pytest.mark.parametrize("kept", ["remote_apply", "remote_write", "local"])
async def test_who_wants_more_of_a_commit_or_another_safety_is_left_it(
    database: Database, owner: Owner, kept: str
) -> None:
    await owner.execute(f"ALTER DATABASE {database.name} SET synchronous_commit = '{kept}'")
    conn = await connect_runtime(database.runtime_url, "tests")
    assert await setting(conn, "synchronous_commit") == kept
    conn.terminate()


async def test_what_the_login_may_not_change_is_said(database: Database, owner: Owner) -> None:
    await owner.execute(f"ALTER DATABASE {database.name} SET session_replication_role = 'replica'")
    with pytest.raises(Unfit, match="cannot set session_replication_role to 'origin'"):
        await connect_runtime(database.runtime_url, "tests")


BEHIND = "SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()"


async def test_a_commit_is_on_the_disk_whatever_the_database_says() -> None:
    """By the log's position: after COMMIT all of it is flushed."""
    async with postgres(fsync=True) as server:
        admin = await asyncpg.connect(server.url)
        await admin.execute(
            "CREATE ROLE swiftreplies_app; CREATE TABLE t (n int);"
            "GRANT INSERT ON t TO swiftreplies_app"
        )
        # After three times the delay what was not waited for is flushed by itself.
        await admin.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        await admin.execute("ALTER SYSTEM SET synchronous_commit = 'off'")
        await admin.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(0.2)
        conn = await connect_runtime(server.url, "tests")
        behind = 0
        for n in range(20):
            await conn.execute("INSERT INTO t VALUES ($1)", n)
            behind += await admin.fetchval(BEHIND)
        assert behind == 0
        conn.terminate()
        await admin.close()


# ---- what cannot connect says why ----------------------------------------------------------------


async def test_no_tls_is_named_at_once(database: Database) -> None:
    started = time.monotonic()
    with pytest.raises(CannotConnect, match="the server has no TLS, and sslmode asks for it"):
        await connect_runtime(f"{database.runtime_url}?sslmode=require", "tests")
    assert time.monotonic() - started < 2


async def test_every_host_s_cause_is_told_and_no_password(
    postgres_server: Postgres, database: Database
) -> None:
    async with between(Between(postgres_server, silent=True)) as silent:
        tail = database.runtime_url.rpartition("/")[2]
        url = (
            f"postgresql://runtime:pw-of-nobody@127.0.0.1:1,127.0.0.1:{silent.port},"
            f"{database.runtime_url.rpartition('@')[2].partition('/')[0]}/{tail}?connect_timeout=1"
        )
        with pytest.raises(CannotConnect) as caught:
            await connect_runtime(url, "tests")
    told = str(caught.value).split("; ")
    assert "127.0.0.1:1: nothing listens there" in told[0]
    assert "no answer in 1 s" in told[1]
    assert "password authentication failed" in told[2]
    assert caught.value.refused
    assert "pw-of" not in str(caught.value)


async def test_the_host_that_answers_is_found_and_asked_first_next_time(
    postgres_server: Postgres, database: Database
) -> None:
    async with between(Between(postgres_server, silent=True)) as silent:
        place = database.runtime_url.rpartition("@")[2]
        url = f"postgresql://runtime:runtime@127.0.0.1:{silent.port},{place}?connect_timeout=2"
        (await connect_runtime(url, "tests")).terminate()
        started = time.monotonic()
        (await connect_runtime(url, "tests")).terminate()
        assert time.monotonic() - started < 1.5


REFUSALS = {
    "the password": ("ALTER ROLE {login} PASSWORD 'rotated'", "password authentication failed"),
    "login": ("ALTER ROLE {login} NOLOGIN", "is not permitted to log in"),
    "CONNECT": ("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC", "permission denied for dat"),
    "the role": ("REVOKE swiftreplies_app FROM {login}", "permission denied to set role"),
    "places": ("ALTER ROLE {login} CONNECTION LIMIT 0", "too many connections"),
    "the database": ("ALTER DATABASE {database} RENAME TO elsewhere", "does not exist"),
    "it takes none": ("ALTER DATABASE {database} ALLOW_CONNECTIONS false", "not currently accept"),
}


@pytest.mark.parametrize("what", REFUSALS)
async def test_a_refused_connection_is_an_outage_that_says_why(
    postgres_server: Postgres, what: str
) -> None:
    """None of it says anything of the work that was to be done."""
    admin = await asyncpg.connect(postgres_server.url)
    login, name = "refused", "refused"
    await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'x'")
    await admin.execute(f"GRANT swiftreplies_app TO {login}")
    await admin.execute(f"CREATE DATABASE {name}")
    place = postgres_server.url.rpartition("@")[2].partition("/")[0]
    pool = await create_pool(f"postgresql://{login}:x@{place}/{name}", size=1, name="tests")
    try:
        assert await pool.fetchval("SELECT 1") == 1
        async with pool.acquire() as conn:
            await conn.close()
        statement, said = REFUSALS[what]
        await admin.execute(statement.format(login=login, database=name))
        with pytest.raises(UNAVAILABLE, match=said) as caught:
            await pool.fetchval("SELECT 1")
        assert isinstance(caught.value, CannotConnect)
        assert caught.value.refused
    finally:
        pool.terminate()
        for left in (name, "elsewhere"):
            await admin.execute(f"DROP DATABASE IF EXISTS {left} WITH (FORCE)")
        await admin.execute(f"DROP ROLE {login}")
        await admin.close()


async def test_a_standby_is_passed_over() -> None:
    """It cannot be written to, whatever the URL says of it."""
    async with postgres(in_memory=True) as standby, postgres(in_memory=True) as primary:
        for server in (standby, primary):
            admin = await asyncpg.connect(server.url)
            await admin.execute("CREATE ROLE swiftreplies_app; CREATE ROLE one LOGIN PASSWORD 'x'")
            await admin.execute("GRANT swiftreplies_app TO one")
            await admin.close()
        await standby.stop()
        (standby.directory / "data" / "standby.signal").touch(mode=0o666)
        await standby.start()
        places = [s.url.rpartition("@")[2].partition("/")[0] for s in (standby, primary)]
        with pytest.raises(CannotConnect, match="takes no writes: it is a standby"):
            await connect_runtime(f"postgresql://one:x@{places[0]}/postgres", "tests")
        for wanted in ("any", "primary", "read-write"):
            url = f"postgresql://one:x@{','.join(places)}/postgres?target_session_attrs={wanted}"
            conn = await connect_runtime(url, "tests")
            assert await conn.fetchval("SELECT pg_is_in_recovery()") is False
            conn.terminate()


async def test_a_server_that_is_away_is_no_refusal(pool: Pool) -> None:
    away = await create_pool("postgresql://x@127.0.0.1:1/x", size=1, name="tests")
    with pytest.raises(CannotConnect) as caught:
        await away.fetchval("SELECT 1")
    assert not caught.value.refused
