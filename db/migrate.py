"""Brings a database to the current schema: numbered SQL files, forward only."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from db.backfills import backfill
from db.pool import Conn, connect_owner
from db.urls import read

MIGRATIONS = Path(__file__).parent / "migrations"
ROLES = ("swiftreplies_app", "swiftreplies_system", "swiftreplies_log")
LOCK_KEY = 7_305_809_911  # any constant; the same for every process that migrates
LOCK_TIMEOUT = "3s"  # a migration that waits for a lock blocks everyone behind it
LOCK_TRIES = 5
# Lost to a transaction that goes on at once, so the next try may well win; on a busy database with
# several tables in a migration five were not enough.
DEADLOCK_TRIES = 20
STATEMENT_TIMEOUT = "2h"  # taking over an old database: 230 s for a million messages, at load 22


class MigrationError(Exception):
    """The message says what is in the way and what to do about it."""


@dataclass(frozen=True, slots=True)
class Migration:
    version: str
    sql: str
    checksum: str


def migrations() -> list[Migration]:
    """Every file, in order."""
    return [
        Migration(f.stem, f.read_text(), hashlib.sha256(f.read_bytes()).hexdigest())
        for f in sorted(MIGRATIONS.glob("[0-9]*.sql"))
    ]


async def migrate(
    owner_url: str,
    runtime_url: str,
    say: Callable[[str], None],
    log_url: str | None = None,
    files: Sequence[Migration] | None = None,
) -> None:
    """Safe to run twice and at the same time. `log_url`: of the ingest log's login, when the log is
    in this database. `files`: instead of this release's. Raises MigrationError."""
    conn = await connect_owner(owner_url)
    try:
        async with _alone(owner_url):
            await _ensure_roles(conn, runtime_url, log_url)
            await _apply_all(conn, say, migrations() if files is None else files)
            await _backfill(conn, say)
            await _keep_log_apart(conn, runtime_url, say)
    finally:
        await conn.close()


@asynccontextmanager
async def _alone(owner_url: str) -> AsyncIterator[None]:
    """By a lock of a transaction: behind a pooler, one of the session would stay with a connection
    that others are lent, and keep all later migrations waiting."""
    holder = await connect_owner(owner_url)
    try:
        await holder.execute(
            "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0;"
            f" SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock({LOCK_KEY})"
        )
        yield
    finally:
        await holder.close()


async def pending(conn: Conn) -> list[str]:
    """Versions that the database lacks; works as swiftreplies_app."""
    if await conn.fetchval("SELECT to_regclass('public.schema_migrations')") is None:
        return [m.version for m in migrations()]
    applied = {r["version"] for r in await conn.fetch("SELECT version FROM schema_migrations")}
    return [m.version for m in migrations() if m.version not in applied]


async def _login_of(conn: Conn, url: str) -> str:
    """The driver takes the name of the account where a URL has none."""
    login = read(url).user or await conn.fetchval("SELECT session_user::text")
    assert login is not None, "whoever is connected has a name"
    return login


async def _ensure_roles(conn: Conn, runtime_url: str, log_url: str | None) -> None:
    """The roles, and the logins' membership in the one that each takes.

    Roles belong to the whole server, so another database's migration may make them at this moment.
    """
    runtime = await _login_of(conn, runtime_url)
    takes = {"swiftreplies_app": runtime}
    if log_url is not None:
        takes["swiftreplies_log"] = await _log_login(conn, log_url, runtime)
    statements = [
        f"CREATE ROLE {role} NOLOGIN NOBYPASSRLS"
        for role in ROLES
        if not await conn.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
    ]
    statements += [
        f"GRANT {role} TO {await _quoted(conn, login)}"
        for role, login in takes.items()
        if not await _may_take(conn, login, role)
    ]
    for statement in statements:
        try:
            await conn.execute(statement)
        except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
            continue
        except asyncpg.InsufficientPrivilegeError as error:
            raise MigrationError(
                f"{error}. An administrator of the server has to run this once:\n  "
                + "\n  ".join(f"{s};" for s in statements)
            ) from error
        except asyncpg.UndefinedObjectError as error:
            raise MigrationError(f"a login does not exist: {error}") from error


async def _quoted(conn: Conn, name: str) -> str:
    quoted: str = await conn.fetchval("SELECT quote_ident($1)", name)
    return quoted


async def _may_take(conn: Conn, login: str, role: str) -> bool:
    # From 16 on who made a role is a member of it, and may all the same not take it.
    how = "SET" if conn.get_server_version().major >= 16 else "MEMBER"
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM pg_roles l, pg_roles r WHERE l.rolname = $1 AND r.rolname = $2"
        " AND pg_has_role(l.oid, r.oid, $3))",
        *(login, role, how),
    )
    return found


async def _is_superuser(conn: Conn, login: str) -> bool:
    return bool(await conn.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = $1", login))


async def _log_login(conn: Conn, log_url: str, runtime: str) -> str:
    """An envelope holds text of several tenants: who may act as one of them must not see it."""
    login = await _login_of(conn, log_url)
    if login == runtime and not await _is_superuser(conn, login):
        raise MigrationError(
            f"the ingest log in PostgreSQL needs a login of its own, and {login} is that of"
            " DATABASE_URL. An administrator of the server has to run this once:\n"
            "  CREATE ROLE swiftreplies_ingest LOGIN PASSWORD '...';\n"
            "Then set INGEST_LOG_URL everywhere to DATABASE_URL with this login, and run migrate"
            " again."
        )
    return login


async def _keep_log_apart(conn: Conn, runtime_url: str, say: Callable[[str], None]) -> None:
    """Earlier releases made the runtime's login a member of the log's role."""
    login = await _login_of(conn, runtime_url)
    if login == await conn.fetchval("SELECT session_user::text"):  # a single URL: there is no apart
        return
    if await _is_superuser(conn, login) or not await _may_take(conn, login, "swiftreplies_log"):
        return
    statement = f"REVOKE swiftreplies_log FROM {await _quoted(conn, login)}"
    with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
        await conn.execute(statement)
    if await _may_take(conn, login, "swiftreplies_log"):
        say(f"{login} may see the ingest log, and need not. As an administrator: {statement};")


async def _may_act_as_system(conn: Conn) -> bool:
    """Of a superuser, and of an owner whom an administrator made a member for the occasion."""
    try:
        async with conn.transaction():  # of which a refusal ends no more than itself
            await conn.execute("SET ROLE swiftreplies_system; RESET ROLE")
    except asyncpg.InsufficientPrivilegeError:
        return False
    return True


@asynccontextmanager
async def _system_member(conn: Conn) -> AsyncIterator[None]:
    """Lets an owner who is no superuser hand functions over to swiftreplies_system.

    Nobody stays a member of it: within a transaction, which takes the membership along when it does
    not come to its end.
    """
    if await _may_act_as_system(conn):
        yield
        return
    owner = await conn.fetchval("SELECT quote_ident(current_user)")
    try:
        await conn.execute("GRANT swiftreplies_system TO CURRENT_USER")
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationError(
            f"{error}. An administrator of the server has to run this before the migration:\n"
            f"  GRANT swiftreplies_system TO {owner};\nand this after it:\n"
            f"  REVOKE swiftreplies_system FROM {owner};"
        ) from error
    yield
    await conn.execute("REVOKE swiftreplies_system FROM CURRENT_USER")


async def _apply_all(conn: Conn, say: Callable[[str], None], files: Sequence[Migration]) -> None:
    await conn.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version text PRIMARY KEY,"
        " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(),"
        " duration_ms integer NOT NULL)"
    )
    rows = await conn.fetch("SELECT version, checksum FROM schema_migrations")
    applied = {row["version"]: row["checksum"] for row in rows}
    for migration in files:
        known = applied.pop(migration.version, None)
        if known is None:
            took_ms = await _apply(conn, migration)
            say(f"applied {migration.version} ({took_ms} ms)")
        elif known != migration.checksum:
            raise MigrationError(
                f"{migration.version} was applied with another content than this release has."
                " Restore the file; changes go into a new migration."
            )
    if applied:
        raise MigrationError(
            f"the database is newer than this release: it has {', '.join(sorted(applied))}."
            " Deploy the release that brought them."
        )


async def _backfill(conn: Conn, say: Callable[[str], None]) -> None:
    if await conn.fetchval("SELECT to_regclass('public.contact_terms_due')") is None:
        return  # an older release's files
    if contacts := await backfill(conn):
        say(f"{contacts} contacts of before can be searched for")


async def _apply(conn: Conn, migration: Migration) -> int:
    locked = deadlocks = 0
    while True:
        started = time.monotonic()
        try:
            async with conn.transaction():
                await conn.execute(
                    f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';"
                    f" SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"
                )
                async with _system_member(conn):
                    await conn.execute(migration.sql)
                took_ms = round((time.monotonic() - started) * 1000)
                await conn.execute(
                    "INSERT INTO schema_migrations (version, checksum, duration_ms)"
                    " VALUES ($1, $2, $3)",
                    migration.version,
                    migration.checksum,
                    took_ms,
                )
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            deadlock = isinstance(error, asyncpg.DeadlockDetectedError)
            deadlocks, locked = deadlocks + deadlock, locked + (not deadlock)
            if locked == LOCK_TRIES or deadlocks == DEADLOCK_TRIES:
                raise MigrationError(
                    f"{migration.version}: a table it changes stayed locked ({locked} x"
                    f" {LOCK_TIMEOUT}, {deadlocks} deadlocks). Stop what holds it, then run migrate"
                    " again."
                ) from None
            await asyncio.sleep(1)
        except asyncpg.PostgresError as error:
            raise MigrationError(f"{migration.version}: {error}") from error  # with its hint
        else:
            return took_ms
