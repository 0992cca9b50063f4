"""The driver's types, which are generic in its stubs alone."""

from typing import TYPE_CHECKING, TypeAlias

import asyncpg

if TYPE_CHECKING:
    Conn: TypeAlias = (
        asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    )
    Plain: TypeAlias = asyncpg.Connection[asyncpg.Record]  # not lent by a pool
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Conn = Plain = asyncpg.Connection
    Pool = asyncpg.Pool
