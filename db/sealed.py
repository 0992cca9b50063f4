"""Encrypted values, column by column, whatever table they are in."""

from dataclasses import dataclass

from db.ids import UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table with an `id`; with a `user_id`, if it is tenants'."""

    table: str
    name: str
    of_tenants: bool = True


@dataclass(frozen=True, slots=True)
class Value:
    id: int
    sealed: str


async def every_user(conn: Conn) -> list[UserId]:
    """Across tenants, and not granted to the runtime: only for operator commands."""
    return [row["user_id"] for row in await conn.fetch(_SQL["every_user"])]


async def read_sealed(
    conn: Conn, column: Column, user_id: UserId | None, after: int, limit: int
) -> list[Value]:
    """By id; `user_id`: of a tenant's column."""
    of = f"user_id = {int(user_id)} AND" if user_id is not None else ""
    rows = await conn.fetch(
        f"SELECT id, {column.name} AS sealed FROM {column.table}"  # noqa: S608 - names of ours
        f" WHERE {of} {column.name} IS NOT NULL AND id > $1 ORDER BY id LIMIT $2",
        after,
        limit,
    )
    return [Value(**row) for row in rows]


async def reseal(
    conn: Conn, column: Column, user_id: UserId | None, value: Value, sealed: str
) -> bool:
    """False: somebody else has written it meanwhile."""
    of = f"user_id = {int(user_id)} AND" if user_id is not None else ""
    done: str = await conn.execute(
        f"UPDATE {column.table} SET {column.name} = $3"  # noqa: S608 - names of ours
        f" WHERE {of} id = $1 AND {column.name} = $2",
        value.id,
        value.sealed,
        sealed,
    )
    return done == "UPDATE 1"
