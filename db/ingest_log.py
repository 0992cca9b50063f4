"""The ingest log's table, as the role `swiftreplies_log`: it holds every tenant's text, and no
tenant's transaction may see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from db.pool import Conn, Pool, connect_runtime, create_pool
from db.sql import load

_SQL = load(__file__)
_ROLE = "swiftreplies_log"
_LOCKS = 730_580_992  # any constant: the first half of the lanes' advisory locks


@dataclass(frozen=True, slots=True)
class Waiting:
    id: int
    lane: str
    body: bytes
    delivered: int  # times before now, if it is the first of its lane; else 0


@dataclass(frozen=True, slots=True)
class Size:
    entries: int
    bytes: int


async def publishing_pool(url: str, *, size: int, name: str) -> Pool:
    return await create_pool(url, size=size, name=name, role=_ROLE)


async def connect_publishing(url: str, name: str) -> Conn:
    return await connect_runtime(url, name, role=_ROLE)


async def connect_consuming(url: str, name: str) -> Conn:
    """What a crash of the server forgets here is an acknowledgement: the batch comes again.

    The statistics of a table that is empty one moment and full the next are always wrong, so the
    planner is told to use the key.
    """
    return await connect_runtime(
        url,
        name,
        role=_ROLE,
        synchronous_commit="off",
        enable_seqscan="off",
        enable_bitmapscan="off",
    )


async def add_entries(conn: Conn, lanes: Sequence[str], bodies: Sequence[bytes]) -> None:
    await conn.execute(_SQL["add_entries"], lanes, bodies)


async def log_size(conn: Conn) -> Size:
    row = await conn.fetchrow(_SQL["log_size"])
    assert row is not None, "aggregates have a row"
    return Size(**row)


async def is_waiting(conn: Conn, lanes: Sequence[str]) -> bool:
    found: bool = await conn.fetchval(_SQL["is_waiting"], lanes)
    return found


async def lock_lanes(conn: Conn, numbers: Mapping[str, int], limit: int) -> list[str]:
    """`numbers`: the lanes in the order of preference, each with the number that it is locked by;
    the same in every process."""
    rows = await conn.fetch(
        _SQL["lock_lanes"], list(numbers), list(numbers.values()), _LOCKS, limit
    )
    return [row["lane"] for row in rows]


async def read_entries(
    conn: Conn, lanes: Sequence[str], per_lane: int, max_bytes: int
) -> list[Waiting]:
    return [
        Waiting(**row) for row in await conn.fetch(_SQL["read_entries"], lanes, per_lane, max_bytes)
    ]


async def count_deliveries(conn: Conn, firsts: Mapping[str, int]) -> None:
    """`firsts`: the first entry's id of each lane."""
    await conn.execute(_SQL["count_deliveries"], list(firsts), list(firsts.values()))


async def remove_entries(conn: Conn, entries: Sequence[Waiting]) -> None:
    await conn.execute(_SQL["remove_entries"], [e.lane for e in entries], [e.id for e in entries])


async def move_entry(conn: Conn, entry: Waiting, lane: str) -> None:
    await conn.execute(_SQL["move_entry"], entry.lane, entry.id, lane)


async def lane_sizes(conn: Conn) -> dict[str, int]:
    """Of the lanes that hold anything."""
    return {row["lane"]: row["entries"] for row in await conn.fetch(_SQL["lane_sizes"])}
