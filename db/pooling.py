"""What a pooler does with prepared statements.

The driver prepares what it runs. A pooler that lends each transaction another connection, and does
not carry statements along (PgBouncer before 1.21, or with `max_prepared_statements = 0`), lets most
of them be missing where they are run, some of the time.
"""

import os
from collections.abc import Awaitable, Callable

import asyncpg

from db.driver import Conn, Plain
from db.sql import load

_SQL = load(__file__)

LOOKS = 10  # at whose connection each of two is lent; others may take it in between
# Of all statements of this process: in a connection that others are lent too, theirs have other
# names, and none is run for another.
PREFIX = f"sr_{os.urandom(6).hex()}_"

TOLD = (
    "a pooler lends each transaction another connection and takes no prepared statements along:"
    " connect to PostgreSQL itself, or let it pool sessions, or take PgBouncer 1.21 or newer with"
    " max_prepared_statements = 500"
)


class Connection(asyncpg.Connection):
    def _get_unique_id(self, prefix: str) -> str:
        name: str = super()._get_unique_id(prefix)  # type: ignore[misc]  # the stub lacks it
        return PREFIX + name


async def are_named_as_sent(conn: Conn, prefix: str) -> bool:
    """Who carries them along gives them names of its own."""
    found: bool = await conn.fetchval(_SQL["are_named_as_sent"], prefix)
    return found


async def lent_pid(conn: Conn) -> int:
    pid: int = await conn.fetchval(_SQL["lent_pid"])
    return pid


async def keeps_statements(conn: Plain, another: Callable[[], Awaitable[Plain]]) -> bool:
    """`another`: connects to the same place. True too when nothing speaks against it: sessions keep
    their connection, and with it their statements."""
    try:
        if not await are_named_as_sent(conn, PREFIX):
            return True
        other = await another()
        try:
            own = set()
            for _ in range(LOOKS):
                own.add(await lent_pid(conn))
                if await lent_pid(other) in own or len(own) > 1:
                    return False
        finally:
            other.terminate()
    except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError):
        return False
    return True
