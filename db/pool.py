"""Connections, and the transaction in which one tenant is visible."""

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from db.ids import UserId

if TYPE_CHECKING:
    Conn: TypeAlias = (
        asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    )
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:  # generic in the stubs alone
    Conn = asyncpg.Connection
    Pool = asyncpg.Pool

STATEMENT_TIMEOUT_MS = 15_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 20.0  # on our side, for a server that stopped answering altogether

# What a database that is away, restarting or refusing looks like from here; anything else that
# asyncpg raises is a mistake of ours.
UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby that is being promoted
    asyncpg.exceptions.InternalClientError,
    asyncpg.exceptions.ConnectionDoesNotExistError,
)

# Two transactions wanted the same; the same work done again succeeds.
CONFLICT = (asyncpg.DeadlockDetectedError, asyncpg.UniqueViolationError)

# The database understood, and will not have this data.
REFUSED = (asyncpg.PostgresError, asyncpg.DataError)


async def _codecs(conn: Conn) -> None:
    for name in ("json", "jsonb"):
        await conn.set_type_codec(
            name, schema="pg_catalog", encoder=json.dumps, decoder=json.loads, format="text"
        )


async def _keep_session(_: Conn) -> None:
    """Nothing is ever set on a session, so nothing needs the round trip that resets it."""


async def create_pool(url: str, *, size: int, name: str, **settings: str) -> Pool:
    """A pool whose every connection is swiftreplies_app, whatever login the URL has.

    A superuser or owner would otherwise bypass row-level security.
    """
    pool: Pool = await asyncpg.create_pool(
        url,
        min_size=0,  # a process starts, and says what it lacks, while the database is away
        max_size=size,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        init=_codecs,
        reset=_keep_session,
        server_settings=_settings(name) | settings,
    )
    return pool


async def connect_runtime(url: str, name: str, **settings: str) -> Conn:
    """One connection like the pool's, for who must not wait for a place in it."""
    return await asyncpg.connect(
        url,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings=_settings(name) | settings,
    )


def _settings(name: str) -> dict[str, str]:
    return {
        "application_name": name,
        "role": "swiftreplies_app",
        "search_path": "public",
        # Planning again for the parameters at hand took a fifth of recording; no query needs it.
        "plan_cache_mode": "force_generic_plan",
        "statement_timeout": str(STATEMENT_TIMEOUT_MS),
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
    }


async def connect_owner(url: str) -> Conn:
    """A connection for operator commands, as the login of the URL."""
    conn = await asyncpg.connect(
        url, timeout=CONNECT_TIMEOUT_S, server_settings={"search_path": "public"}
    )
    await _codecs(conn)
    return conn


@asynccontextmanager
async def tenant_transaction(
    conn: Conn, user_id: UserId, *, durable: bool = True
) -> AsyncIterator[None]:
    """A transaction in which this tenant's rows, and no other's, exist. When not `durable`, its
    COMMIT does not wait for the disk: a crash of the server may undo it, but not what any later,
    durable transaction has seen of it, because the log is written in order."""
    # BEGIN and the setting travel in one message; the simple protocol takes no parameters, and
    # an int has no spelling that is SQL.
    begin = f"BEGIN; SELECT set_config('app.user_id', '{int(user_id)}', true)"
    if not durable:
        begin += ", set_config('synchronous_commit', 'off', true)"
    await _whole(conn, begin)
    try:
        yield
    except (TimeoutError, asyncpg.InterfaceError, OSError):
        # A server that stopped answering would let the ROLLBACK wait as long again.
        conn.terminate()
        raise
    except BaseException:
        # The error that brought us here says more than a ROLLBACK that fails on a dead line.
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await _whole(conn, "ROLLBACK")
        raise
    await _whole(conn, "COMMIT")


async def _whole(conn: Conn, statement: str) -> None:
    """A statement that begins or ends a transaction. When it is cut short, nobody knows whether
    one is open, and the pool must not hand this connection to somebody else."""
    try:
        await conn.execute(statement)
    except BaseException:
        conn.terminate()
        raise


@asynccontextmanager
async def tenant(pool: Pool, user_id: UserId, *, durable: bool = True) -> AsyncIterator[Conn]:
    """A pooled connection inside tenant_transaction()."""
    async with pool.acquire() as conn, tenant_transaction(conn, user_id, durable=durable):
        yield conn
