"""Connections, and the transaction in which one tenant is visible."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from db.connecting import Server
from db.driver import Conn as Conn
from db.driver import Plain
from db.driver import Pool as Pool
from db.ids import UserId
from db.plans import fit_plans
from db.pooling import Connection
from db.session import as_it_comes, owner, runtime
from db.urls import read

# What a database that is away, restarting or refusing us looks like from here. Whatever keeps a
# connection from being made is among it (CannotConnect), a refused login as well: it says nothing
# of the work that was to be done. Anything else that asyncpg raises is a mistake of ours.
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
CONFLICT = (
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,
    asyncpg.SerializationError,
)

# What was there when the transaction looked was not any more when it wrote: a row that is referred
# to is gone, or hidden. The same work done again sees that.
CHANGED = (
    *CONFLICT,
    asyncpg.ForeignKeyViolationError,
    asyncpg.InsufficientPrivilegeError,
)

# The database understood, and will not have this data.
REFUSED = (asyncpg.PostgresError, asyncpg.DataError)


async def _codecs(conn: Conn) -> None:
    for name in ("json", "jsonb"):
        await conn.set_type_codec(
            name, schema="pg_catalog", encoder=json.dumps, decoder=json.loads, format="text"
        )


async def _keep_session(_: Conn) -> None:
    """Nothing is ever set on a session, so nothing needs the round trip that resets it."""


APP_ROLE = "swiftreplies_app"


async def _for_batches(conn: Conn) -> None:
    await _codecs(conn)
    await fit_plans(conn)


async def create_pool(
    url: str,
    *,
    size: int,
    name: str,
    role: str = APP_ROLE,
    batches: bool = False,
    **wishes: str,
) -> Pool:
    """A pool whose every connection is proved to be `role`, whatever login the URL has.

    A superuser or owner would otherwise bypass row-level security. Raises BadUrl; what acquires a
    connection raises CannotConnect. `batches`: see db/plans.py.
    """
    server = Server(read(url), runtime(name, role, **wishes))

    async def connect(*_: Any, **__: Any) -> Plain:
        return await server.connect()

    pool: Pool = await asyncpg.create_pool(
        min_size=0,  # a process starts, and says what it lacks, while the database is away
        max_size=size,
        connect=connect,
        connection_class=Connection,
        init=_for_batches if batches else _codecs,
        reset=_keep_session,
    )
    return pool


async def connect_runtime(url: str, name: str, *, role: str = APP_ROLE, **wishes: str) -> Conn:
    """One connection like the pool's, for who must not wait for a place in it."""
    return await Server(read(url), runtime(name, role, **wishes)).connect()


async def prove(url: str, name: str) -> None:
    """That a connection of the pool can be made. Raises CannotConnect."""
    (await connect_runtime(url, name)).terminate()


async def connect_owner(url: str) -> Conn:
    """A connection for operator commands, as the login of the URL."""
    conn = await Server(read(url), owner("swiftreplies command")).connect()
    await _codecs(conn)
    return conn


async def connect_login(url: str) -> Conn:
    """As the login of the URL, whatever it may and however it is set."""
    return await Server(read(url), as_it_comes("swiftreplies doctor")).connect()


@asynccontextmanager
async def tenant_transaction(
    conn: Conn, user_id: UserId, *, snapshot: bool = False, lock_wait_s: int = 0
) -> AsyncIterator[None]:
    """A transaction in which this tenant's rows, and no other's, exist. A `snapshot` sees all of
    them as they were at its first query. Who waits for a lock for longer than `lock_wait_s`, if it
    is given, hears LockNotAvailableError."""
    # BEGIN and the setting travel in one message; the simple protocol takes no parameters, and
    # an int has no spelling that is SQL.
    isolation = " ISOLATION LEVEL REPEATABLE READ" if snapshot else ""
    begin = f"BEGIN{isolation}; SELECT set_config('app.user_id', '{int(user_id)}', true)"
    if lock_wait_s:
        begin += f", set_config('lock_timeout', '{int(lock_wait_s)}s', true)"
    await _whole(conn, begin)
    last: list[str] = []
    _at_commit[id(conn)] = last
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
    finally:
        del _at_commit[id(conn)]
    await _whole(conn, "; ".join([*last, "COMMIT"]))


# Of the transactions that are open in this process, by connection.
_at_commit: dict[int, list[str]] = {}


def at_commit(conn: Conn, statement: str) -> None:
    """Goes in one message with the COMMIT of the transaction that is open. For what many of a
    tenant's transactions lock: held over round trips of a busy loop, some twenty connections of
    each worker stood behind one counter. The statement has numbers of ours in it and no text; it
    raises where it must not be committed."""
    _at_commit[id(conn)].append(statement)


async def _whole(conn: Conn, statement: str) -> None:
    """A statement that begins or ends a transaction. When it is cut short, nobody knows whether
    one is open, and the pool must not hand this connection to somebody else."""
    try:
        await conn.execute(statement)
    except BaseException:
        conn.terminate()
        raise


@asynccontextmanager
async def tenant(pool: Pool, user_id: UserId, *, lock_wait_s: int = 0) -> AsyncIterator[Conn]:
    """A pooled connection inside tenant_transaction()."""
    async with (
        place(pool, user_id) as conn,
        tenant_transaction(conn, user_id, lock_wait_s=lock_wait_s),
    ):
        yield conn


@dataclass(slots=True)
class _Share:
    """Of a pool, while somebody works or waits for a tenant."""

    places: asyncio.Semaphore
    users: int = 0


_shares: dict[tuple[int, UserId], _Share] = {}  # by pool and tenant


def waiting(pool: Pool) -> int:
    """How many wait for a connection in place()."""
    users = sum(share.users for (of, _), share in _shares.items() if of == id(pool))
    return max(0, users - (pool.get_size() - pool.get_idle_size()))


@asynccontextmanager
async def place(pool: Pool, user_id: UserId) -> AsyncIterator[Conn]:
    """A connection, for what is done for this tenant. One tenant has half of a pool at most: a
    crowd at its counters, or its big conversations, leaves the others theirs."""
    key = (id(pool), user_id)
    if (share := _shares.get(key)) is None:
        share = _shares[key] = _Share(asyncio.Semaphore(max(1, pool.get_max_size() // 2)))
    share.users += 1
    try:
        async with share.places, pool.acquire() as conn:
            yield conn
    finally:
        share.users -= 1
        if not share.users:
            del _shares[key]
