"""Brings a database to the current schema: numbered SQL files, forward only."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from db.pool import Conn, connect_owner

MIGRATIONS = Path(__file__).parent / "migrations"
ROLES = ("swiftreplies_app", "swiftreplies_system", "swiftreplies_log")
RUNTIME_ROLES = ("swiftreplies_app", "swiftreplies_log")
LOCK_KEY = 7_305_809_911  # any constant; the same for every process that migrates
LOCK_TIMEOUT = "3s"  # a migration that waits for a lock blocks everyone behind it
LOCK_TRIES = 5
STATEMENT_TIMEOUT = "10min"  # the back-fill of an old database is the longest


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


async def migrate(owner_url: str, runtime_url: str, say: Callable[[str], None]) -> None:
    """Safe to run twice and at the same time. Raises MigrationError."""
    conn = await connect_owner(owner_url)
    try:
        await conn.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        await _ensure_roles(conn, urlsplit(runtime_url).username)
        await _apply_all(conn, say)
    finally:
        await conn.close()


async def pending(conn: Conn) -> list[str]:
    """Versions that the database lacks; works as swiftreplies_app."""
    if await conn.fetchval("SELECT to_regclass('public.schema_migrations')") is None:
        return [m.version for m in migrations()]
    applied = {r["version"] for r in await conn.fetch("SELECT version FROM schema_migrations")}
    return [m.version for m in migrations() if m.version not in applied]


async def _ensure_roles(conn: Conn, runtime_login: str | None) -> None:
    """The roles, and the runtime login's membership in those that it takes.

    Roles belong to the whole server, so another database's migration may make them at this moment.
    """
    statements = [
        f"CREATE ROLE {role} NOLOGIN NOBYPASSRLS"
        for role in ROLES
        if not await conn.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
    ]
    login = unquote(runtime_login) if runtime_login else await conn.fetchval("SELECT current_user")
    quoted = await conn.fetchval("SELECT quote_ident($1)", login)
    not_taken = await conn.fetch(
        "SELECT role FROM unnest($2::text[]) AS t (role) WHERE NOT EXISTS ("
        "SELECT FROM pg_roles l, pg_roles r WHERE l.rolname = $1 AND r.rolname = role"
        " AND pg_has_role(l.oid, r.oid, 'MEMBER'))",
        login,
        RUNTIME_ROLES,
    )
    statements += [f"GRANT {row['role']} TO {quoted}" for row in not_taken]
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
            raise MigrationError(f"the login of DATABASE_URL does not exist: {error}") from error


async def _may_act_as_system(conn: Conn) -> bool:
    """Of a superuser, and of an owner whom an administrator made a member for the occasion."""
    try:
        await conn.execute("SET ROLE swiftreplies_system; RESET ROLE")
    except asyncpg.InsufficientPrivilegeError:
        return False
    return True


@asynccontextmanager
async def _system_member(conn: Conn) -> AsyncIterator[None]:
    """Lets an owner who is no superuser hand functions over to swiftreplies_system.

    Nobody stays a member of it.
    """
    if await _may_act_as_system(conn):
        yield
        return
    try:
        await conn.execute("GRANT swiftreplies_system TO CURRENT_USER")
    except asyncpg.InsufficientPrivilegeError as error:
        owner = await conn.fetchval("SELECT quote_ident(current_user)")
        raise MigrationError(
            f"{error}. An administrator of the server has to run this before the migration:\n"
            f"  GRANT swiftreplies_system TO {owner};\nand this after it:\n"
            f"  REVOKE swiftreplies_system FROM {owner};"
        ) from error
    try:
        yield
    finally:
        await conn.execute("REVOKE swiftreplies_system FROM CURRENT_USER")


async def _apply_all(conn: Conn, say: Callable[[str], None]) -> None:
    await conn.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version text PRIMARY KEY,"
        " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(),"
        " duration_ms integer NOT NULL)"
    )
    rows = await conn.fetch("SELECT version, checksum FROM schema_migrations")
    applied = {row["version"]: row["checksum"] for row in rows}
    for migration in migrations():
        known = applied.pop(migration.version, None)
        if known is None:
            async with _system_member(conn):
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


async def _apply(conn: Conn, migration: Migration) -> int:
    for tries_left in reversed(range(LOCK_TRIES)):
        started = time.monotonic()
        try:
            async with conn.transaction():
                await conn.execute(
                    f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';"
                    f" SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"
                )
                await conn.execute(migration.sql)
                took_ms = round((time.monotonic() - started) * 1000)
                await conn.execute(
                    "INSERT INTO schema_migrations (version, checksum, duration_ms)"
                    " VALUES ($1, $2, $3)",
                    migration.version,
                    migration.checksum,
                    took_ms,
                )
        except asyncpg.LockNotAvailableError:
            if not tries_left:
                raise MigrationError(
                    f"{migration.version}: a table it changes stayed locked for"
                    f" {LOCK_TRIES} x {LOCK_TIMEOUT}. Stop what holds it, then run migrate again."
                ) from None
            await asyncio.sleep(1)
        except asyncpg.PostgresError as error:
            raise MigrationError(f"{migration.version}: {error}") from error  # with its hint
        else:
            return took_ms
    raise AssertionError("unreachable: the last try returns or raises")
